// Making a concert with its sections and prices.

import { Refusal, get, once } from "./api.js";
import { sure } from "./admin-words.js";
import { busy, byId, count, el, money, t, tell } from "./ui.js";

const MOST_SEATS_IN_A_ROW = 50;
let made = 0;

function field(name, label, properties) {
  return el("label", {}, t(label), el("input", { name, required: true, autocomplete: "off", ...properties }));
}

function addSection() {
  made += 1;
  const remove = el("button", { type: "button", className: "quiet" }, t("new.remove_section"));
  const section = el("fieldset", {}, el("legend", {}, t("new.section", { n: made })),
    field("section", "new.section_name", { maxLength: 20, value: String.fromCharCode(64 + Math.min(made, 26)) }),
    field("rows", "new.rows", { type: "number", min: 1, max: 1000, step: 1, value: 1 }),
    field("seats", "new.seats", { type: "number", min: 1, max: MOST_SEATS_IN_A_ROW, step: 1, value: MOST_SEATS_IN_A_ROW }),
    field("price", "new.price", { inputMode: "decimal", pattern: "[0-9]+([.][0-9]{1,2})?", value: "100" }), remove);
  remove.addEventListener("click", () => {
    section.remove();
    showSum();
    byId("add").focus();
  });
  byId("sections").append(section);
  showSum();
  return section;
}

const sections = () => [...byId("sections").children].map((section) => {
  const of = (name) => section.querySelector(`[name=${name}]`).value.trim();
  return { name: of("section"), rows: Number(of("rows")), seats: Number(of("seats")), price: Number(of("price")) };
});

function sum() {
  const all = sections();
  const seats = all.reduce((total, { rows, seats }) => total + rows * seats, 0);
  const cents = all.reduce((total, { rows, seats, price }) => total + rows * seats * Math.round(price * 100), 0);
  return t("new.sum", { seats: count(seats || 0), sum: money((cents || 0) / 100) });
}

function showSum() {
  byId("sum").textContent = sum();
}

function body(form) {
  const text = (name) => form.elements[name].value.trim();
  const time = (name) => (text(name) ? new Date(text(name)).toISOString() : null);
  return {
    name: text("name"), venue: text("venue"), date: text("date"),
    announcedAt: time("announcedAt"), saleOpensAt: time("saleOpensAt"), saleClosesAt: time("saleClosesAt"),
    ...(text("seatsPerUser") ? { seatsPerUser: Number(text("seatsPerUser")) } : {}),
    sections: sections().map(({ name, rows, seats, price }) =>
      (rows === 1 ? { name, price, seats } : { name, price, rows: Array.from({ length: rows }, () => ({ seats })) })),
  };
}

byId("add").addEventListener("click", () => addSection().querySelector("input").focus());
byId("sections").addEventListener("input", showSum);
byId("concert").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  busy(event.submitter, async () => {
    if (!form.elements.section) throw new Refusal(400, { error: "same", message: t("new.no_section") });
    const concert = body(form);
    const when = concert.saleOpensAt ? t("new.opens_at", { when: new Date(concert.saleOpensAt).toLocaleString(document.documentElement.lang) }) : t("new.opens_now");
    if (!await sure(t("new.sure", { name: concert.name }), [sum(), when, t("new.for_good")], [], t("new.create"))) return;
    const { id } = await once("/admin/concerts", concert);
    location.assign(`/admin/sale/${id}`);
  });
});
addSection();
// Whoever may not make one is told before they have filled in everything.
get("/admin/concerts?limit=1").catch((refusal) => tell(refusal));
