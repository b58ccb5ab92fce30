// A gateway dies under those who wait.

import assert from "node:assert/strict";
import test from "node:test";

import { shows } from "./browser.mjs";
import { aConcert, Crowd, steer, until } from "./site.mjs";
import { inLine } from "./waiting.mjs";

/** nginx spreads streams over both gateways: some of so many are at the one that is killed. */
const WAITING = 4;
const IN_FRONT = 3;
const TURN = "#state [role=alert]";
const isStream = (request) => new URL(request.url()).pathname === "/queue/events";

test("a gateway is killed during the wait, and everybody keeps their place", { timeout: 180000 }, async (t) => {
  // One at a time, so that it is seen in which order.
  const concert = await aConcert("Storm and Calm", { paused: true, admitPerSecond: 10, burst: 1, maxActive: 1 });
  const [inFront, late] = [new Crowd(concert), new Crowd(concert)];
  t.after(() => Promise.all([inFront.goHome(), late.goHome()]));
  await inFront.join(IN_FRONT);
  const pages = [];
  let [opened, cut] = [0, 0];
  const watch = (page) => {
    page.on("response", (response) => { opened += isStream(response.request()) ? 1 : 0; });
    for (const end of ["requestfailed", "requestfinished"]) page.on(end, (request) => { cut += isStream(request) ? 1 : 0; });
  };
  const stand = (page) => Promise.all(["#number", "#ahead"].map(async (id) => Number(await page.locator(id).textContent())));
  for (let at = 0; at < WAITING; at += 1) {
    pages.push(await inLine(t, concert, {}, watch));
    assert.deepEqual(await stand(pages[at]), [IN_FRONT + at + 1, IN_FRONT + at]);
  }
  await until("everybody listens to a stream", () => opened >= WAITING);
  process.kill(Number(process.env.ONSALE_GATEWAY_PID), "SIGKILL");
  await until("the streams of the killed one end", () => cut > 0);
  // What a page has shown before proves nothing. So those in front leave, of which only a gateway that lives can tell; and
  // somebody comes, who would be in front of whoever had lost their place.
  await inFront.leave();
  await late.join(1);
  for (const [at, page] of pages.entries()) {
    await until(`number ${IN_FRONT + at + 1} hears who has left`, async () => (await stand(page))[1] === at);
    assert.deepEqual(await stand(page), [IN_FRONT + at + 1, at]);
    await shows(page, "#going", "Paused by the organiser");
  }
  await steer(concert, { paused: false });
  for (const [at, page] of pages.entries()) {
    await shows(page, TURN, "It is your turn!");
    for (const behind of pages.slice(at + 1)) assert.equal(await behind.locator(TURN).count(), 0, "nobody gets in front");
    assert.equal(late.admitted(), 0, "who came last is let in last");
    await page.evaluate(() => fetch("/queue/token", { method: "DELETE" }));
  }
  await until("who came last is let in", () => late.admitted() === 1);
});
