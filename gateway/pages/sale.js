// One concert: not open yet, to be joined, waited for, one's turn, sold out or closed.

import { get } from "./api.js";
import { dress } from "./brand.js";
import { allowSound, ask, canAsk, yourTurn } from "./notify.js";
import { follow, join, leave } from "./queue.js";
import { busy, byId, count, countdown, el, moment, range, say, t, tell, toSignIn } from "./ui.js";

const concertId = location.pathname.split("/")[2];
const memory = `wait:${concertId}`;
let concert;
let stopClock = () => {};
let shown;
let said = Infinity;
let saidPaused = false;

function show(kind, ...content) {
  stopClock();
  shown = kind;
  const hadFocus = byId("state").contains(document.activeElement);
  byId("state").replaceChildren(...content);
  if (hadFocus) byId("main").focus();
  byId("state").setAttribute("aria-busy", "false");
}

const recall = () => JSON.parse(localStorage.getItem(memory) ?? "null");

function joinButton() {
  const button = el("button", { type: "button" }, t("sale.join"));
  button.addEventListener("click", () => {
    allowSound();
    busy(button, async () => {
      const answer = await join(concertId).catch((refusal) => {
        if (refusal.status !== 401) throw refusal;
        toSignIn();
      });
      if (!answer) return;
      update(answer);
      wait();
    }, concertId);
  });
  return el("p", {}, button);
}

/** Where to wait for what others give back. */
const toTheWaitlist = () => el("p", {}, el("a", { href: `/sale/${encodeURIComponent(concertId)}/waitlist` }, t("sale.waitlist")));

function showSale() {
  const { status, saleOpensAt, availableSeats } = concert;
  if (status === "scheduled") {
    const clock = el("p", { className: "large", data: { role: "timer" } });
    show(status, el("p", {}, t("state.scheduled", { when: moment(saleOpensAt) })), clock, el("p", {}, t("sale.gather")), joinButton());
    // Not everybody in the same second.
    const reload = () => setTimeout(start, 500 + Math.random() * 2500);
    stopClock = countdown(clock, Date.parse(saleOpensAt), { atEnd: reload });
  } else if (status === "on_sale") {
    show(status, el("p", {}, t("state.on_sale", { n: count(availableSeats) })), el("p", {}, t("wait.explain")), joinButton(), ...(availableSeats ? [] : [toTheWaitlist()]));
  } else {
    show(status, el("p", { className: "notice" }, t(`state.${status}`)), ...(status === "sold_out" ? [toTheWaitlist()] : []), el("p", {}, el("a", { href: "/" }, t("do.others"))));
  }
}

/** How much of the way is behind: never less than was shown, whatever happens. */
function progress(position, ahead) {
  const before = recall();
  const same = before?.position === position ? before : { position, from: ahead + 1, best: 0, ahead };
  const least = Math.min(same.ahead, ahead);
  const best = Math.max(same.best, 1 - least / Math.max(same.from, 1));
  localStorage.setItem(memory, JSON.stringify({ ...same, best, ahead: least }));
  return { part: Math.min(best, 0.99), ahead: least };
}

function fact(name, id) {
  return el("div", {}, el("dt", {}, t(name)), el("dd", { id }));
}

