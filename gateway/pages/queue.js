// Waiting. Near the front by a stream of events, far back by the frontier, which is the same for everybody; and by asking
// at the pace that the room tells, whenever those fail. One tab does it for all.

import { get, post, Refusal } from "./api.js";

const NEAR_POLL_MS = 5000;
const RECONNECT_MS = 15000;
const STREAMS_AGAIN_MS = 30000;
// A stream that died in a device's sleep says nothing, as one does on which nothing happens: after this it is asked.
const SILENCE_MS = 60000;
const FRONTIERS_BEFORE_STATUS = 4;

const jitter = () => 0.9 + Math.random() * 0.2;

/** Waits, but not longer than the network or the device was away. */
function pause(ms) {
  return new Promise((done) => {
    const due = Date.now() + ms;
    const finish = () => {
      clearTimeout(timer);
      removeEventListener("online", finish);
      document.removeEventListener("visibilitychange", look);
      done();
    };
    const look = () => { if (!document.hidden && Date.now() >= due) finish(); };
    const timer = setTimeout(finish, ms);
    addEventListener("online", finish);
    document.addEventListener("visibilitychange", look);
  });
}

export const join = (concertId) => post("/queue/token", { concertId });
export const leave = () => fetch("/queue/token", { method: "DELETE", credentials: "same-origin" });

/** Where one stands with this concert; the cookie may be about another, or gone: joining again gives the same place. */
async function stand(concertId) {
  try {
    const answer = await get("/queue/status");
    return answer.queueInfo.concertId === concertId ? answer : await join(concertId);
  } catch (refusal) {
    if (["missing_queue_token", "invalid_queue_token"].includes(refusal.code)) {
      // Whoever left, in another tab perhaps, has forgotten about it and is not to be put in line again.
      return localStorage.getItem(`wait:${concertId}`) ? join(concertId) : { status: "left", queueInfo: { concertId } };
    }
    throw refusal;
  }
}

/** Tells `tell` where one stands, now and whenever that changes, until the wait is over. `lost` is told of trouble. */
export async function follow(concertId, tell, lost) {
  const channel = "BroadcastChannel" in window ? new BroadcastChannel(`wait:${concertId}`) : null;
  let isLeading = false;
  const share = (answer) => { tell(answer); if (isLeading) channel?.postMessage(answer); };
  if (channel) channel.onmessage = ({ data }) => { if (!isLeading) tell(data); };
  const lead = async () => {
    isLeading = true;
    await new Wait(concertId, share, lost).run();
    isLeading = false;
  };
  if (!navigator.locks) return lead();
  const isOver = await navigator.locks.request(`wait:${concertId}`, { ifAvailable: true }, async (lock) => {
    if (lock) await lead();
    return lock !== null;
  });
  if (isOver) return;
  // A second tab shows where one stands at once, and takes over when the first is closed.
  const takeOver = navigator.locks.request(`wait:${concertId}`, lead);
  await stand(concertId).then((answer) => { if (!isLeading) tell(answer); }, (refusal) => { if (!isLeading) lost(refusal); });
  return takeOver;
}

class Wait {
  constructor(concertId, tell, lost) {
    Object.assign(this, { concertId, tell, lost, failures: 0, streamsAgainAt: 0 });
  }

  async run() {
    for (;;) {
      let answer;
      try {
        answer = await stand(this.concertId);
      } catch (refusal) {
        if (await this.isOverAfter(refusal)) return;
        continue;
      }
      this.failures = 0;
      this.lost(null);
      this.tell(answer);
      const { pollAfterMs, drawn } = answer.queueInfo;
      if (answer.status === "admitted") await pause(pollAfterMs);
      else if (answer.status !== "waiting") return;
      else if (pollAfterMs <= NEAR_POLL_MS && Date.now() >= this.streamsAgainAt) await this.listen(pollAfterMs);
      else if (pollAfterMs > NEAR_POLL_MS && drawn === undefined) await this.watchFrontier(answer);
      else await pause(pollAfterMs);
    }
  }

  // The place is kept whatever happens here; so it is tried again, ever more slowly, unless there is nothing to try.
  async isOverAfter(refusal) {
    this.lost(refusal);
    const isFinal = refusal.status >= 400 && refusal.status < 500 && ![408, 429].includes(refusal.status);
    if (isFinal) return true;
    this.failures = Math.min(this.failures + 1, 5);
    await pause(Math.max(refusal.retryAfterSeconds * 1000, 1000 * 2 ** this.failures) * jitter());
    return false;
  }

  /** Until the stream says that something is to be asked for, or has failed. */
  listen(pollAfterMs) {
    return new Promise((done) => {
      const source = new EventSource("/queue/events");
      let patience;
      let silence;
      const finish = () => { clearTimeout(patience); clearTimeout(silence); source.close(); done(); };
      silence = setTimeout(finish, SILENCE_MS);
      source.addEventListener("open", () => { clearTimeout(patience); this.lost(null); });
      source.addEventListener("position", ({ data }) => {
        const answer = JSON.parse(data);
        if (answer.queueInfo.concertId === this.concertId) this.tell(answer);
        else finish();
      });
      // Asking fetches the pass as a cookie, which a stream can't set.
      source.addEventListener("admitted", finish);
      source.addEventListener("closed", finish);
      source.addEventListener("error", () => {
        if (source.readyState === EventSource.CLOSED) {
          this.streamsAgainAt = Date.now() + STREAMS_AGAIN_MS;
          pause(pollAfterMs * jitter()).then(finish);
        } else {
          this.lost(new Refusal(0, { error: "offline" }, 0));
          clearTimeout(patience);
          patience = setTimeout(finish, RECONNECT_MS);
        }
      });
    });
  }

  /** Far back: a few looks at how far the room has come, which cost it nothing, then a question of one's own. */
  async watchFrontier(answer) {
    const { position, pollAfterMs } = answer.queueInfo;
    let epoch;
    for (let looks = 0; looks < FRONTIERS_BEFORE_STATUS; looks += 1) {
      await pause(pollAfterMs * jitter());
      const room = await get(`/queue/${this.concertId}/frontier`).catch(() => null);
      const goesOn = room && ["queueing", "paused", "scheduled"].includes(room.status) && room.epoch === (epoch ?? room.epoch);
      if (!goesOn || position <= room.expectedUpTo) return;
      epoch = room.epoch;
      const ahead = Math.min(answer.queueInfo.ahead, position - room.frontier - 1);
      this.tell({ ...answer, queueInfo: { ...answer.queueInfo, ahead, paused: room.status === "paused" } });
    }
  }
}
