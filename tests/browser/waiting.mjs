// Waiting: behind many, through reloads and second tabs, without scripts, in both languages.

import assert from "node:assert/strict";
import test from "node:test";

import { isFine, open, picture, shows, stranger, visitor } from "./browser.mjs";
import { aConcert, ask, Crowd, steer, until } from "./site.mjs";

/** How many of two hundred are let in before the room is full. */
const ROOM = 80;
const TURN = { en: "It is your turn!", ko: "차례가 되었습니다!" };
const number = async (page, id) => Number((await page.locator(`#${id}`).textContent()).replace(/\D/g, ""));

/** Somebody in line, on the page that says so; `watch` has the page before they get in line. */
export async function inLine(t, concert, options, watch = () => {}) {
  const page = await open(await stranger(t, options), `/sale/${concert}`);
  watch(page);
  await page.click("#state button");
  await page.locator("#number").waitFor();
  return page;
}

test("a buyer waits behind two hundred, and gets in", { timeout: 180000 }, async (t) => {
  const concert = await aConcert("Open Air Opening", { paused: true, admitPerSecond: 20, burst: 5, maxActive: ROOM });
  const crowd = new Crowd(concert);
  t.after(() => crowd.goHome());
  await crowd.join(200);
  const page = await inLine(t, concert);
  assert.deepEqual([await number(page, "number"), await number(page, "ahead")], [201, 200]);
  await steer(concert, { paused: false });
  const seen = [200];
  const isAt = (ahead) => async () => {
    seen.push(await number(page, "ahead"));
    return seen.at(-1) <= ahead;
  };
  await until("some are in", isAt(160), 60000);
  await picture(page, "waiting");
  // Then the room is full and nobody goes: what the page shows stands still, and can be looked at closely.
  await until("the room is full", isAt(200 - ROOM), 60000);
  await isFine(page, "waiting-full");
  assert.equal(await number(page, "ahead"), 200 - ROOM, "nobody was let in meanwhile");
  await steer(concert, { maxActive: 500 });
  await page.locator("#state [role=alert]").filter({ hasText: TURN.en }).waitFor({ timeout: 90000 });
  // Whoever has had their turn is let in when they ask, and nobody else is.
  const others = (await crowd.look()).filter((status) => status !== "admitted");
  assert.deepEqual(others, [], "all who were ahead have had their turn");
  assert.deepEqual(seen, [...seen].sort((one, other) => other - one), "what is shown does not go back");
  assert.match(await page.title(), /It is your turn!/);
});

test("a reload and a second tab keep the place", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Twice Around", { paused: true, burst: 1 });
  const crowd = new Crowd(concert);
  t.after(() => crowd.goHome());
  await crowd.join(3);
  const page = await inLine(t, concert);
  assert.equal(await number(page, "number"), 4);
  // Whoever came later would be in front of one who had lost their place.
  await crowd.join(2);
  await page.reload();
  await page.locator("#number").waitFor();
  assert.deepEqual([await number(page, "number"), await number(page, "ahead")], [4, 3]);
  const second = await open(page.context(), `/sale/${concert}`);
  await second.locator("#number").waitFor();
  assert.deepEqual([await number(second, "number"), await number(second, "ahead")], [4, 3]);
  await page.close();
  await steer(concert, { paused: false });
  await shows(second, "#state [role=alert]", TURN.en);
});

test("waiting in Korean", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("한강의 밤", { paused: true });
  const page = await inLine(t, concert, { language: "ko" });
  await shows(page, "#going", "주최 측이 입장을 잠시 멈췄습니다.");
  await isFine(page, "waiting-paused-ko");
  await steer(concert, { paused: false });
  await shows(page, "#state [role=alert]", TURN.ko);
});

test("whoever leaves is out, and can come again", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("There and Back", { paused: true });
  const page = await inLine(t, concert);
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Leave the line" }).click();
  await shows(page, "#state", "You have left the line.");
  await until("nobody is left in line", async () => (await ask("GET", `/admin/queues/${concert}`)).figures.waiting === 0);
  await isFine(page, "left");
  // Their place is gone: whoever came meanwhile is in front of them.
  const crowd = new Crowd(concert);
  t.after(() => crowd.goHome());
  await crowd.join(1);
  await page.getByRole("button", { name: "Get tickets" }).click();
  await page.locator("#number").waitFor();
  assert.deepEqual([await number(page, "number"), await number(page, "ahead")], [3, 1]);
  await steer(concert, { paused: false });
  await shows(page, "#state [role=alert]", TURN.en);
});

/** Without scripts nothing else could tell them that it is their turn. */
const COMES_AGAIN = ["meta-refresh"];

/** The same page where scripts may look at it, and where it does not come again by itself meanwhile. */
async function isFineWithoutScripts(t, page, state) {
  const twin = await open(await visitor(t, { storageState: await page.context().storageState() }), page.url());
  await twin.route("**/wait/*", (route) => route.abort("aborted"));
  await isFine(twin, state, COMES_AGAIN);
  await twin.close();
}

test("waiting without scripts", { timeout: 180000 }, async (t) => {
  const concert = await aConcert("Plain Evening", { paused: true });
  const page = await open(await visitor(t, { javaScriptEnabled: false }), `/sale/${concert}`);
  await page.waitForURL(`**/wait/${concert}`);
  await page.fill("[name=email]", "alice@example.com");
  await page.fill("[name=password]", "onsale-demo");
  await page.click("main button");
  await page.getByRole("button", { name: "Get tickets" }).click();
  await shows(page, ".notice", "Paused by the organiser; your place is kept.");
  await shows(page, ".facts", "Your number");
  await isFineWithoutScripts(t, page, "plain-waiting");
  await steer(concert, { paused: false });
  // By itself: the page comes again as often as the room says.
  await page.locator(".notice").filter({ hasText: TURN.en }).waitFor({ timeout: 90000 });
  await isFineWithoutScripts(t, page, "plain-turn");
});
