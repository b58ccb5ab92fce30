// What somebody does with their account, and with a concert that has nothing left for them.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";

import { account, isFine, open, shows, visitor } from "./browser.mjs";
import { aConcert, ask, until } from "./site.mjs";

const FIRST_PASSWORD = "the first of them";
const NEXT_PASSWORD = "another one, longer";
const ONE_SEAT = { sections: [{ name: "S", price: 70, rows: [{ seats: 1 }] }] };

/** Somebody new, signed in; who that is. */
async function newcomer(t, options) {
  const context = await visitor(t, options);
  const email = `${randomUUID()}@example.test`;
  const answer = await context.request.post("/auth/signup", { data: { username: "somebody", email, password: FIRST_PASSWORD } });
  assert.equal(answer.status(), 200);
  return { context, email };
}

/** The same person on another device. */
async function again(t, email, password = FIRST_PASSWORD) {
  const context = await visitor(t);
  const answer = await context.request.post("/auth/login", { data: { userId: email, password } });
  return { context, status: answer.status() };
}

const mayStill = async ({ context }) => (await context.request.get("/auth/sessions")).status();

test("sessions are seen and ended, and the password is changed", { timeout: 120000 }, async (t) => {
  const { context, email } = await newcomer(t);
  const others = [await again(t, email), await again(t, email), await again(t, email)];
  const page = await open(context, "/my");
  await page.getByRole("link", { name: "My account" }).click();
  await page.waitForURL("**/account");
  await shows(page, "#sessions [aria-current]", "This device");
  assert.equal(await page.locator("#sessions > li").count(), 4);
  await isFine(page, "account");
  page.on("dialog", (dialog) => dialog.accept());
  await page.locator("#sessions > li").filter({ hasText: "Somewhere else" }).first().getByRole("button").click();
  await shows(page, "#problem", "That login is ended.");
  assert.equal(await page.locator("#sessions > li").count(), 3);
  assert.deepEqual((await Promise.all(others.map(mayStill))).sort(), [200, 200, 401]);
  await page.click("#others");
  await shows(page, "#problem", "All others are ended.");
  assert.deepEqual(await Promise.all(others.map(mayStill)), [401, 401, 401]);
  assert.equal(await page.locator("#sessions > li").count(), 1);
  assert.ok(await page.locator("#others").isHidden(), "there are no others");

  const elsewhere = await again(t, email);
  const change = async (current, wanted, repeated = wanted) => {
    for (const [name, value] of Object.entries({ current, wanted, again: repeated })) await page.fill(`#password [name=${name}]`, value);
    await page.click("#password button");
  };
  await change(FIRST_PASSWORD, NEXT_PASSWORD, `${NEXT_PASSWORD}!`);
  await shows(page, "#problem [role=alert]", "The two new passwords are not the same.");
  await change("not this one", NEXT_PASSWORD);
  await shows(page, "#problem [role=alert]", "Check your current password and enter it again.");
  await isFine(page, "account-refused");
  assert.equal(await mayStill(elsewhere), 200, "nothing was done");
  await change(FIRST_PASSWORD, NEXT_PASSWORD);
  await shows(page, "#problem", "The password is changed.");
  assert.equal(await page.inputValue("#password [name=wanted]"), "", "no password is left in the page");
  assert.equal(await mayStill(elsewhere), 401);
  assert.deepEqual([(await again(t, email)).status, (await again(t, email, NEXT_PASSWORD)).status], [401, 200]);
  await page.reload();
  await shows(page, "#sessions [aria-current]", "This device");
});

test("an account in Korean, and whoever is not signed in", { timeout: 60000 }, async (t) => {
  const { context } = await newcomer(t, { language: "ko" });
  const page = await open(context, "/account");
  await shows(page, "#sessions [aria-current]", "지금 이 기기");
  await isFine(page, "account-ko");
  const stranger = await open(await visitor(t), "/account");
  await stranger.waitForURL("**/login?next=%2Faccount");
});

