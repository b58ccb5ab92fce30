// Steering a sale. Nothing is done before it was asked whether to, with what will happen.

import { Refusal, post, put } from "./api.js";
import { differences, sure } from "./admin-words.js";
import { busy, byId, count, el, moment, say, t } from "./ui.js";

const isAhead = (time) => Boolean(time) && Date.parse(time) > Date.now();
const waits = ({ figures }) => ({ n: count(figures.waiting) });

/** What goes on, in a sentence. */
export function stateOf(queue, sale) {
  const opensAt = isAhead(queue.opensAt) ? queue.opensAt : isAhead(sale.opensAt) && !queue.opensAt ? sale.opensAt : null;
  if (queue.figures.rebuilding) return t("state.rebuilding", waits(queue));
  if (sale.status === "closed") return t("state.sale_ended");
  if (sale.status === "sold_out") return t("state.all_sold");
  if (queue.mode === "closed") return t("state.room_closed");
  if (queue.paused) return t("state.paused", waits(queue));
  if (opensAt) return t("state.opens", { ...waits(queue), when: moment(opensAt) });
  if (queue.mode === "passthrough") return t("state.passthrough");
  return t("state.admitting", { ...waits(queue), rate: count(queue.admitPerSecond), capacity: count(queue.maxActive) });
}

export class Steering {
  constructor(concertId, record) {
    const id = encodeURIComponent(concertId);
    Object.assign(this, { room: `/admin/queues/${id}`, concert: `/admin/concerts/${id}`, record });
    const room = (action) => ({ queue }) => post(`${this.room}/${action}?version=${queue.version}`);
    this.switches = [
      ["pause", ({ queue }) => !queue.paused && queue.mode === "queue", room("pause")],
      ["resume", ({ queue }) => queue.paused, room("resume")],
      ["open_now", ({ queue, sale }) => sale.status === "scheduled" || isAhead(queue.opensAt), (shown) => this.open(shown)],
      ["close_room", ({ queue }) => queue.mode !== "closed", room("close")],
      ["reopen_room", ({ queue }) => queue.mode === "closed", ({ queue }) => this.change({ mode: "queue" }, queue.version)],
      ["end_sale", ({ sale }) => sale.status === "on_sale" || sale.status === "scheduled", () => post(`${this.concert}/close`)],
      ["resume_sale", ({ sale }) => sale.status === "closed", () => post(`${this.concert}/open`)],
    ].map(([name, isPossible, act]) => {
      const button = el("button", { type: "button", className: name === "pause" || name === "resume" || name === "open_now" ? "" : "quiet", hidden: true }, t(`steer.${name}`));
      button.addEventListener("click", () => this.press(button, name, act));
      return { button, isPossible };
    });
    byId("switches").append(...this.switches.map(({ button }) => button));
    byId("pace").addEventListener("submit", (event) => {
      event.preventDefault();
      busy(event.submitter, () => this.setPace());
    });
    // What is being typed is not typed over by what is in force.
    byId("pace").addEventListener("input", () => { this.isTyping = true; });
  }

  show(queue, sale) {
    this.now = { queue, sale };
    for (const { button, isPossible } of this.switches) {
      button.hidden = !isPossible(this.now);
    }
    this.keepFocus();
    if (this.isTyping) return;
    byId("rate").value = queue.admitPerSecond;
    byId("capacity").value = queue.maxActive;
  }

  /** Who has pressed a button that is gone now goes on at the first of those that are left. */
  keepFocus() {
    if (!this.pressed || this.pressed.disabled) return;
    if (document.activeElement === document.body) (this.pressed.hidden ? byId("switches").querySelector("button:not([hidden])") : this.pressed)?.focus();
    if (this.pressed.hidden || document.activeElement !== this.pressed) this.pressed = null;
  }

  async press(button, name, act) {
    // What is asked about is what is done, whatever comes while the dialog is open.
    const shown = this.now;
    const { queue, sale } = shown;
    const before = stateOf(queue, sale);
    if (!await sure(t(`steer.${name}`), [t(`steer.${name}_what`, waits(queue)), t("steer.now", { state: before })], [], t(`steer.${name}`))) return;
    this.pressed = button;
    await busy(button, async () => {
      // The room's settings have a version, which it checks; the sale has none, and is looked at here.
      if (this.now.sale.status !== sale.status) throw new Refusal(409, { error: "settings_changed", message: t("steer.changed") });
      await act(shown);
      this.done(t("steer.done"));
    });
  }

  /** The sale, and the waiting room where it has a time of its own. */
  async open({ queue, sale }) {
    // The room first: where that is refused, nothing is done.
    if (isAhead(queue.opensAt)) await this.change({ opensAt: null }, queue.version);
    if (sale.status === "scheduled") await post(`${this.concert}/open`);
  }

  /** Only while the settings are those that were shown. */
  change = (settings, version) => put(this.room, { ...settings, version });

  async setPace() {
    const { queue } = this.now;
    const wanted = { admitPerSecond: Number(byId("rate").value), maxActive: Number(byId("capacity").value) };
    const lines = differences({ admitPerSecond: queue.admitPerSecond, maxActive: queue.maxActive }, wanted);
    if (lines.length === 0) throw new Refusal(400, { error: "same", message: t("steer.same") });
    if (!await sure(t("steer.change"), [t("steer.change_what", waits(queue))], lines, t("steer.change"))) return;
    await this.change(wanted, queue.version).catch((refusal) => {
      // What can be mended stays as it was typed.
      this.isTyping = refusal.code !== "settings_changed";
      throw refusal;
    });
    this.isTyping = false;
    this.done(t("steer.done"));
  }

  done(news) {
    byId("problem").replaceChildren(el("p", { className: "notice good" }, news));
    say(news);
    this.record.load();
  }
}
