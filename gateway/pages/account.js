// Where one is signed in, and another password.

import "./account-words.js";
import { Refusal, get, noteSignedIn, post, remove } from "./api.js";
import { busy, byId, el, moment, say, t, tell, toSignIn } from "./ui.js";

let sessions = [];

const at = (time) => el("time", { dateTime: time }, moment(time));

function entry({ id, createdAt, lastUsedAt, expiresAt, current }) {
  const end = el("button", { type: "button", className: "quiet", data: { "aria-label": t("account.end_this", { when: moment(createdAt) }) } }, t("account.end"));
  end.addEventListener("click", () => busy(end, () => endSome([id], "account.ended")));
  return el("li", { data: current ? { "aria-current": "true" } : {} },
    el("strong", {}, current ? t("account.here") : t("account.elsewhere")),
    el("dl", { className: "facts" }, ...[["since", createdAt], ["used", lastUsedAt], ["until", expiresAt]].map(([name, time]) =>
      el("div", {}, el("dt", {}, t(`account.${name}`)), el("dd", {}, at(time))))),
    // Here one logs out, which is in the head of each page.
    current ? null : end);
}

async function load() {
  ({ data: sessions } = await get("/auth/sessions"));
  noteSignedIn(true);
  byId("sessions").replaceChildren(...sessions.map(entry));
  byId("sessions").setAttribute("aria-busy", "false");
  // A session of which nothing is known here is none of those in the list: then nothing is "other".
  byId("others").hidden = !(sessions.some(({ current }) => current) && sessions.length > 1);
}

/** What has just been done, and the list as it is now. */
async function done(news) {
  await load();
  byId("problem").replaceChildren(el("p", { className: "notice good" }, news));
  say(news);
  if (document.activeElement === document.body) byId("main").focus();
}

async function endSome(ids, news) {
  try {
    for (const id of ids) {
      // One that is over already is no reason to stop.
      await remove(`/auth/sessions/${encodeURIComponent(id)}`).catch((refusal) => { if (refusal.status !== 404) throw refusal; });
    }
  } catch (refusal) {
    // Some may be over: what is shown has to be what is left.
    await load().catch(() => {});
    throw refusal;
  }
  await done(t(news));
}

byId("others").addEventListener("click", () => {
  if (!confirm(t("account.end_others_sure"))) return;
  busy(byId("others"), async () => {
    // Those of now, and not those that were shown.
    await load();
    await endSome(sessions.filter(({ current }) => !current).map(({ id }) => id), "account.others_ended");
  });
});

byId("password").addEventListener("submit", (event) => {
  event.preventDefault();
  const { current, wanted, again } = byId("password").elements;
  busy(event.submitter ?? byId("password").querySelector("button"), async () => {
    if (wanted.value !== again.value) throw new Refusal(400, { error: "passwords_differ", message: t("account.differ") }, 0);
    await post("/auth/password", { currentPassword: current.value, newPassword: wanted.value });
    byId("password").reset();
    await done(t("account.changed"));
  });
});

async function start() {
  try {
    await load();
    tell(null);
  } catch (refusal) {
    if (refusal.status === 401) return toSignIn();
    tell(refusal);
    if (refusal.status === 0 || refusal.status === 429 || refusal.status >= 500) setTimeout(start, (refusal.retryAfterSeconds || 3) * 1000 * (1 + Math.random()));
  }
}

start();
