// An operator steers, and those who wait see it.

import assert from "node:assert/strict";
import test from "node:test";

import { account, isFine, open, shows } from "./browser.mjs";
import { aConcert, Crowd, steer } from "./site.mjs";
import { inLine } from "./waiting.mjs";

/** From the operator's click to the waiting page. */
const SEEN_WITHIN_MS = 2000;

async function pressed(desk, name) {
  await desk.locator("#switches").getByRole("button", { name, exact: true }).click();
  await desk.locator("dialog").waitFor();
  return desk.locator("dialog").getByRole("button", { name, exact: true });
}

test("an operator pauses and resumes, and who waits sees it within two seconds", { timeout: 90000 }, async (t) => {
  const concert = await aConcert("Midsummer Stage", { admitPerSecond: 4, burst: 1, maxActive: 100 });
  const crowd = new Crowd(concert);
  t.after(() => crowd.goHome());
  await crowd.join(60);
  const page = await inLine(t, concert);
  await shows(page, "#going", "You are in line.");
  const desk = await open(await account(t, "admin"), `/admin/sale/${concert}`);
  await shows(desk, "#state", "People are let in, 4 a second");
  const yes = await pressed(desk, "Pause");
  await isFine(desk, "admin-dialog");
  for (const [answer, text] of [[yes, "Paused by the organiser; your place is kept."], [null, "You are in line."]]) {
    const go = answer ?? await pressed(desk, "Resume");
    const begun = Date.now();
    await go.click();
    await shows(page, "#going", text);
    const took = Date.now() - begun;
    assert.ok(took <= SEEN_WITHIN_MS, `${text} after ${took} ms`);
    await shows(desk, "#record li", answer ? "Paused" : "Resumed");
    if (answer) await isFine(page, "waiting-paused");
  }
  await desk.locator("#minute summary").click();
  await desk.locator("#rows tr").nth(1).waitFor();
  await isFine(desk, "admin-sale");
  await desk.locator("#minute summary").click();
  await isFine(desk, "dashboard");
  await steer(concert, { admitPerSecond: 100, burst: 50 });
  await shows(page, "#state [role=alert]", "It is your turn!");
});

test("the operators' other pages", { timeout: 60000 }, async (t) => {
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
