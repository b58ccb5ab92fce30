// What all pages share: texts, elements, numbers and times as people read them, countdowns, refusals.

import { isSignedIn, language, noteSignedIn, post } from "./api.js";
import texts from "./texts.js";

export const t = (name, values = {}) => (texts[name] ?? name).replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
export const byId = (id) => document.getElementById(id);

/** An element; text is only ever set as text, so nothing from the API can become a tag. */
export function el(tag, properties = {}, ...children) {
  const { data, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(data ?? {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const numbers = new Intl.NumberFormat(language);
const cents = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const moments = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
export const count = (value) => numbers.format(value);
export const money = (value) => (Number.isInteger(value) ? numbers : cents).format(value);
export const moment = (value) => moments.format(new Date(value));

/** A span of time in words, rounded up, as the API says it. */
export function span(seconds) {
  if (seconds < 60) return t(seconds === 1 ? "span.second" : "span.seconds", { n: count(seconds) });
  const [unit, size] = seconds < 7200 ? ["minute", 60] : seconds < 172800 ? ["hour", 3600] : ["day", 86400];
  const whole = Math.ceil(seconds / size);
  return t(`span.${unit}${whole === 1 ? "" : "s"}`, { n: count(whole) });
}

/** How long something may take, in plain words. */
export function range(low, high) {
  if (low === 0 && high > 0) return t("wait.up_to", { high: span(high) });
  return span(low) === span(high) ? span(high) : t("wait.range", { low: span(low), high: span(high) });
}

/** Says something to screen readers. */
export function say(text) {
  byId("live").textContent = text;
}

/** Counts down to `endsAt` (ms of this device's clock) in `node`, and says so near the end; returns how to stop it. */
export function countdown(node, endsAt, { prefix = "", atEnd = () => {}, warns = true } = {}) {
  const warnings = warns ? [60, 30, 10] : [];
  const tick = () => {
    const left = Math.max(0, Math.ceil((endsAt - Date.now()) / 1000));
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    const clock = [...(hours ? [hours] : []), minutes, seconds].map((part) => String(part).padStart(2, "0")).join(":");
    node.textContent = `${prefix}${left > 172800 ? span(left) : clock}`;
    if (left <= (warnings[0] ?? -1)) {
      while (left <= (warnings[0] ?? -1)) warnings.shift();
      if (left > 0) say(t("time.left", { span: span(left) }));
    }
    if (left === 0) {
      clearInterval(timer);
      atEnd();
    }
  };
  const timer = setInterval(tick, 1000);
  tick();
  return () => clearInterval(timer);
}

// What to do after a refusal: a sentence, and perhaps a place to go to.
const NEXT = {
  unauthenticated: ["do.sign_in", () => `/login?next=${encodeURIComponent(location.pathname)}`],
  invalid_session: ["do.sign_in", () => `/login?next=${encodeURIComponent(location.pathname)}`],
  not_admitted: ["do.queue", (concert) => `/sale/${concert}`],
  missing_queue_token: ["do.queue", (concert) => `/sale/${concert}`],
  invalid_queue_token: ["do.queue", (concert) => `/sale/${concert}`],
  seat_limit: ["do.my", () => "/my"],
  insufficient_balance: ["do.charge", () => "#balance"],
  sold_out: ["do.others", () => "/"],
  sales_closed: ["do.others", () => "/"],
  not_found: ["do.others", () => "/"],
  seat_taken: ["do.other_seat"],
  no_seats_together: ["do.fewer"],
  payment_declined: ["do.other_way"],
  reservation_expired: ["do.again"],
  too_many_requests: ["do.wait"],
  service_unavailable: ["do.wait"],
  overloaded: ["do.wait"],
  offline: ["do.network"],
};

/** Takes in more texts, and what to do after more refusals. */
export function learn(moreTexts, next) {
  Object.assign(texts, moreTexts);
  Object.assign(NEXT, next);
}

/** Tells a refusal in `problem`, with what to do next; without one, clears it. */
export function tell(refusal, concert) {
  const place = byId("problem");
  place.replaceChildren();
  if (!refusal) return;
  if (refusal.code === undefined) console.error(refusal);
  const [name, link] = NEXT[refusal.code] ?? (refusal.status >= 400 && refusal.status < 500 ? [] : ["do.wait"]);
  const message = refusal.code === "offline" || !refusal.message ? t("offline") : refusal.message;
  const next = name && (link ? el("a", { href: link(concert) }, t(name)) : t(name));
  place.append(el("p", { className: "notice bad", data: { role: "alert" } }, message, " ", next || ""));
  place.scrollIntoView({ block: "nearest" });
}

/** Runs what a button does: not twice at once, and with its refusal told. */
export async function busy(button, action, concert) {
  if (button.disabled) return;
  button.disabled = true;
  tell(null);
  try {
    await action();
  } catch (refusal) {
    tell(refusal, concert);
  } finally {
    button.disabled = false;
  }
}

export function toSignIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
}

if (isSignedIn()) {
  const out = el("button", { className: "quiet", type: "button" }, t("nav.logout"));
  out.addEventListener("click", () => busy(out, async () => {
    await post("/auth/logout").catch((refusal) => { if (refusal.status !== 401) throw refusal; });
    noteSignedIn(false);
    for (const key of Object.keys(localStorage)) if (key.startsWith("wait:")) localStorage.removeItem(key);
    location.assign("/");
  }));
  byId("account").replaceWith(out);
}
// The switch keeps the rest of the address.
const kept = new URLSearchParams(location.search);
kept.set("lang", byId("switch").lang);
byId("switch").href = `?${kept}`;
