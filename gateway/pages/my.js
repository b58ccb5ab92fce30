// What one holds, has bought, and has on one's balance.

import { get, noteSignedIn, once, remove } from "./api.js";
import { order } from "./basket.js";
import { busy, byId, el, moment, money, say, t, tell, toSignIn } from "./ui.js";

const names = new Map();
let stops = [];
let cursor;
let olderCursor;

async function nameOf(concertId) {
  if (!names.has(concertId)) names.set(concertId, get(`/concerts/${concertId}`).catch(() => ({ name: concertId, date: "", venue: "" })));
  return names.get(concertId);
}

const seatsOf = ({ seats }) => seats.map(({ section, seatNumber }) => t("seats.short", { section, n: seatNumber })).join(", ");

function ticket(reservation, concert) {
  const id = reservation.reservationId;
  const place = el("div", {});
  const show = el("button", { type: "button", data: { "aria-expanded": "false" } }, t("my.ticket"));
  show.addEventListener("click", () => {
    const isOpen = place.childElementCount > 0;
    show.setAttribute("aria-expanded", !isOpen);
    place.replaceChildren();
    if (isOpen) return;
    place.append(el("img", { src: `/reservation/${id}/ticket.svg`, width: 256, height: 256, alt: t("my.qr", { name: concert.name, seat: seatsOf(reservation) }) }), el("p", { className: "small" }, t("my.show_at_door")));
  });
  const refund = el("button", { type: "button", className: "quiet" }, t("my.refund"));
  refund.addEventListener("click", () => {
    if (confirm(t("my.refund_sure", { sum: money(reservation.amount) }))) busy(refund, async () => { await remove(`/reservation/${id}`); await load(t("my.refunded")); });
  });
  return el("li", {}, el("strong", {}, concert.name), el("br"),
    el("span", {}, `${concert.date} · ${concert.venue} · ${seatsOf(reservation)} · ${money(reservation.amount)}`),
    el("p", { className: "row" }, show, refund), place);
}

const past = (reservation, concert) => el("li", {}, concert.name, " ",
  el("span", {}, `${seatsOf(reservation)} · ${t(`my.${reservation.status}`)} · ${moment(reservation.reservedAt)}`));

async function page() {
  const { data, nextCursor } = await get(`/reservation?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
  cursor = nextCursor;
  byId("more").hidden = !nextCursor;
  const told = await Promise.all(data.map(async (reservation) => [reservation, await nameOf(reservation.concertId)]));
  byId("bought").append(...told.filter(([one]) => one.status === "completed").map(([one, concert]) => ticket(one, concert)));
  byId("past").append(...told.filter(([one]) => one.status === "canceled").map(([one, concert]) => past(one, concert)));
  return told.filter(([one]) => one.status === "pending");
}

function showBasket(pending, balance) {
  const orders = new Map();
  for (const [reservation, concert] of pending) {
    const known = orders.get(reservation.concertId) ?? { concert, reservations: [] };
    known.reservations.push(reservation);
    orders.set(reservation.concertId, known);
  }
  const missing = [...orders.values()].map(({ reservations }) => reservations.reduce((sum, { amount }) => sum + Math.round(amount * 100), -Math.round(balance * 100)));
  if (Math.max(...missing) > 0) byId("sum").value = Math.max(...missing) / 100;
  const shown = [...orders.values()].map(({ concert, reservations }) => order(concert.name, reservations, balance, load));
  stops = shown.map(({ stop }) => stop);
  byId("basket").replaceChildren(...(shown.length ? shown.map(({ node }) => node) : [el("p", {}, t("my.nothing"))]));
  byId("basket").setAttribute("aria-busy", "false");
}

/** Everything anew; `news` is what has just been done. */
async function load(news) {
  try {
    const { balance } = await get("/balance");
    noteSignedIn(true);
    stops.forEach((stop) => stop());
    byId("amount").textContent = money(balance);
    byId("bought").replaceChildren();
    byId("past").replaceChildren();
    cursor = null;
    showBasket(await page(), balance);
    if (byId("bought").childElementCount === 0) byId("bought").append(el("li", {}, t("my.no_tickets")));
    tell(null);
    // What was pressed may be gone.
    if (document.activeElement === document.body && news) byId("main").focus();
    if (news) {
      byId("problem").append(el("p", { className: "notice good" }, news));
      say(news);
    }
  } catch (refusal) {
    if (refusal.status === 401) return toSignIn();
    tell(refusal);
  }
}

async function entries() {
  const { data, nextCursor } = await get(`/balance/entries?limit=20${olderCursor ? `&cursor=${encodeURIComponent(olderCursor)}` : ""}`);
  olderCursor = nextCursor;
  byId("older").hidden = !nextCursor;
  byId("entries").append(...data.map(({ kind, amount, createdAt }) =>
    el("tr", {}, el("td", {}, moment(createdAt)), el("td", {}, t(`entry.${kind}`)), el("td", {}, money(amount)))));
}

byId("more").addEventListener("click", () => busy(byId("more"), async () => { await page(); }));
byId("older").addEventListener("click", () => busy(byId("older"), entries));
byId("ledger").addEventListener("toggle", () => {
  if (!byId("ledger").open) return;
  olderCursor = null;
  byId("entries").replaceChildren();
  entries().catch((refusal) => tell(refusal));
});
byId("charge").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter, async () => {
    await once("/balance", { amount: Number(byId("sum").value) });
    byId("ledger").open = false;
    await load(t("my.charged"));
  });
});
load();
