// What was done and by whom, what happened to a visitor, what was sold.

import { Refusal, get, post, remove } from "./api.js";
import { differences, known, sure, value } from "./admin-words.js";
import { busy, byId, count, el, moment, money, say, t } from "./ui.js";

const SHOWN_AT_MOST = 50;
const USER_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const NUMBER = /^[1-9][0-9]{0,9}$/;
const EMAIL = /^[^@\s]+@[^@\s]+$/;

/** Who changed what: of the waiting room, which the gateways keep, and of the concert, which core-api keeps. */
export class Record {
  constructor(concertId) {
    this.lists = [
      [`/admin/queues/${encodeURIComponent(concertId)}/changes?limit=${SHOWN_AT_MOST}`, "did.room"],
      [`/admin/audit?concertId=${encodeURIComponent(concertId)}&limit=${SHOWN_AT_MOST}`, "did.concert"],
    ];
  }

  async load() {
    const read = await Promise.all(this.lists.map(([path, family]) => get(path).then(
      ({ data }) => data.map((change) => ({ ...change, family })),
      // One of both is worth showing by itself.
      (refusal) => [{ refusal }],
    )));
    const changes = read.flat().filter(({ refusal }) => !refusal);
    changes.sort((one, other) => Date.parse(other.changedAt) - Date.parse(one.changedAt));
    const missing = read.flat().find(({ refusal }) => refusal);
    byId("record").replaceChildren(
      ...(missing ? [el("li", {}, t("record.missing", { why: missing.refusal.message || t("offline") }))] : []),
      ...changes.slice(0, SHOWN_AT_MOST).map(entry),
      ...(changes.length || missing ? [] : [el("li", {}, t("record.none"))]));
  }
}

function entry({ family, action, changedAt, changedBy, before, after }) {
  const lines = differences(before, after);
  return el("li", {}, el("strong", {}, known(`${family}.${action}`, action)), " ",
    el("span", {}, t("record.by", { when: new Date(changedAt).toLocaleString(document.documentElement.lang), who: changedBy })),
    lines.length ? el("ul", {}, ...lines.map((line) => el("li", {}, line))) : null);
}

/** The form that looks a visitor up: by email, by id, or by the number that they were given. */
export function lookUp(concertId, record) {
  const visitors = `/admin/queues/${encodeURIComponent(concertId)}/visitors`;
  const of = (userId) => `${visitors}/${encodeURIComponent(userId)}`;
  const find = async (who) => {
    if (USER_ID.test(who)) return get(of(who.toLowerCase()));
    if (NUMBER.test(who)) return get(`${visitors}?position=${who}`);
    if (!EMAIL.test(who)) throw new Refusal(400, { error: "invalid_request", message: t("visitor.which") });
    // In a body: what stands in an address is logged on its way.
    const { userId } = await post("/admin/users/find", { email: who });
    return get(of(userId));
  };
  const load = async (who) => {
    byId("visitor").replaceChildren();
    const visitor = await find(who).catch((refusal) => {
      if (refusal.status !== 404) throw refusal;
      return null;
    });
    const news = visitor ? t("visitor.found", { status: known(`visitor.${visitor.status}`, value(visitor.status)) }) : t("visitor.unknown");
    byId("visitor").replaceChildren(...(visitor ? shown(visitor) : [el("p", { className: "notice" }, news)]));
    say(news);
  };
  const shown = (visitor) => {
    const out = el("button", { type: "button", className: "quiet" }, t("visitor.remove"));
    out.addEventListener("click", async () => {
      if (!await sure(t("visitor.remove"), [t("visitor.remove_what")], [visitor.userId], t("visitor.remove"))) return;
      await busy(out, async () => {
        const { removed } = await remove(of(visitor.userId));
        say(t(removed ? "visitor.taken_out" : "visitor.not_in"));
        record.load();
        await load(visitor.userId);
        byId("visitor-id").focus();
      });
    });
    const fact = (name, of) => el("div", {}, el("dt", {}, t(`visitor.${name}`)), el("dd", {}, of));
    const time = (at) => (at ? moment(at) : "–");
    return [
      el("dl", { className: "facts" },
        fact("id", visitor.userId), fact("status", known(`visitor.${visitor.status}`, value(visitor.status))), fact("position", value(visitor.position)), fact("wait", value(visitor.waitTime)),
        fact("admitted_at", time(visitor.admittedAt)), fact("lease_ends_at", time(visitor.leaseEndsAt))),
      el("h3", {}, t("visitor.events")),
      el("ol", { className: "plain" }, ...visitor.events.map(({ at, event, position }) =>
        el("li", {}, `${new Date(at).toLocaleString(document.documentElement.lang)} · ${known(`event.${event}`, event)} · ${t("visitor.number", { n: count(position) })}`))),
      el("p", {}, out),
    ];
  };
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    busy(event.submitter, () => load(byId("visitor-id").value.trim()));
  });
}

/** What was sold, and the reports to take away. */
export function showReport({ id, seats, sales }) {
  const fact = (name, of) => el("div", {}, el("dt", {}, t(`report.${name}`)), el("dd", {}, of));
  byId("takings").replaceChildren(fact("sold", t("report.of", { n: count(seats.sold), total: count(seats.total) })), fact("held_back", count(seats.heldBack)),
    fact("gross", money(sales.gross)), fact("refunds", money(sales.refunds)), fact("net", money(sales.net)));
  if (byId("reports").childElementCount) return;
  const path = `/admin/concerts/${id}`;
  byId("reports").append(...[["sections", `${path}/sales.csv`, `sales-${id}.csv`], ["orders", `${path}/orders.csv`, `orders-${id}.csv`], ["json", `${path}/sales`, `sales-${id}.json`]].map(([name, href, download]) => {
    const link = el("a", { href, download }, t(`report.${name}`));
    // A refusal would be saved as if it were the report: first whether one may have it.
    link.addEventListener("click", (event) => {
      if (link.dataset.may) return;
      event.preventDefault();
      busy(link, async () => {
        await get("/admin/audit?limit=1");
        link.dataset.may = "1";
        link.click();
        delete link.dataset.may;
      });
    });
    return el("li", {}, link);
  }));
}
