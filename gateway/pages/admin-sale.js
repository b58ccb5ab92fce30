// One sale as it happens.

import { get } from "./api.js";
import { Graphs } from "./admin-graphs.js";
import { Record, lookUp, showReport } from "./admin-record.js";
import { Steering, stateOf } from "./admin-steer.js";
import "./admin-words.js";
import { byId, moment, say, t, tell } from "./ui.js";

const SILENCE_MS = 5000;
const TRY_AGAIN_MS = 3000;
const TAKINGS_EVERY_MS = 15000;
const concertId = location.pathname.split("/")[3];
const path = `/admin/queues/${encodeURIComponent(concertId)}`;
let source;
let graphs;
let steering;
let record;
let heardAt = Date.now();
let told;
let announcedAt = 0;
let takenAt = 0;

/** What goes on; what of it is no figure and has changed is said, and looked up in the record. */
function note(queue, sale) {
  const state = `${queue.version} ${sale.status}`;
  // What is held still does not move by a number, and still tells what was done.
  if (told !== state || !graphs.isStill) byId("state").textContent = stateOf(queue, sale);
  if (told === state) return;
  if (told !== undefined) {
    say(stateOf(queue, sale));
    record.load();
  }
  told = state;
}

function show({ queue, sale, seconds }) {
  heardAt = Date.now();
  byId("desk").hidden = false;
  graphs.add(seconds);
  steering.show(queue, sale);
  note(queue, sale);
}

function watch() {
  source?.close();
  source = null;
  graphs.clear();
  // A stream is a connection and a place among those that the gateway has: whoever does not look needs none.
  if (document.hidden) return;
  const stream = new EventSource(`${path}/live`);
  source = stream;
  heardAt = Date.now();
  stream.addEventListener("live", ({ data }) => show(JSON.parse(data)));
  stream.addEventListener("error", () => {
    if (stream === source && stream.readyState === EventSource.CLOSED) again();
  });
}

/** A stream was refused, and does not say why: the queue does. */
async function again() {
  source = null;
  try {
    await get(path);
    tell(null);
    setTimeout(() => { if (!source) watch(); }, TRY_AGAIN_MS * (0.8 + Math.random() * 0.4));
  } catch (refusal) {
    byId("unannounced").hidden = !(refusal.status === 404 && announcedAt > Date.now());
    // It was found a moment ago: what is missing is only what everybody can see.
    if (!byId("unannounced").hidden) return;
    tell(refusal);
    if (refusal.status === 0 || refusal.status === 429 || refusal.status >= 500) setTimeout(again, (refusal.retryAfterSeconds || 3) * 1000);
  }
}

function listen() {
  const silent = source !== null && !document.hidden && Date.now() - heardAt > SILENCE_MS;
  if (byId("silence").hidden === !silent) return;
  byId("silence").hidden = !silent;
  byId("silence").textContent = silent ? t("live.silence", { when: new Date(heardAt).toLocaleTimeString(document.documentElement.lang) }) : "";
  say(t(silent ? "live.silent" : "live.back"));
}

/** What was sold, anew; where it can't be read that is said, and since when what is shown is old. */
async function takings() {
  if (document.hidden || graphs.isStill) return;
  const old = byId("takings-old");
  try {
    showReport(await get(`/admin/concerts/${encodeURIComponent(concertId)}`));
    takenAt = Date.now();
    old.hidden = true;
  } catch (refusal) {
    const news = t("report.old", { why: refusal.message || t("offline"), when: new Date(takenAt).toLocaleTimeString(document.documentElement.lang) });
    // Said once, and not each time that it is tried.
    if (old.hidden) say(news);
    old.textContent = news;
    old.hidden = false;
  }
}

async function start() {
  try {
    const concert = await get(`/admin/concerts/${encodeURIComponent(concertId)}`);
    byId("name").textContent = document.title = concert.name;
    byId("facts").textContent = `${concert.date} · ${concert.venue}`;
    showReport(concert);
    byId("look").href = `/admin/sale/${concert.id}/branding`;
    takenAt = Date.now();
    byId("rest").hidden = false;
    if (concert.announcedAt) {
      announcedAt = Date.parse(concert.announcedAt);
      byId("unannounced").textContent = t("live.unannounced", { when: moment(announcedAt) });
    }
  } catch (refusal) {
    tell(refusal);
    if (refusal.status === 0 || refusal.status === 429 || refusal.status >= 500) setTimeout(start, (refusal.retryAfterSeconds || 3) * 1000);
    return;
  }
  tell(null);
  graphs = new Graphs(byId("graphs"));
  record = new Record(concertId);
  steering = new Steering(concertId, record);
  lookUp(concertId, record);
  record.load();
  watch();
  setInterval(listen, 1000);
  setInterval(takings, TAKINGS_EVERY_MS);
  document.addEventListener("visibilitychange", watch);
}

start();