/** A concert whose only seat is sold; what gives it back. */
async function soldOut(name) {
  const concert = await aConcert(name, {}, ONE_SEAT);
  const signUp = { username: "buyer", email: `${randomUUID()}@example.test`, password: FIRST_PASSWORD };
  const { token: session } = await ask("POST", "/auth/signup", { body: signUp });
  await ask("POST", "/balance", { session, body: { amount: 100 } });
  const { token: queueToken } = await ask("POST", "/queue/token", { session, body: { concertId: concert } });
  const [{ seatId }] = await ask("GET", `/concerts/${concert}/seats`);
  const { reservationId } = await ask("POST", "/reservation", { session, queueToken, body: { concertId: concert, seatId } });
  await ask("POST", "/payment", { session, body: { reservationId } });
  await until("it is sold out", async () => (await ask("GET", `/concerts/${concert}`)).status === "sold_out");
  return { concert, giveBack: () => ask("DELETE", `/reservation/${reservationId}`, { session }) };
}

/** A tab that is looked at again asks at once. */
const lookAgain = (page) => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));

test("who comes too late waits for a seat, is offered one, declines it, and the next one has it", { timeout: 180000 }, async (t) => {
  const { concert, giveBack } = await soldOut("Once Only");
  const first = await open(await account(t, "bob"), `/sale/${concert}`);
  first.on("dialog", (dialog) => dialog.accept());
  await shows(first, "#state", "Sold out.");
  await first.getByRole("link", { name: "Wait for a seat that comes back" }).click();
  await first.waitForURL("**/waitlist");
  await first.click("#sections");
  await first.selectOption("#section", { index: 1 });
  await isFine(first, "waitlist-join");
  await first.getByRole("button", { name: "Wait", exact: true }).click();
  await shows(first, "#state", "You are waiting for a seat that comes back.");
  await shows(first, "#state dd", "1");
  assert.ok(await first.locator("#join").isHidden(), "nobody waits twice");
  await isFine(first, "waitlist-waiting");

  const { context } = await newcomer(t, { language: "ko" });
  await context.request.post("/balance", { data: { amount: 100 } });
  const second = await open(context, `/sale/${concert}/waitlist`);
  await second.getByRole("button", { name: "기다리기", exact: true }).click();
  await shows(second, "#state dd", "2");
  await isFine(second, "waitlist-waiting-ko");

  await giveBack();
  await until("it is offered", async () => { await lookAgain(first); return first.locator("#state [role=alert]").isVisible(); });
  await shows(first, "#state [role=alert]", "seat 1, 70");
  assert.ok(await first.locator("#join").isHidden());
  await isFine(first, "waitlist-offered");
  await first.getByRole("button", { name: "Decline" }).click();
  await first.locator("#join").waitFor();

  await until("it is the next one's", async () => { await lookAgain(second); return second.locator("#state [role=alert]").isVisible(); });
  await isFine(second, "waitlist-offered-ko");
  const [{ reservationId }] = (await (await context.request.get("/reservation")).json()).data;
  const paid = await context.request.post("/payment", { data: { reservationId } });
  assert.equal(paid.status(), 200);
  await lookAgain(second);
  await shows(second, "#state", "제안받은 좌석을 결제했습니다.");
});

test("waiting ends by leaving, and refusals are told", { timeout: 120000 }, async (t) => {
  const { concert } = await soldOut("Twice Refused");
  const page = await open((await newcomer(t)).context, `/sale/${concert}/waitlist`);
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Wait", exact: true }).click();
  await page.getByRole("button", { name: "Wait no more" }).click();
  await page.locator("#join").waitFor();
  await ask("POST", `/admin/concerts/${concert}/close`);
  // Another core-api may learn of it a second later.
  await until("the sale is over", async () => (await ask("GET", `/concerts/${concert}`)).status === "closed");
  await page.getByRole("button", { name: "Wait", exact: true }).click();
  await shows(page, "#problem [role=alert]", "Sales for this concert are closed.");
  await isFine(page, "waitlist-refused");
  const nowhere = await open(page.context(), `/sale/${randomUUID()}/waitlist`);
  await nowhere.locator("#problem [role=alert]").waitFor();
});
