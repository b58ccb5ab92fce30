// The site under test by its API: sessions, concerts, the settings of a waiting room, and a crowd that waits in it.

import { createHmac, randomUUID } from "node:crypto";

export const URL_OF_SITE = process.env.ONSALE_URL;
/** Of all demo accounts. */
export const PASSWORD = "onsale-demo";
const SECRET = process.env.ONSALE_SESSION_SECRET.split(",")[0];
const SESSION_SECONDS = 3600;
const ASK_EVERY_MS = 50;
/** Two hundred who look at the clock more often would keep the machine busy with that. */
const CROWD_LOOKS_EVERY_MS = 250;

/** A session token of somebody new: signing two hundred people up would hash two hundred passwords. */
export function sessionOf() {
  const part = (of) => Buffer.from(JSON.stringify(of)).toString("base64url");
  const iat = Math.floor(Date.now() / 1000) - 1;
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: randomUUID(), iat, exp: iat + SESSION_SECONDS, role: "user" })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

const login = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ userId: "admin@example.com", password: PASSWORD }) };
const { token: admin } = await (await fetch(`${URL_OF_SITE}/auth/login`, login)).json();

/** A request by whoever has the session, and its JSON answer. */
export async function ask(method, path, { body, session = admin, queueToken } = {}) {
  const headers = { Authorization: `Bearer ${session}`, "Accept-Language": "en", "Idempotency-Key": randomUUID() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (queueToken) headers["X-Queue-Token"] = queueToken;
  const response = await fetch(URL_OF_SITE + path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(10000) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

/** Asks until the answer is as it should be, for a bounded time. */
export async function until(what, probe, withinMs = 30000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`);
    await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
  }
}

/** A concert of its own for one test, on sale, with a waiting room that is run as `settings` say. */
export async function aConcert(name, settings = {}, concert = {}) {
  const sections = [["A", 2, 20, 120], ["B", 2, 20, 80]].map(([section, rows, seats, price]) =>
    ({ name: section, price, rows: Array.from({ length: rows }, () => ({ seats })) }));
  const { id } = await ask("POST", "/admin/concerts", { body: { name, venue: "City Hall", date: "2999-05-01", sections, ...concert } });
  // Gateways hear of a new concert a moment later.
  await until("a room for the concert", () => ask("GET", `/admin/queues/${id}`).catch(() => null));
  if (Object.keys(settings).length) await steer(id, settings);
  return id;
}

export const steer = (concert, settings) => ask("PUT", `/admin/queues/${concert}`, { body: settings });

/** People who wait, ask as often as they are told, and stay. */
export class Crowd {
  constructor(concert) {
    Object.assign(this, { concert, people: [], isOver: false });
  }

  /** So many more join, one after the other has its number. */
  async join(count) {
    const some = Array.from({ length: count }, () => ({ session: sessionOf() }));
    for (let at = 0; at < some.length; at += 20) await Promise.all(some.slice(at, at + 20).map((person) => this.stand(person, "POST")));
    this.people.push(...some);
    this.waits = [...(this.waits ?? []), ...some.map((person) => this.wait(person))];
  }

  async stand(person, method) {
    const body = method === "POST" ? { concertId: this.concert } : undefined;
    const path = method === "POST" ? "/queue/token" : "/queue/status";
    const { token, status, queueInfo } = await ask(method, path, { body, session: person.session, queueToken: person.queueToken });
    Object.assign(person, { queueToken: token, status, askAgainMs: queueInfo.pollAfterMs });
  }

  async wait(person) {
    while (!this.isOver && person.status === "waiting") {
      // In slices, so that a crowd that is sent home goes at once.
      const due = Date.now() + person.askAgainMs;
      while (!this.isOver && Date.now() < due) await new Promise((done) => setTimeout(done, CROWD_LOOKS_EVERY_MS));
      // Whoever is not answered asks again, as pages do.
      if (!this.isOver) await this.stand(person, "GET").catch(() => {});
    }
  }

  /** What each is answered who asks now. */
  async look() {
    for (let at = 0; at < this.people.length; at += 20) await Promise.all(this.people.slice(at, at + 20).map((person) => this.stand(person, "GET")));
    return this.people.map(({ status }) => status);
  }

  /** All of them leave the line. */
  async leave() {
    await this.goHome();
    await Promise.all(this.people.map(({ session, queueToken }) => ask("DELETE", "/queue/token", { session, queueToken })));
  }

  /** How many have been let in so far. */
  admitted = () => this.people.filter(({ status }) => status === "admitted").length;

  async goHome() {
    this.isOver = true;
    await Promise.all(this.waits ?? []);
  }
}
