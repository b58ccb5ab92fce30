// Talks to the API. The session is a cookie that scripts can't read, so nothing here handles a token.

export const language = document.documentElement.lang;

/** A refusal: `code` is stable, `message` is for people and in their language. */
export class Refusal extends Error {
  constructor(status, problem, retryAfterSeconds) {
    super(problem.message ?? "");
    Object.assign(this, { status, code: problem.error ?? "unknown", retryAfterSeconds });
  }
}

export const isSignedIn = () => localStorage.getItem("signedIn") === "1";
export const noteSignedIn = (is) => (is ? localStorage.setItem("signedIn", "1") : localStorage.removeItem("signedIn"));

const ANSWER_TIMEOUT_MS = 20000;

async function send(method, path, body, key) {
  const headers = { "Accept-Language": language };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), ANSWER_TIMEOUT_MS);
  try {
    const options = { method, headers, credentials: "same-origin", cache: "no-cache", signal: stop.signal };
    if (body !== undefined) options.body = JSON.stringify(body);
    const response = await fetch(path, options);
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return { answer, response };
    throw new Refusal(response.status, answer, Number(response.headers.get("Retry-After")) || 0);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(0, { error: "offline" }, 0);
  } finally {
    clearTimeout(timer);
  }
}

// A session token that has run out is renewed once; two tabs that do it at once are given the same.
async function asSignedIn(ask) {
  try {
    return await ask();
  } catch (refusal) {
    const isOver = ["unauthenticated", "invalid_session"].includes(refusal.code);
    if (!isOver || !isSignedIn()) throw refusal;
    try {
      await send("POST", "/auth/refresh");
    } catch (failed) {
      if (failed.status !== 401) throw failed;
      noteSignedIn(false);
      throw refusal;
    }
    return ask();
  }
}

export const get = async (path) => (await asSignedIn(() => send("GET", path))).answer;
export const getWithTag = (path) => send("GET", path);
export const post = async (path, body) => (await asSignedIn(() => send("POST", path, body))).answer;
export const put = async (path, body) => (await asSignedIn(() => send("PUT", path, body))).answer;
export const patch = async (path, body) => (await asSignedIn(() => send("PATCH", path, body))).answer;
export const remove = async (path) => (await asSignedIn(() => send("DELETE", path))).answer;

/**
 * What must not happen twice. The same wish has the same key until it is known what became of it: so it can be sent again
 * when an answer was lost, also after the page was loaded anew.
 */
export async function once(path, body) {
  const wish = `once:${path}:${JSON.stringify(body)}`;
  const key = sessionStorage.getItem(wish) ?? newKey();
  sessionStorage.setItem(wish, key);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { answer } = await asSignedIn(() => send("POST", path, body, key));
      sessionStorage.removeItem(wish);
      return answer;
    } catch (refusal) {
      const isUnknown = refusal.status === 0 || refusal.status >= 500 || refusal.code === "idempotency_in_progress";
      if (!isUnknown) sessionStorage.removeItem(wish);
      if (!isUnknown || attempt === 4) throw refusal;
      await new Promise((done) => setTimeout(done, Math.max(refusal.retryAfterSeconds, attempt) * 1000 * (0.8 + Math.random() / 2)));
    }
  }
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
