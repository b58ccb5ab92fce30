// An operator is never made to do what they were not asked about, and finds whoever writes to them.

import assert from "node:assert/strict";
import test from "node:test";

import { account, isFine, open, shows } from "./browser.mjs";
import { aConcert, ask, Crowd, steer, until } from "./site.mjs";

const dialogOf = (desk) => desk.locator("dialog");

async function asksAbout(desk, name) {
  await desk.locator("#switches").getByRole("button", { name, exact: true }).click();
  await dialogOf(desk).waitFor();
}

const goOn = (desk, name) => dialogOf(desk).getByRole("button", { name, exact: true }).click();

test("what changed while a dialog was open is looked at again, and nothing is done", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Two at the Desk", { admitPerSecond: 2, burst: 1, maxActive: 100 });
  const room = () => ask("GET", `/admin/queues/${concert}`);
  const desk = await open(await account(t, "admin"), `/admin/sale/${concert}`);
  await shows(desk, "#state", "People are let in");
  const presses = [["Pause", {}], ["Close the waiting room", {}], ["Resume", { paused: true }], ["Reopen the waiting room", { mode: "closed", paused: false }]];
  let burst = 1;
  for (const [name, first] of presses) {
    if (Object.keys(first).length) await steer(concert, first);
    await asksAbout(desk, name);
    // Somebody else's change, seen by the page while the dialog is open.
    burst += 1;
    const { version } = await steer(concert, { burst });
    // The concert's making, and a line for each version.
    await until("the page has heard of it", async () => (await desk.locator("#record > li").count()) > version);
    await desk.evaluate(() => document.getElementById("problem").replaceChildren());
    await goOn(desk, name);
    await shows(desk, "#problem [role=alert]", "Look at what is in force now, and decide anew.");
    assert.equal((await room()).version, version, `${name}: nothing was done`);
  }
  await isFine(desk, "admin-changed-meanwhile");
  // The record may have told of the last change before the figures did: then it is looked at once more.
  await until("what is still as it was shown is done", async () => {
    await asksAbout(desk, "Reopen the waiting room");
    await desk.evaluate(() => document.getElementById("problem").replaceChildren());
    await goOn(desk, "Reopen the waiting room");
    await desk.locator("#problem p").waitFor();
    return (await desk.locator("#problem .good").count()) === 1;
  });
  assert.equal((await room()).mode, "queue");
});

test("a sale that somebody else has ended is not ended again", { timeout: 60000 }, async (t) => {
  const concert = await aConcert("Ended Elsewhere");
  const desk = await open(await account(t, "admin"), `/admin/sale/${concert}`);
  await asksAbout(desk, "End the sale");
  await ask("POST", `/admin/concerts/${concert}/close`);
  await shows(desk, "#state", "Sales have ended.");
  await goOn(desk, "End the sale");
  await shows(desk, "#problem [role=alert]", "The sale has changed meanwhile.");
  const { data } = await ask("GET", `/admin/audit?concertId=${concert}`);
  assert.deepEqual(data.map(({ action }) => action), ["close", "create"]);
});

test("a visitor is found by email, by id and by number", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Who Is Who", { paused: true, burst: 1 });
  const crowd = new Crowd(concert);
  t.after(() => crowd.goHome());
  await crowd.join(1);
  const alice = await account(t, "alice");
  const joined = await alice.request.post("/queue/token", { data: { concertId: concert } });
  assert.equal((await joined.json()).queueInfo.position, 2);
  const { userId } = await ask("POST", "/admin/users/find", { body: { email: "alice@example.com" } });
  await until("she is recorded", () => ask("GET", `/admin/queues/${concert}/visitors/${userId}`).catch(() => null));
  const context = await account(t, "admin");
  const addresses = [];
  context.on("request", (request) => addresses.push(decodeURIComponent(request.url())));
  const desk = await open(context, `/admin/sale/${concert}`);
  await desk.locator("#visitor-id").waitFor();
  for (const who of ["alice@example.com", " ALICE@example.com ", userId, userId.toUpperCase(), "2"]) {
    await desk.fill("#visitor-id", who);
    await desk.press("#visitor-id", "Enter");
    await shows(desk, "#visitor dd", userId);
    await shows(desk, "#visitor li", "got in line");
    await desk.evaluate(() => document.getElementById("visitor").replaceChildren());
  }
  assert.deepEqual(addresses.filter((address) => /alice/i.test(address)), [], "an email stands in an address");
  for (const [who, told] of [["nobody@example.com", "Nobody like that"], ["999", "Nobody like that"], [concert, "Nobody like that"]]) {
    await desk.fill("#visitor-id", who);
    await desk.press("#visitor-id", "Enter");
    await shows(desk, "#visitor .notice", told);
    await desk.evaluate(() => document.getElementById("visitor").replaceChildren());
  }
  for (const who of ["alice", "../settings", "0"]) {
    await desk.evaluate(() => document.getElementById("problem").replaceChildren());
    await desk.fill("#visitor-id", who);
    await desk.press("#visitor-id", "Enter");
    await shows(desk, "#problem [role=alert]", "Enter an email address");
  }
  await desk.fill("#visitor-id", "alice@example.com");
  await desk.press("#visitor-id", "Enter");
  await shows(desk, "#visitor dd", userId);
  await isFine(desk, "admin-visitor");
  // Whose address was typed is removed, and not whoever is typed in by then.
  await desk.fill("#visitor-id", "1");
  await desk.locator("#visitor button").click();
  await dialogOf(desk).waitFor();
  await goOn(desk, "Remove from the queue");
  await shows(desk, "#record li", "Visitor removed");
  await until("one is left", async () => (await ask("GET", `/admin/queues/${concert}`)).figures.waiting === 1);
});

test("what was sold can't be read, and the page says so", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Takings Away");
  const desk = await open(await account(t, "admin"), `/admin/sale/${concert}`);
  await shows(desk, "#takings dd", "0 of 80");
  await desk.route(`**/admin/concerts/${concert}`, (route) => route.abort());
  await shows(desk, "#takings-old", "What was sold can't be read anew");
  await isFine(desk, "admin-takings-old");
  await desk.unroute(`**/admin/concerts/${concert}`);
  await until("it is read again", () => desk.locator("#takings-old").isHidden());
  await shows(desk, "#graphs figcaption", "Card payments failed a second");
});
