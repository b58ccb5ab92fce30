// From one's turn to the ticket, and two who want the same seat.

import assert from "node:assert/strict";
import test from "node:test";

import { account, isFine, open, shows } from "./browser.mjs";
import { aConcert, ask } from "./site.mjs";

const BUYERS = ["alice", "bob"];
const SEAT = "#hall [role=checkbox]";
const FIRST_SEAT = `${SEAT} >> nth=0`;

/** A buyer in the hall, from the page of the sale. */
async function inside(t, name, concert) {
  const page = await open(await account(t, name), `/sale/${concert}`);
  await page.click("#state button");
  await shows(page, "#state [role=alert]", "It is your turn!");
  return page;
}

async function toTheHall(page) {
  await page.click("#state a.button");
  await page.locator(FIRST_SEAT).waitFor();
}

test("two buyers race for a seat: one has it, the other is told", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Riverside Live");
  const pages = await Promise.all(BUYERS.map((name) => inside(t, name, concert)));
  await isFine(pages[0], "sale-turn");
  await Promise.all(pages.map(toTheHall));
  for (const page of pages) {
    await page.click(FIRST_SEAT);
    await shows(page, "#chosen", "A-1 1");
  }
  await isFine(pages[0], "seats-chosen");
  await Promise.all(pages.map((page) => page.dispatchEvent("#hold", "click")));
  const ends = await Promise.all(pages.map((page) => Promise.race([
    page.waitForURL("**/my").then(() => "holds"),
    page.locator("#problem [role=alert]").waitFor().then(() => "told"),
  ])));
  assert.deepEqual([...ends].sort(), ["holds", "told"]);
  const told = pages[ends.indexOf("told")];
  await told.locator(`${SEAT}[aria-checked=false][aria-disabled=true]`).first().waitFor();
  await isFine(told, "seats-taken");
  await shows(pages[ends.indexOf("holds")], "#basket", "section A-1, seat 1");
});

test("a seat is held, paid for, and has a ticket", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Harbour Nights");
  await ask("POST", `/admin/concerts/${concert}/held-back`, { body: { section: "B-1" } });
  const page = await inside(t, "bob", concert);
  await toTheHall(page);
  await page.locator(`${SEAT}[aria-disabled=true]`).first().waitFor();
  for (const at of [24, 25]) await page.click(`${SEAT} >> nth=${at}`);
  await shows(page, "#chosen", "240");
  await isFine(page, "seats");
  await page.click("#hold");
  await page.waitForURL("**/my");
  const order = page.locator("#basket .panel").filter({ hasText: "Harbour Nights" });
  await order.waitFor();
  await isFine(page, "my-holding");
  await order.locator("summary").click();
  await isFine(page, "my-paying");
  await order.getByRole("button", { name: "Pay from the balance" }).click();
  await shows(page, "#problem", "Paid.");
  const ticket = page.locator("#bought li").filter({ hasText: "Harbour Nights" }).first();
  await ticket.getByRole("button", { name: "Show ticket" }).click();
  const code = ticket.locator("img");
  await page.waitForFunction((image) => image.complete && image.naturalWidth > 0, await code.elementHandle());
  await isFine(page, "my-ticket");
  await page.locator("#ledger summary").click();
  await shows(page, "#entries", "Payment");
  await isFine(page, "my-entries");
});
