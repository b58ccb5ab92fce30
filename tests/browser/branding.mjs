// An operator gives a concert a colour, a logo and a message, and buyers see them, with scripts and without.

import assert from "node:assert/strict";
import test from "node:test";

import { account, isFine, open, shows, visitor } from "./browser.mjs";
import { aConcert, ask, until } from "./site.mjs";

/** Yellow can't be read on white, nor navy on black: pages take the nearest shade that can. */
const [YELLOW, NAVY] = ["#ffee00", "#000a40"];
const MESSAGE = { ko: "문은 <b>6시</b>에 열립니다.", en: "Doors open at <b>6</b>." };
const LOGO_MOST_BYTES = 3072;

/** A picture of noise, which is far too large for a logo. */
async function aPicture(page) {
  const bytes = await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 900, height: 300 });
    const context = canvas.getContext("2d");
    const image = context.createImageData(900, 300);
    for (let at = 0; at < image.data.length; at += 1) image.data[at] = at % 4 === 3 ? 255 : Math.random() * 256;
    context.putImageData(image, 0, 0);
    const blob = await new Promise((done) => { canvas.toBlob(done, "image/png"); });
    return [...new Uint8Array(await blob.arrayBuffer())];
  });
  return { name: "logo.png", mimeType: "image/png", buffer: Buffer.from(bytes) };
}

const mainColour = (page) => page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--main").trim());
const isShown = (page, selector) => page.waitForFunction((wanted) => {
  const picture = document.querySelector(wanted);
  return picture?.complete && picture.naturalWidth > 0;
}, selector);

test("an organiser's colour, logo and message are on the pages, and can be read", { timeout: 180000 }, async (t) => {
  const concert = await aConcert("Yellow Submarine");
  const desk = await open(await account(t, "admin"), `/admin/sale/${concert}`);
  await desk.click("#look");
  await desk.locator("#brand:not([hidden])").waitFor();
  await desk.selectOption("#has-colour", "1");
  await desk.fill("#pick", YELLOW);
  await desk.fill("#ko", MESSAGE.ko);
  await desk.fill("#en", MESSAGE.en);
  const picture = await aPicture(desk);
  assert.ok(picture.buffer.length > 20 * LOGO_MOST_BYTES, "it has to be made smaller");
  await desk.setInputFiles("#file", picture);
  await desk.locator("#picture:not([hidden])").waitFor();
  await isFine(desk, "admin-branding");
  await desk.locator("#brand button").last().click();
  await desk.locator("dialog").waitFor();
  await isFine(desk, "admin-branding-dialog");
  await desk.locator("dialog").getByRole("button", { name: "Save", exact: true }).click();
  await shows(desk, "#problem", "Saved.");
  const { logo } = await ask("GET", `/admin/concerts/${concert}/branding`);
  assert.ok(Buffer.from(logo.data, "base64").length <= LOGO_MOST_BYTES);
  await until("every core-api shows it", async () => (await ask("GET", `/concerts/${concert}`)).branding);

  const context = await visitor(t);
  const page = await open(context, `/sale/${concert}`);
  await isShown(page, "#logo");
  assert.equal(await page.locator("#message").textContent(), `From the organiser: ${MESSAGE.en}`);
  await page.waitForFunction((usual) => getComputedStyle(document.documentElement).getPropertyValue("--main").trim() !== usual, "#1d4ed8");
  await page.emulateMedia({ colorScheme: "dark" });
  assert.equal(await mainColour(page), YELLOW, "where it is dark yellow can be read as it is");
  await page.emulateMedia({ colorScheme: "light" });
  assert.notEqual(await mainColour(page), YELLOW, "where it is light it can't");
  await isFine(page, "branded-sale");
  const plain = await open(context, `/wait/${concert}`);
  await isShown(plain, ".logo");
  await shows(plain, ".notice", MESSAGE.en);
  await isFine(plain, "branded-plain");
  const korean = await open(await visitor(t, { language: "ko" }), `/sale/${concert}`);
  await shows(korean, "#message", MESSAGE.ko);

  await ask("PATCH", `/admin/concerts/${concert}/branding`, { body: { colour: NAVY } });
  const buyer = await open(await account(t, "bob"), `/sale/${concert}`);
  await buyer.click("#state button");
  await buyer.click("#state a.button");
  await buyer.locator("#hall [role=checkbox]").first().waitFor();
  await buyer.click("#hall [role=checkbox] >> nth=0");
  await shows(buyer, "#chosen", "A-1 1");
  await buyer.emulateMedia({ colorScheme: "light" });
  assert.equal(await mainColour(buyer), NAVY);
  await isFine(buyer, "branded-seats");
});

test("who operates can take it all away again, and what is no picture is told", { timeout: 120000 }, async (t) => {
  const concert = await aConcert("Plain Again");
  await ask("PATCH", `/admin/concerts/${concert}/branding`, { body: { colour: YELLOW, message: MESSAGE } });
  const desk = await open(await account(t, "admin"), `/admin/sale/${concert}/branding`);
  await desk.locator("#brand:not([hidden])").waitFor();
  assert.deepEqual([await desk.inputValue("#pick"), await desk.inputValue("#en")], [YELLOW, MESSAGE.en]);
  await desk.setInputFiles("#file", { name: "logo.png", mimeType: "image/png", buffer: Buffer.from("<svg/>") });
  await shows(desk, "#problem [role=alert]", "No logo can be made of this file.");
  await desk.fill("#ko", "");
  await desk.locator("#brand button").last().click();
  await shows(desk, "#problem [role=alert]", "The message is needed in both languages.");
  await desk.fill("#en", "");
  await desk.selectOption("#has-colour", "");
  await desk.locator("#brand button").last().click();
  await desk.locator("dialog").getByRole("button", { name: "Save", exact: true }).click();
  await shows(desk, "#problem", "Saved.");
  const { colour, message, logo } = await ask("GET", `/admin/concerts/${concert}/branding`);
  assert.deepEqual([colour, message, logo], [null, null, null]);
});
