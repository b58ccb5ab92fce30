// The last quarter of an hour as small graphs, and the last minute as a table for whom a picture says nothing.

import { byId, count, el, range, span, t } from "./ui.js";

const SPAN = 900;
const [WIDTH, HEIGHT] = [300, 60];
/** Seconds further apart than this have nothing between them that could be drawn. */
const GAP = 5;
const ROWS_EVERY = 5;

const rate = (of) => (of === null ? "–" : of.toLocaleString(document.documentElement.lang, { maximumFractionDigits: of < 10 ? 1 : 0 }));
const people = (of) => (of === null ? "–" : count(of));

/** What is shown: its columns, the first one as a line and as a number, others as dashed lines. */
const SHOWN = [
  { name: "waiting", columns: ["waiting"], say: people },
  { name: "present", columns: ["present"], say: people },
  { name: "active", columns: ["active", "capacity"], say: people, note: (of) => t("live.of_capacity", { n: people(of("capacity")), offered: people(of("offered")) }) },
  { name: "admitted", columns: ["admittedPerSecond"], say: rate },
  { name: "joins", columns: ["joinsPerSecond"], say: rate },
  { name: "polls", columns: ["pollsPerSecond"], say: rate },
  { name: "wait", columns: ["waitSeconds", "waitSecondsLow", "waitSecondsHigh"], say: span, note: (of) => range(of("waitSecondsLow"), of("waitSecondsHigh")) },
  { name: "available", columns: ["availableSeats"], say: people },
  { name: "held", columns: ["heldSeats"], say: people },
  { name: "sold", columns: ["soldPerSecond"], say: rate, note: (of) => t("live.sold_in_all", { n: people(of("soldSeats")) }) },
  { name: "failed", columns: ["failedPaymentsPerSecond"], say: rate, note: (of, all) => t("live.in_all", { n: people(all("failedPaymentsPerSecond")) }) },
  { name: "errors", columns: ["errorsPerSecond"], say: rate, note: (of, all) => t("live.in_all", { n: people(all("errorsPerSecond")) }) },
];

function shape(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** A line through what is known, broken where nothing is. */
function path(at, values, least, most) {
  const to = at[at.length - 1];
  let [line, before] = ["", -Infinity];
  values.forEach((value, index) => {
    if (value === null) { before = -Infinity; return; }
    const x = WIDTH * (1 - (to - at[index]) / SPAN);
    const y = HEIGHT * (1 - (value - least) / (most - least));
    line += `${at[index] - before > GAP ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    // One second by itself is a dot, which only a line of some length shows.
    if (at[index] - before > GAP) line += "h.5";
    before = at[index];
  });
  return line;
}

export class Graphs {
  constructor(place) {
    this.clear();
    this.figures = SHOWN.map((shown) => {
      const [now, note, least, most] = [el("strong", {}, "–"), el("span", { className: "small" }), el("span", {}), el("span", {})];
      const picture = shape("svg", { viewBox: `0 -3 ${WIDTH} ${HEIGHT + 6}`, preserveAspectRatio: "none", role: "img", "aria-label": t(`live.${shown.name}`) });
      // The first is drawn last, over the others.
      const lines = shown.columns.map((_, index) => shape("path", index ? { class: "second" } : {}));
      picture.append(...[...lines].reverse());
      place.append(el("figure", { className: "graph" },
        el("figcaption", {}, el("p", {}, t(`live.${shown.name}`)), el("p", {}, now, note)),
        picture, el("p", { className: "small" }, least, most)));
      return { shown, now, note, least, most, picture, lines };
    });
    byId("columns").append(el("th", { scope: "col" }, t("live.time")), ...SHOWN.map(({ name }) => el("th", { scope: "col" }, t(`live.${name}`))));
    byId("minute").addEventListener("toggle", () => this.fill());
    const still = byId("still");
    still.addEventListener("click", () => {
      still.setAttribute("aria-pressed", !this.isStill);
      this.hold(!this.isStill);
    });
  }

  clear() {
    this.columns = { at: [] };
  }

  /** The latest value of a column, null where there is none. */
  latest = (name) => this.columns[name]?.at(-1) ?? null;

  /** What a rate comes to over all that is known: few of something are hardly seen as so many a second. */
  all = (name) => {
    const { at, [name]: rates = [] } = this.columns;
    return Math.round(rates.reduce((sum, of, index) => sum + (of ?? 0) * (index ? at[index] - at[index - 1] : 1), 0));
  };

  /** Takes in what is new of the last quarter of an hour. */
  add(seconds) {
    for (const [name, values] of Object.entries(seconds)) (this.columns[name] ??= []).push(...values);
    const { at } = this.columns;
    const old = at.findIndex((second) => second > at[at.length - 1] - SPAN);
    if (old > 0) for (const values of Object.values(this.columns)) values.splice(0, old);
    if (at.length === 0 || this.isStill) return;
    this.figures.forEach((figure) => this.draw(figure));
    if (at[at.length - 1] % ROWS_EVERY === 0) this.fill();
  }

  /** Holds what is shown still, or lets it move on; what comes meanwhile is kept. */
  hold(isStill) {
    this.isStill = isStill;
    this.add({});
    this.fill();
  }

  draw({ shown, now, note, least, most, picture, lines }) {
    const { columns, say } = shown;
    const known = columns.flatMap((column) => this.columns[column]).filter((value) => value !== null);
    const [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
    lines.forEach((line, index) => line.setAttribute("d", path(this.columns.at, this.columns[columns[index]], low, high > low ? high : low + 1)));
    const own = this.columns[columns[0]].filter((value) => value !== null);
    const value = this.latest(columns[0]);
    now.textContent = value === null ? "–" : say(value);
    if (shown.note) note.textContent = value === null ? "" : shown.note(this.latest, this.all);
    least.textContent = t("live.from");
    most.textContent = own.length ? t("live.most", { n: say(Math.max(...own)) }) : "";
    const name = t(`live.${shown.name}`);
    picture.setAttribute("aria-label", own.length
      ? t("live.picture", { name, now: now.textContent, least: say(Math.min(...own)), most: say(Math.max(...own)) })
      : t("live.nothing", { name }));
  }

  /** The last minute, a row for each five seconds, the latest first. */
  fill() {
    if (!byId("minute").open || this.isStill) return;
    const { at } = this.columns;
    const rows = at.map((second, index) => [second, index]).filter(([second]) => second % ROWS_EVERY === 0 && second > at[at.length - 1] - 60);
    byId("rows").replaceChildren(...rows.reverse().map(([second, index]) => el("tr", {},
      el("th", { scope: "row" }, new Date(second * 1000).toLocaleTimeString(document.documentElement.lang)),
      ...SHOWN.map(({ columns, say }) => {
        const value = this.columns[columns[0]][index];
        return el("td", {}, value === null ? "–" : say(value));
      }))));
  }
}
