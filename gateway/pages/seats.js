// Choosing seats, with everybody else's choices as they happen.

import { get, getWithTag, once } from "./api.js";
import { dress } from "./brand.js";
import { Hall } from "./hall.js";
import { busy, byId, count, countdown, el, money, say, t, tell } from "./ui.js";

const LIST_AGAIN_MS = 8000;
const concertId = location.pathname.split("/")[2];
const path = `/concerts/${encodeURIComponent(concertId)}`;
let hall;
let source;
let most = 4;

function showChosen() {
  const seats = hall.chosen();
  const sum = seats.reduce((total, seat) => total + Math.round(seat.price * 100), 0) / 100;
  const names = seats.map((seat) => `${seat.section} ${seat.seatNumber}`).join(", ");
  byId("chosen").textContent = seats.length ? t("seats.chosen", { names, sum: money(sum) }) : t("seats.none");
  byId("hold").disabled = seats.length === 0;
}

function toggle(seat) {
  if (seat.status !== "available") return say(t("seats.not_free"));
  if (!seat.isChosen && hall.chosen().length >= most) return say(byId("chosen").textContent = t("seats.most", { n: most }));
  hall.choose(seat, !seat.isChosen);
  showChosen();
}

function change(seats) {
  const lost = hall.change(seats);
  if (lost.length) tell({ code: "seat_taken", status: 409, message: t("seats.lost", { names: lost.map((seat) => `${seat.section} ${seat.seatNumber}`).join(", ") }) }, concertId);
  showChosen();
}

function watch(tag) {
  source?.close();
  source = null;
  // A browser has few connections to a site: whoever does not look leaves theirs to other tabs.
  if (document.hidden) return;
  const stream = new EventSource(`${path}/seats/events?since=${encodeURIComponent(tag ?? "")}`);
  const take = ({ data }) => change(JSON.parse(data));
  source = stream;
  stream.addEventListener("seats", take);
  stream.addEventListener("reset", take);
  stream.addEventListener("error", () => {
    // No stream to be had now: the list again and again, which costs little while nothing changes, then another try.
    if (stream === source && stream.readyState === EventSource.CLOSED) setTimeout(again, LIST_AGAIN_MS * (0.8 + Math.random() * 0.4));
  });
}

async function again() {
  try {
    const { answer, response } = await getWithTag(`${path}/seats`);
    change(answer);
    watch(response.headers.get("ETag"));
  } catch {
    setTimeout(again, LIST_AGAIN_MS);
  }
}

async function hold(button, wish) {
  await busy(button, async () => {
    await once("/reservation", { concertId, ...wish });
    location.assign("/my");
  }, concertId);
  showChosen();
}

/** How long one may still choose; asking also says that one is here. */
let stopClock = () => {};

async function stay() {
  let next = 10000;
  try {
    const { status, admission, queueInfo } = await get("/queue/status");
    stopClock();
    const isIn = status === "admitted" && queueInfo.concertId === concertId;
    byId("time").hidden = false;
    if (isIn) {
      stopClock = countdown(byId("time"), Date.now() + admission.expiresInSeconds * 1000, { prefix: t("seats.time"), atEnd: out });
      next = queueInfo.pollAfterMs;
    } else out();
  } catch (refusal) {
    if (refusal.status === 401) out();
    else next = Math.max(next, refusal.retryAfterSeconds * 1000);
  }
  setTimeout(stay, next * (0.9 + Math.random() * 0.2));
}

function out() {
  stopClock();
  byId("time").hidden = false;
  byId("time").replaceChildren(t("seats.out"), " ", el("a", { href: `/sale/${concertId}` }, t("do.queue")));
}

async function start() {
  try {
    const [concert, { answer: seats, response }] = await Promise.all([get(path), getWithTag(`${path}/seats`)]);
    most = concert.seatsPerUser;
    byId("name").textContent = document.title = concert.name;
    dress(concert);
    byId("quantity").replaceChildren(...Array.from({ length: most }, (_, at) => el("option", { value: at + 1, selected: at === Math.min(1, most - 1) }, count(at + 1))));
    hall = new Hall(byId("hall"), seats, toggle);
    byId("section").append(...[...hall.blocks.keys()].map((section) => el("option", { value: section }, section)));
    byId("hall").setAttribute("aria-busy", "false");
    showChosen();
    watch(response.headers.get("ETag"));
  } catch (refusal) {
    tell(refusal, concertId);
    if (refusal.status === 0 || refusal.status >= 429) setTimeout(start, (refusal.retryAfterSeconds || 3) * 1000 * (1 + Math.random()));
  }
}

byId("hold").addEventListener("click", () => hold(byId("hold"), { seatIds: hall.chosen().map((seat) => seat.seatId) }));
byId("best").addEventListener("submit", (event) => {
  event.preventDefault();
  const section = byId("section").value;
  hold(event.submitter, { quantity: Number(byId("quantity").value), ...(section ? { section } : {}) });
});
byId("section").addEventListener("change", () => hall?.show(byId("section").value));
byId("larger").addEventListener("click", () => hall?.zoomBy(1.25));
byId("smaller").addEventListener("click", () => hall?.zoomBy(0.8));
document.addEventListener("visibilitychange", () => {
  if (!hall) return;
  if (document.hidden) {
    source?.close();
    source = null;
  } else if (!source) {
    again();
  }
});
start();
stay();