function showWaiting({ queueInfo }) {
  const { position, drawn, paused, waitSecondsLow, waitSecondsHigh, outlook } = queueInfo;
  const { part, ahead } = progress(position, queueInfo.ahead);
  if (shown !== "waiting") {
    const asking = el("button", { type: "button", className: "quiet", hidden: !canAsk() }, t("wait.notify"));
    asking.addEventListener("click", () => { allowSound(); ask().then(() => { asking.hidden = !canAsk(); }); });
    const leaving = el("button", { type: "button", className: "quiet" }, t("wait.leave"));
    leaving.addEventListener("click", () => { if (confirm(t("wait.leave_sure"))) busy(leaving, giveUp); });
    show("waiting",
      el("p", { className: "notice", id: "going" }),
      el("progress", { id: "bar", max: 1, data: { "aria-label": t("wait.progress") } }),
      el("dl", { className: "facts" }, fact(drawn === false ? "wait.entry" : "wait.number", "number"), fact("wait.ahead", "ahead"), fact("wait.expected", "expected")),
      el("p", { id: "outlook" }),
      el("p", {}, t("wait.next")), el("p", {}, t("wait.kept")), el("p", { id: "trouble", className: "small" }),
      el("p", { className: "row" }, asking, leaving));
    said = Infinity;
    saidPaused = false;
  }
  const going = t(paused ? "wait.paused" : "wait.waiting");
  byId("going").textContent = going;
  // Screen readers hear of it now and then, not each time.
  if (Boolean(paused) !== saidPaused) {
    saidPaused = Boolean(paused);
    say(going);
  } else if (ahead <= said / 2) {
    said = ahead;
    say(t("wait.said", { n: count(ahead) }));
  }
  byId("bar").value = drawn === false ? 0 : part;
  byId("number").textContent = count(position);
  byId("ahead").textContent = count(ahead);
  byId("expected").textContent = range(waitSecondsLow, waitSecondsHigh);
  byId("outlook").textContent = outlook && outlook !== "likely" ? t(`outlook.${outlook}`) : "";
  document.title = `${count(ahead)} · ${concert?.name ?? ""}`;
}

function showAdmitted({ admission }) {
  const endsAt = Date.now() + admission.expiresInSeconds * 1000;
  localStorage.setItem(memory, JSON.stringify({ ...recall(), admitted: true }));
  if (shown === "admitted") return;
  const clock = el("p", { className: "large", data: { role: "timer" } });
  const go = el("a", { className: "button", href: `/sale/${concertId}/seats` }, t("sale.choose"));
  show("admitted", el("p", { className: "notice good", data: { role: "alert" } }, t("wait.admitted")), el("p", {}, t("wait.time_left")), clock, el("p", {}, go));
  stopClock = countdown(clock, endsAt);
  yourTurn(concert?.name ?? "");
}

async function giveUp() {
  await leave();
  update({ status: "left" });
}

function update(answer) {
  if (answer.status === "waiting") return showWaiting(answer);
  if (answer.status === "admitted") return showAdmitted(answer);
  localStorage.removeItem(memory);
  document.title = concert?.name ?? "";
  show(answer.status, el("p", { className: "notice" }, t(`wait.${answer.status}`)), ...(answer.status === "sold_out" ? [toTheWaitlist()] : []),
    ["left", "expired"].includes(answer.status) ? joinButton() : el("p", {}, el("a", { href: "/" }, t("do.others"))));
}

function lost(refusal) {
  const place = byId("trouble");
  if (refusal?.status >= 400 && refusal.status < 500 && ![408, 429].includes(refusal.status)) {
    localStorage.removeItem(memory);
    showSale();
    tell(refusal, concertId);
  } else if (place) {
    place.textContent = refusal ? t("wait.trouble") : "";
  } else {
    tell(refusal, concertId);
  }
}

let isFollowing = false;

async function wait() {
  if (isFollowing) return;
  isFollowing = true;
  await follow(concertId, update, lost);
  isFollowing = false;
}

async function start() {
  try {
    concert = await get(`/concerts/${encodeURIComponent(concertId)}`);
  } catch (refusal) {
    tell(refusal, concertId);
    if (refusal.status === 0 || refusal.status >= 429) setTimeout(start, (refusal.retryAfterSeconds || 3) * 1000 * (1 + Math.random()));
    return;
  }
  tell(null);
  byId("name").textContent = document.title = concert.name;
  byId("facts").textContent = `${concert.date} · ${concert.venue}`;
  dress(concert);
  if (shown === "waiting" || shown === "admitted") return;
  if (recall()) wait();
  else showSale();
}

start();
