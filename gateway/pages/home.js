// The list of concerts.

import { get } from "./api.js";
import { byId, count, el, moment, t, tell } from "./ui.js";

let page = 0;

function state(concert) {
  if (concert.status === "scheduled") return t("state.scheduled", { when: moment(concert.saleOpensAt) });
  if (concert.status === "on_sale") return t("state.on_sale", { n: count(concert.availableSeats) });
  return t(`state.${concert.status}`);
}

async function more() {
  tell(null);
  try {
    const { data, pagination } = await get(`/concerts?page=${page + 1}&limit=50`);
    page += 1;
    byId("concerts").append(...data.map((concert) => el("li", {},
      el("a", { href: `/sale/${concert.id}` }, concert.name),
      el("span", {}, `${concert.date} · ${concert.venue} · ${state(concert)}`))));
    byId("more").hidden = pagination.currentPage >= pagination.totalPages;
    if (pagination.totalItems === 0) byId("concerts").append(el("li", {}, t("home.none")));
  } catch (refusal) {
    tell(refusal);
    byId("more").hidden = false;
  }
  byId("concerts").setAttribute("aria-busy", "false");
}

byId("more").addEventListener("click", more);
more();
