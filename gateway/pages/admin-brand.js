// What an organiser gives the pages of a concert. This page wears the colour that is picked, so it is seen before it is saved.

import { Refusal, get, patch } from "./api.js";
import { differences, sure } from "./admin-words.js";
import { paint } from "./brand.js";
import { busy, byId, count, el, say, t, tell } from "./ui.js";

const MOST_BYTES = 3072;
const KINDS = ["image/png", "image/jpeg", "image/webp"];
/** As large as a logo is shown. */
const WIDE = 320;
const HIGH = 96;
const LEAST_SIDE = 8;
const QUALITIES = [0.9, 0.7, 0.5];
const concertId = location.pathname.split("/")[3];
const path = `/admin/concerts/${encodeURIComponent(concertId)}`;
let saved;
/** The logo that is to be: its file, or null. */
let logo;

const colour = () => (byId("has-colour").value ? byId("pick").value : null);
const inkOf = (blob) => (blob ? `${blob.type} · ${t("brand.bytes", { n: count(blob.size) })}` : null);

function message() {
  const [ko, en] = ["ko", "en"].map((id) => byId(id).value.trim());
  if (!ko && !en) return null;
  if (!ko || !en) throw new Refusal(400, { error: "same", message: t("brand.both") });
  return { ko, en };
}

/** The picture in a file; a refusal where there is none. */
function pictureOf(blob) {
  return createImageBitmap(blob).catch(() => { throw new Refusal(400, { error: "same", message: t("brand.no_picture") }); });
}

function draw(canvas, picture, scale) {
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
}

const scaleOf = (picture) => Math.min(1, WIDE / picture.width, HIGH / picture.height);

/** A file as it is where it is small enough; else the largest picture of it that is. */
async function fitted(file) {
  const picture = await pictureOf(file);
  if (file.size <= MOST_BYTES && KINDS.includes(file.type) && scaleOf(picture) === 1) return file;
  const canvas = el("canvas");
  for (let scale = scaleOf(picture); Math.max(picture.width, picture.height) * scale >= LEAST_SIDE; scale *= 0.8) {
    draw(canvas, picture, scale);
    for (const quality of QUALITIES) {
      const blob = await new Promise((done) => canvas.toBlob(done, "image/webp", quality));
      if (blob && blob.size <= MOST_BYTES && KINDS.includes(blob.type)) return blob;
    }
  }
  throw new Refusal(400, { error: "same", message: t("brand.no_picture") });
}

async function show(blob) {
  logo = blob;
  byId("picture").hidden = byId("no-logo").hidden = !blob;
  if (!blob) return;
  const picture = await pictureOf(blob);
  draw(byId("picture"), picture, scaleOf(picture));
}

function showColour() {
  byId("colour-field").hidden = !colour();
  paint(colour());
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const base64Of = async (blob) => btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));

async function fill(branding) {
  const { colour: own, message: told, logo: file } = branding;
  byId("has-colour").value = own ? "1" : "";
  byId("pick").value = own ?? "#1d4ed8";
  byId("ko").value = told?.ko ?? "";
  byId("en").value = told?.en ?? "";
  showColour();
  await show(file && new Blob([bytesOf(file.data)], { type: file.type }));
  saved = { colour: own, message: told, logo };
}

/** Only what is another than it was: what somebody else changes meanwhile stays. */
async function change() {
  const [before, after] = [saved, { colour: colour(), message: message(), logo }];
  const seen = (of) => ({ ...of, logo: inkOf(of.logo) });
  const lines = differences(seen(before), seen(after));
  const changed = Object.fromEntries(Object.entries(after).filter(([name, value]) => (name === "logo" ? value !== before.logo : JSON.stringify(value) !== JSON.stringify(before[name]))));
  if (Object.keys(changed).length === 0) throw new Refusal(400, { error: "same", message: t("steer.same") });
  if (!await sure(t("brand.sure"), [t("brand.sure_what")], lines, t("brand.save"))) return;
  if (changed.logo) changed.logo = await base64Of(changed.logo);
  await fill(await patch(`${path}/branding`, changed));
  byId("file").value = "";
  byId("problem").replaceChildren(el("p", { className: "notice good" }, t("brand.saved"), " ", el("a", { href: `/sale/${concertId}` }, t("brand.look"))));
  say(t("brand.saved"));
}

byId("has-colour").addEventListener("change", showColour);
byId("pick").addEventListener("input", showColour);
byId("file").addEventListener("change", async () => {
  tell(null);
  const [file] = byId("file").files;
  if (file) await fitted(file).then(show).catch((refusal) => { byId("file").value = ""; tell(refusal); });
});
byId("no-logo").addEventListener("click", async () => {
  byId("file").value = "";
  await show(null);
  byId("file").focus();
});
byId("brand").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter, change);
});

async function start() {
  byId("desk").href = `/admin/sale/${concertId}`;
  byId("desk").hidden = false;
  const [concert, branding] = await Promise.all([get(path), get(`${path}/branding`)]);
  byId("name").textContent = document.title = t("brand.of", { name: concert.name });
  await fill(branding);
  byId("brand").hidden = false;
}

start().catch((refusal) => tell(refusal));
