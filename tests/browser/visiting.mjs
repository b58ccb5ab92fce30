// What anybody sees: the list, logging in, a sale that has not begun, is sold out, or is over; in both languages.

import assert from "node:assert/strict";
import test from "node:test";

import { isFine, open, shows, visitor } from "./browser.mjs";
import { aConcert, ask } from "./site.mjs";

const SAID = {
  en: { home: "Concerts", login: "Log in", opens: "On sale from", soldOut: "Sold out.", closed: "Sales have ended.", join: "Get tickets" },
  ko: { home: "공연", login: "로그인", opens: "판매 시작", soldOut: "매진되었습니다.", closed: "판매가 끝났습니다.", join: "예매하기" },
};
const demo = async (status) => (await ask("GET", "/concerts?limit=100")).data.find((concert) => concert.status === status).id;

for (const [language, said] of Object.entries(SAID)) {
  test(`whoever comes finds their way (${language})`, { timeout: 120000 }, async (t) => {
    const closed = await aConcert(`Over and done ${language}`);
    await ask("POST", `/admin/concerts/${closed}/close`);
    const context = await visitor(t, { language });
    const home = await open(context, "/");
    await shows(home, "h1", said.home);
    await shows(home, "#concerts a", "Stadium Tour");
    await isFine(home, `home-${language}`);
    const login = await open(context, "/login");
    await shows(login, "#log-in button", said.login);
    await isFine(login, `login-${language}`);
    for (const [state, id, text] of [["countdown", await demo("scheduled"), said.opens], ["sold-out", await demo("sold_out"), said.soldOut], ["closed", closed, said.closed]]) {
      const page = await open(context, `/sale/${id}`);
      await shows(page, "#state", text);
      if (state === "countdown") assert.match(await page.locator("[role=timer]").textContent(), /\d/);
      await isFine(page, `sale-${state}-${language}`);
    }
    const begun = await open(context, `/sale/${await demo("on_sale")}`);
    await shows(begun, "#state button", said.join);
    await isFine(begun, `sale-on-sale-${language}`);
  });
}

test("the language is switched, and stays", { timeout: 60000 }, async (t) => {
  const page = await open(await visitor(t, { language: "ko" }), "/login?next=/my");
  await shows(page, "#switch", "English");
  await page.click("#switch");
  await shows(page, "#log-in button", SAID.en.login);
  assert.equal(await page.locator("html").getAttribute("lang"), "en");
  assert.equal(new URL(page.url()).searchParams.get("next"), "/my");
  await page.goto("/");
  await shows(page, "h1", SAID.en.home);
});

test("wrong words are told, right ones lead on", { timeout: 60000 }, async (t) => {
  const page = await open(await visitor(t), "/login?next=/my");
  for (const [password, check] of [["not this one", () => shows(page, "[role=alert]", "password")], ["onsale-demo", () => page.waitForURL("**/my")]]) {
    await page.fill("#log-in [name=email]", "alice@example.com");
    await page.fill("#log-in [name=password]", password);
    await page.click("#log-in button");
    await check();
  }
  await shows(page, "#account, header button", "Log out");
});
