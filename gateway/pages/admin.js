// All concerts, also those that are not announced yet.

import { get } from "./api.js";
import "./admin-words.js";
import { byId, count, el, moment, t, tell } from "./ui.js";

let page = 0;

function entry({ id, name, date, venue, status, announcedAt, saleOpensAt, seats }) {
  const figures = t("admin.seats", { available: count(seats.available), held: count(seats.held), sold: count(seats.sold), total: count(seats.total) });
  const state = status === "scheduled" ? t("state.scheduled", { when: moment(saleOpensAt) }) : t(`admin.${status}`);
  const hidden = announcedAt && Date.parse(announcedAt) > Date.now() ? ` · ${t("admin.announced", { when: moment(announcedAt) })}` : "";
  return el("li", {}, el("a", { href: `/admin/sale/${id}` }, name), el("span", {}, `${date} · ${venue} · ${state}${hidden} · ${figures}`));
}

async function more() {
  tell(null);
  try {
    const { data, pagination } = await get(`/admin/concerts?page=${page + 1}&limit=50`);
    page += 1;
    byId("concerts").append(...data.map(entry));
    byId("more").hidden = pagination.currentPage >= pagination.totalPages;
    if (pagination.totalItems === 0) byId("concerts").append(el("li", {}, t("home.none")));
  } catch (refusal) {
    tell(refusal);
    byId("more").hidden = refusal.status === 401 || refusal.status === 403;
  }
  byId("concerts").setAttribute("aria-busy", "false");
}

byId("more").addEventListener("click", more);
more();
