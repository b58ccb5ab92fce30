// What is held and not paid for yet: one order for each concert, with the time that is left.

import { get, once, post, remove, Refusal } from "./api.js";
import { busy, countdown, el, money, span, t } from "./ui.js";

const ASK_AGAIN_MS = 1500;
const ASK_AT_MOST = 60;
// The sandbox's cards (docs/PAYMENTS.md); a real provider's own page gives such a token.
const CARDS = ["tok_ok", "tok_declined", "tok_delay_3000"];

async function settled(payment) {
  for (let asked = 0; payment.status === "pending" && asked < ASK_AT_MOST; asked += 1) {
    await new Promise((done) => setTimeout(done, ASK_AGAIN_MS));
    payment = await get(`/payment/${payment.paymentId}`);
  }
  if (payment.status === "pending") throw new Refusal(0, { error: "pending", message: t("pay.pending") }, 0);
  if (!["success"].includes(payment.status)) throw new Refusal(402, { error: "payment_declined", message: t("pay.failed") }, 0);
  return payment;
}

/** An order's element; `again` is called once something has changed. */
export function order(name, reservations, balance, again) {
  const ids = reservations.map(({ reservationId }) => reservationId);
  const sum = reservations.reduce((total, { amount }) => total + Math.round(amount * 100), 0) / 100;
  const clock = el("p", { className: "large", data: { role: "timer" } });
  const left = Math.min(...reservations.map(({ expiresInSeconds }) => expiresInSeconds));
  const stop = countdown(clock, Date.now() + left * 1000, { atEnd: () => setTimeout(again, 1000) });

  const button = (text, className, action) => {
    const node = el("button", { type: "button", className }, text);
    node.addEventListener("click", () => busy(node, action));
    return node;
  };
  const pay = async (way) => {
    await settled(await once("/payment", { reservationIds: ids, ...way }));
    await again(t("pay.done"));
  };
  const give = async (some) => {
    for (const id of some) await remove(`/reservation/${id}`);
    await again(t("my.released"));
  };
  const extendable = reservations.filter(({ extendedAt }) => !extendedAt);
  const extend = async () => {
    for (const { reservationId } of extendable) await post(`/reservation/${reservationId}/extend`);
    await again(t("my.extended"));
  };
  const lines = reservations.map(({ reservationId, seats, amount }) => {
    const seat = seats.map(({ section, seatNumber }) => t("seats.short", { section, n: seatNumber })).join(", ");
    const release = button(t("my.release"), "quiet", () => give([reservationId]));
    release.setAttribute("aria-label", `${seat} ${t("my.release")}`);
    return el("div", {}, el("dt", {}, seat), el("dd", {}, money(amount), " ", release));
  });
  const card = el("select", {}, ...CARDS.map((token) => el("option", {}, token)));
  const node = el("div", { className: "panel" },
    el("h3", {}, name), el("p", {}, t("my.pay_within")), clock, el("dl", { className: "facts" }, ...lines),
    el("p", {}, t("my.sum", { sum: money(sum) })),
    balance < sum ? el("p", { className: "small" }, t("my.short", { missing: money(sum - balance) }), " ", el("a", { href: "#balance" }, t("do.charge"))) : null,
    button(t("pay.balance", { balance: money(balance) }), "", () => pay({ paymentMethod: "balance" })),
    el("details", {}, el("summary", {}, t("pay.card")),
      el("p", { className: "row" }, el("label", {}, t("pay.token"), " ", card), button(t("pay.by_card"), "quiet", () => pay({ paymentMethod: "card", paymentToken: card.value })))),
    extendable.length ? button(t("my.extend"), "quiet", extend) : null);
  return { node, stop };
}
