// An operator steers, and those who wait see it.

import assert from "node:assert/strict";
import test from "node:test";

import { account, isFine, open, shows } from "./browser.mjs";
import { aConcert, Crowd, steer, until } from "./site.mjs";
import { inLine } from "./waiting.mjs";

/** From the operator's click to the waiting page. */
const SEEN_WITHIN_MS = 2000;

async function pressed(desk, name) {
  await desk.locator("#switches").getByRole("button", { name, exact: true }).click();
  await desk.locator("dialog").waitFor();
  return desk.locator("dialog").getByRole("button", { name, exact: true });
}

async function seenAfterMs(page, go, text) {
  const begun = Date.now();
  await go.click();
  await shows(page, "#going", text);
  return Date.now() - begun;
}

test("an operator pauses and resumes, and who waits sees it within two seconds", { timeout: 180000 }, async (t) => {
  // One is let in and stays, so that however long this takes it is not the turn of whoever looks.
  const concert = await aConcert("Midsummer Stage", { paused: true, admitPerSecond: 2, burst: 1, maxActive: 1 });
  const crowd = new Crowd(concert);
  t.after(() => crowd.goHome());
  await crowd.join(12);
  const page = await inLine(t, concert);
  await crowd.join(80);
  const [paused, goesOn] = ["Paused by the organiser; your place is kept.", "You are in line."];
  await shows(page, "#going", paused);
  const desk = await open(await account(t, "admin"), `/admin/sale/${concert}`);
  await shows(desk, "#state", "Paused: nobody is let in. 93 people wait.");
  let resume = await pressed(desk, "Resume");
  await isFine(desk, "admin-dialog");
  let took;
  // A machine may be busy with something else for a moment, but not each time.
  for (let tries = 0; tries < 3; tries += 1) {
    took = [await seenAfterMs(page, resume, goesOn), await seenAfterMs(page, await pressed(desk, "Pause"), paused)];
    if (Math.max(...took) <= SEEN_WITHIN_MS) break;
    resume = await pressed(desk, "Resume");
  }
  assert.ok(Math.max(...took) <= SEEN_WITHIN_MS, `going on and pausing were seen after ${took.join(" and ")} ms`);
  await isFine(page, "waiting-paused");
  await shows(desk, "#record li", "Paused");
  await shows(desk, "#record li", "Resumed");
  await desk.locator("#minute summary").click();
  await desk.locator("#rows tr").nth(1).waitFor();
  await isFine(desk, "admin-sale");
  await desk.locator("#minute summary").click();
  await steer(concert, { paused: false, admitPerSecond: 4, maxActive: 100 });
  await shows(page, "#state [role=alert]", "It is your turn!");
  await until("a good many are in", () => crowd.admitted() >= 30);
  await isFine(desk, "dashboard");
});

test("the operators' other pages", { timeout: 120000 }, async (t) => {
  const context = await account(t, "admin");
  const list = await open(context, "/admin/");
  await shows(list, "#concerts a", "Midsummer Stage");
  await isFine(list, "admin");
  const making = await open(context, "/admin/new");
  await making.fill("[name=name]", "Made in a Browser");
  await making.fill("[name=venue]", "City Hall");
  await making.fill("[name=date]", "2999-06-01");
  await isFine(making, "admin-new");
  await making.click("#concert p button:not([type=button])");
  await making.locator("dialog").waitFor();
  await isFine(making, "admin-new-dialog");
  await making.locator("dialog").getByRole("button", { name: "Make the concert" }).click();
  await making.waitForURL("**/admin/sale/*");
  await shows(making, "#name", "Made in a Browser");
  const buyer = await open(await account(t, "alice"), "/admin/");
  await shows(buyer, "#problem [role=alert]", "admin");
  await isFine(buyer, "admin-refused");
});
