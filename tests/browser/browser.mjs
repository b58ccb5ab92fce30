// The browser: visitors, what every state of a page must be like, and a picture of each.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { PASSWORD, sessionOf, URL_OF_SITE } from "./site.mjs";

const PACKAGES = process.env.ONSALE_PACKAGES;
const PICTURES = process.env.ONSALE_PICTURES;
/** Every wait for something on a page ends by then. */
const PATIENCE_MS = 30000;
const NARROW = { width: 320, height: 700 };
const USUAL = { width: 960, height: 720 };

const { chromium } = createRequire(join(PACKAGES, "/"))("playwright-core");
const axe = readFileSync(join(PACKAGES, "axe-core/axe.min.js"), "utf8");
// Chromium's sandbox needs users other than root.
const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
const browser = await chromium.launch({ executablePath: process.env.ONSALE_CHROMIUM, args, timeout: 30000 });

export const close = () => browser.close();

/** Somebody with a browser of their own, closed when the test ends. */
export async function visitor(test, { language = "en", ...options } = {}) {
  const context = await browser.newContext({ baseURL: URL_OF_SITE, locale: language, viewport: USUAL, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  test.after(() => context.close());
  const broken = [];
  context.on("weberror", (error) => broken.push(error.error()));
  test.after(() => assert.deepEqual(broken, [], "scripts of the pages fail"));
  return context;
}

/** Signed in as one of the demo's accounts. */
export async function account(test, name, options) {
  const context = await visitor(test, options);
  const answer = await context.request.post("/auth/login", { data: { userId: `${name}@example.com`, password: PASSWORD } });
  assert.equal(answer.status(), 200);
  return context;
}

/** Signed in as somebody who has no account, which is enough for waiting. */
export async function stranger(test, options) {
  const context = await visitor(test, options);
  const cookie = { name: "Authorization", value: `Bearer%20${sessionOf()}`, url: URL_OF_SITE, httpOnly: true, sameSite: "Strict" };
  await context.addCookies([cookie]);
  return context;
}

export async function open(context, path) {
  const page = await context.newPage();
  await page.goto(path);
  return page;
}

/** The text of an element, once it is what it should be. */
export async function shows(page, selector, text) {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
}

const spokenOf = ({ id, help, nodes }) => `${id}: ${help}\n${nodes.map(({ target, failureSummary }) => `  ${target}: ${failureSummary}`).join("\n")}`;

/** What axe finds wrong with a page as it is now, but for the rules that it is `allowed` to break. */
async function findings(page, allowed) {
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.filter(({ id }) => !allowed.includes(id)).map(spokenOf).join("\n");
}

/**
 * What is true of every state of every page: axe finds nothing in light or dark, nothing is wider than a narrow screen.
 * Leaves a picture of it.
 */
export async function isFine(page, state, allowed = []) {
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    assert.equal(await findings(page, allowed), "", `${state}, ${colorScheme}`);
  }
  await page.setViewportSize(NARROW);
  const wide = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    return [...document.body.querySelectorAll("*")].filter((node) => node.getBoundingClientRect().right > clientWidth).map((node) => node.outerHTML.slice(0, 120));
  });
  await page.setViewportSize(USUAL);
  assert.deepEqual(wide, [], `${state} is wider than ${NARROW.width} px`);
  await picture(page, state);
}

/** Leaves a picture of a state, which may be one that is gone in a moment: axe needs one that stays. */
export async function picture(page, state) {
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.screenshot({ path: join(PICTURES, `${state}.png`) });
}
