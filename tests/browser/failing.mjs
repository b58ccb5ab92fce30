// A gateway dies under those who wait.

import assert from "node:assert/strict";
import test from "node:test";

import { shows } from "./browser.mjs";
import { aConcert, steer, until } from "./site.mjs";
import { inLine } from "./waiting.mjs";

/** nginx spreads streams over both gateways: some of so many are at the one that is killed. */
const WAITING = 4;
const isStream = (request) => new URL(request.url()).pathname === "/queue/events";

test("a gateway is killed during the wait, and everybody keeps their place", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Storm and Calm", { paused: true });
  const pages = [];
  let [opened, cut] = [0, 0];
  const watch = (page) => {
    page.on("response", (response) => { opened += isStream(response.request()) ? 1 : 0; });
    for (const end of ["requestfailed", "requestfinished"]) page.on(end, (request) => { cut += isStream(request) ? 1 : 0; });
  };
  for (let at = 1; at <= WAITING; at += 1) {
    const page = await inLine(t, concert, {}, watch);
    pages.push(page);
    assert.equal(await page.locator("#number").textContent(), String(at));
  }
  await until("everybody listens to a stream", () => opened >= WAITING);
  process.kill(Number(process.env.ONSALE_GATEWAY_PID), "SIGKILL");
  await until("the streams of the killed one end", () => cut > 0);
  assert.ok(cut < WAITING, "not all of them were at the one that was killed");
  for (const [at, page] of pages.entries()) {
    await shows(page, "#going", "Paused by the organiser");
    assert.equal(await page.locator("#number").textContent(), String(at + 1));
  }
  await steer(concert, { paused: false });
  await Promise.all(pages.map((page) => shows(page, "#state [role=alert]", "It is your turn!")));
});
