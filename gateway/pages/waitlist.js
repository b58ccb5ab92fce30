// Waiting for a seat that comes free once there are none: joining, one's place, what is offered, leaving.

import "./account-words.js";
import { get, noteSignedIn, post, remove } from "./api.js";
import { busy, byId, count, countdown, el, money, moment, say, t, tell, toSignIn } from "./ui.js";

const concertId = location.pathname.split("/")[2];
const concert = `/concerts/${encodeURIComponent(concertId)}`;
const path = `${concert}/waitlist`;
/** How soon to look again, by how many are in front: an offer lasts for minutes, and there may be a hundred thousand who look. */
const LOOKS = [[10, 15000], [100, 60000], [Infinity, 300000]];
/** Whoever is offered a seat pays for it on another page: here it is only seen that it is done. */
const LOOK_AT_OFFER_MS = 15000;

let timer;
let stopClock = () => {};
let offered;
let told;

const seatOf = ({ seats }) => seats.map(({ section, seatNumber }) => t("seats.short", { section, n: seatNumber })).join(", ");

function show(kind, ...content) {
  stopClock();
  stopClock = () => {};
  const hadFocus = byId("state").contains(document.activeElement) || byId("join").contains(document.activeElement);
  byId("state").replaceChildren(...content);
  byId("state").setAttribute("aria-busy", "false");
  byId("join").hidden = kind !== "none";
  if (hadFocus && kind !== told) byId("main").focus();
  told = kind;
}

function lookIn(ms) {
  clearTimeout(timer);
  // Not everybody in the same second.
  timer = setTimeout(() => { if (!document.hidden) load().catch(missed); }, ms * (0.8 + Math.random() * 0.4));
}

function missed(refusal) {
  if (refusal.status === 401) return toSignIn();
  tell(refusal);
  if (refusal.status === 0 || refusal.status === 429 || refusal.status >= 500) lookIn((refusal.retryAfterSeconds || 5) * 1000);
}

function leaveButton(text, sure) {
  const button = el("button", { type: "button", className: "quiet" }, t(text));
  button.addEventListener("click", () => {
    if (!confirm(t(sure))) return;
    busy(button, async () => {
      // Who is not on it any more has what they wanted.
      await remove(path).catch((refusal) => { if (refusal.status !== 404) throw refusal; });
      offered = null;
      await load();
      say(t("waitlist.left"));
    });
  });
  return button;
}

function showPlace({ section, place, joinedAt }) {
  const fact = (name, of) => el("div", {}, el("dt", {}, t(`waitlist.${name}`)), el("dd", {}, of));
  if (told !== "waiting") say(t("waitlist.waiting"));
  show("waiting", el("p", { className: "notice" }, t("waitlist.waiting")),
    el("dl", { className: "facts" }, fact("place", count(place)), fact("for", section ?? t("waitlist.any")), fact("since", moment(joinedAt))),
    el("p", {}, t("waitlist.kept")), el("p", {}, leaveButton("waitlist.leave", "waitlist.leave_sure")));
  lookIn(LOOKS.find(([most]) => place <= most)[1]);
}

async function showOffer({ offer }) {
  const reservation = await get(`/reservation/${offer.reservationId}`);
  const isNews = offered !== offer.reservationId;
  offered = offer.reservationId;
  lookIn(LOOK_AT_OFFER_MS);
  if (!isNews) return;
  const clock = el("p", { className: "large", data: { role: "timer" } });
  show("offered",
    el("p", { className: "notice good", data: { role: "alert" } }, t("waitlist.offered", { seat: seatOf(reservation), sum: money(reservation.amount) })),
    el("p", {}, t("waitlist.pay_within")), clock,
    el("p", {}, el("a", { className: "button", href: "/my" }, t("waitlist.pay"))),
    el("p", {}, leaveButton("waitlist.decline", "waitlist.decline_sure")));
  document.title = `${t("waitlist.offer_title")} · ${byId("name").textContent}`;
  stopClock = countdown(clock, Date.now() + reservation.expiresInSeconds * 1000, { atEnd: () => lookIn(1500) });
}

/** Nothing is waited for: perhaps since an offer was paid for, or was not. */
async function showNothing() {
  const was = offered;
  offered = null;
  document.title = byId("name").textContent;
  if (!was) return show("none");
  const { status } = await get(`/reservation/${was}`);
  const news = t(status === "completed" ? "waitlist.bought" : "waitlist.lapsed");
  const link = status === "completed" ? el("p", {}, el("a", { href: "/my" }, t("do.my"))) : null;
  show(status === "completed" ? "bought" : "none", ...[el("p", { className: "notice" }, news), link].filter(Boolean));
  say(news);
}

async function load() {
  clearTimeout(timer);
  const wait = await get(path).catch((refusal) => {
    if (refusal.status !== 404) throw refusal;
    return null;
  });
  noteSignedIn(true);
  tell(null);
  if (!wait) return showNothing();
  return wait.status === "offered" ? showOffer(wait) : showPlace(wait);
}

byId("join").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter ?? byId("join").querySelector("button"), async () => {
    const section = byId("section").value;
    await post(path, section ? { section } : {});
    await load();
  }, concertId);
});

// A hall's list is large, and most want any seat: only who asks for a section has it sent.
byId("sections").addEventListener("click", () => busy(byId("sections"), async () => {
  const names = [...new Set((await get(`${concert}/seats`)).map(({ section }) => section))];
  byId("section").append(...names.map((name) => el("option", { value: name }, name)));
  byId("sections").hidden = true;
  byId("section").focus();
}, concertId));

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && (told === "waiting" || told === "offered")) load().catch(missed);
});

async function start() {
  try {
    const { name, date, venue } = await get(concert);
    byId("name").textContent = document.title = name;
    byId("facts").textContent = `${date} · ${venue}`;
    byId("back").href = `/sale/${encodeURIComponent(concertId)}`;
    await load();
  } catch (refusal) {
    if (refusal.status === 401) return toSignIn();
    tell(refusal, concertId);
    if (refusal.status === 0 || refusal.status === 429 || refusal.status >= 500) setTimeout(start, (refusal.retryAfterSeconds || 3) * 1000 * (1 + Math.random()));
  }
}

start();
