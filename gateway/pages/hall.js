// The seats of a hall as a picture: a block for each section, drawn when it comes near the screen. In each block one seat
// can be reached by Tab and the others from there by arrow keys, so that a hall of thousands is no chore by keyboard.

import { count, el, money, t } from "./ui.js";

const CELL = 30;
const MOST_COLUMNS = 25;

function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

export class Hall {
  /** Draws `seats` into `place`; `toggle` is called with a seat that somebody picks. */
  constructor(place, seats, toggle) {
    Object.assign(this, { toggle, zoom: 1, seats: new Map(), blocks: new Map() });
    const columns = Math.max(5, Math.min(MOST_COLUMNS, Math.floor((place.clientWidth - 8) / CELL)));
    this.watcher = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.draw(this.blocks.get(target.dataset.section));
    }, { rootMargin: "600px" });
    for (const [section, ofSection] of grouped(seats)) {
      const lines = Math.ceil(ofSection.length / columns);
      const title = el("h2", {});
      const node = el("section", { className: "block" }, title);
      node.dataset.section = section;
      const block = { section, seats: ofSection, columns, lines, title, node, nodes: new Map() };
      node.style.containIntrinsicSize = `auto ${lines * CELL + 60}px`;
      this.blocks.set(section, block);
      for (const seat of ofSection) this.seats.set(seat.seatId, { ...seat, isChosen: false, block });
      this.retitle(block);
    }
    place.replaceChildren(...[...this.blocks.values()].map(({ node }) => node));
    for (const { node } of this.blocks.values()) this.watcher.observe(node);
  }

  seatsOf = (block) => block.seats.map(({ seatId }) => this.seats.get(seatId));

  retitle(block) {
    const seats = this.seatsOf(block);
    const free = seats.filter((seat) => seat.status === "available").length;
    const prices = seats.map((seat) => seat.price);
    const [low, high] = [Math.min(...prices), Math.max(...prices)];
    const price = low === high ? money(low) : `${money(low)} – ${money(high)}`;
    block.title.textContent = t("seats.block", { section: block.section, price, n: count(free) });
  }

  draw(block) {
    this.watcher.unobserve(block.node);
    if (block.picture) return;
    const [width, height] = [block.columns * CELL, block.lines * CELL];
    block.picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("seats.of", { section: block.section }) });
    this.size(block);
    this.seatsOf(block).forEach((seat, at) => {
      const [x, y] = [(at % block.columns) * CELL, Math.floor(at / block.columns) * CELL];
      const node = svg("g", { role: "checkbox", tabindex: at === 0 ? 0 : -1, transform: `translate(${x} ${y})` });
      const label = svg("text", { x: CELL / 2, y: CELL / 2 + 4 });
      label.textContent = seat.seatNumber;
      node.append(svg("rect", { x: 2, y: 2, width: CELL - 4, height: CELL - 4, rx: 5 }), label);
      node.dataset.at = at;
      block.nodes.set(seat.seatId, node);
      this.paint(seat);
      block.picture.append(node);
    });
    block.picture.addEventListener("click", (event) => this.pick(block, event.target.closest("g")));
    block.picture.addEventListener("keydown", (event) => this.key(block, event));
    block.node.append(block.picture);
  }

  paint(seat) {
    const node = seat.block.nodes.get(seat.seatId);
    if (!node) return;
    const isFree = seat.status === "available";
    const state = seat.isChosen ? "chosen" : seat.status;
    node.setAttribute("aria-checked", seat.isChosen);
    node.setAttribute("aria-disabled", !isFree);
    node.setAttribute("aria-label", t("seats.name", { section: seat.section, n: seat.seatNumber, price: money(seat.price), state: t(`seat.${state}`) }));
  }

  pick(block, node) {
    if (!node) return;
    this.focus(block, Number(node.dataset.at));
    this.toggle(this.seatsOf(block)[Number(node.dataset.at)]);
  }

  key(block, event) {
    const at = Number(event.target.closest("g")?.dataset.at);
    const last = block.seats.length - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - block.columns, ArrowDown: at + block.columns, Home: 0, End: last }[event.key];
    if (event.key === " " || event.key === "Enter") this.pick(block, event.target.closest("g"));
    else if (to === undefined) return;
    else if (to >= 0 && to <= last) this.focus(block, to);
    event.preventDefault();
  }

  focus(block, at) {
    block.picture.querySelector("[tabindex='0']")?.setAttribute("tabindex", -1);
    const node = block.picture.children[at];
    node.setAttribute("tabindex", 0);
    node.focus();
  }

  choose(seat, isChosen) {
    seat.isChosen = isChosen;
    this.paint(seat);
  }

  chosen = () => [...this.seats.values()].filter((seat) => seat.isChosen);

  /** Takes in what has changed; gives back the chosen seats that somebody else has now. */
  change(changes) {
    const [lost, touched] = [[], new Set()];
    for (const { seatId, status } of changes) {
      const seat = this.seats.get(seatId);
      if (!seat || seat.status === status) continue;
      seat.status = status;
      touched.add(seat.block);
      if (seat.isChosen && status !== "available") {
        seat.isChosen = false;
        lost.push(seat);
      }
      this.paint(seat);
    }
    for (const block of touched) this.retitle(block);
    return lost;
  }

  size(block) {
    block.picture.setAttribute("width", block.columns * CELL * this.zoom);
    block.picture.setAttribute("height", block.lines * CELL * this.zoom);
  }

  zoomBy(factor) {
    this.zoom = Math.max(0.8, Math.min(3, this.zoom * factor));
    for (const block of this.blocks.values()) if (block.picture) this.size(block);
  }

  show(section) {
    const block = this.blocks.get(section);
    if (!block) return;
    this.draw(block);
    block.node.scrollIntoView({ block: "start" });
  }
}

function grouped(seats) {
  const groups = new Map();
  for (const seat of seats) {
    if (!groups.has(seat.section)) groups.set(seat.section, []);
    groups.get(seat.section).push(seat);
  }
  return groups;
}
