// The agent's HTTP interface. The token goes into a header, never into an address.

const KEY = "edgeagent.token";
const SILENCE_MS = 40_000; // the agent says something every 15 s
const HIDDEN_MS = 60_000; // after this time out of sight nothing is asked for
const RETRY_MS = [1000, 2000, 4000, 8000];

let token = sessionStorage.getItem(KEY) ?? "";

export class Locked extends Error {}

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function unlock(text) {
  token = text;
  sessionStorage.setItem(KEY, text);
}

export function lock() {
  token = "";
  sessionStorage.removeItem(KEY);
}

export const hasToken = () => token !== "";

function send(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
}

async function checked(answer) {
  if (answer.ok) return answer;
  if (answer.status === 401) throw new Locked("the agent wants its token");
  let detail = `the agent answered ${answer.status}`;
  try {
    detail = (await answer.json()).detail ?? detail;
  } catch {
    // it was no JSON: the status says enough
  }
  throw new Refused(answer.status, String(detail));
}

export async function get(path) {
  return (await checked(await send(path))).json();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await checked(await send(path, { method: "POST", headers, body: JSON.stringify(body) }))).json();
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const visible = () => new Promise((resolve) => {
  if (!document.hidden) { resolve(); return; }
  document.addEventListener("visibilitychange", () => resolve(), { once: true });
});

// Tell `on[kind](data)` of each event for ever; `connected` and `lost(reason)` of the stream itself. EventSource cannot
// send a token.
export async function follow(on, { connected, lost }) {
  let last = "";
  let failures = 0;
  for (;;) {
    await visible();
    const ending = new AbortController();
    let timer = 0;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(), SILENCE_MS);
    };
    let hiding = 0;
    const hide = () => {
      clearTimeout(hiding);
      if (document.hidden) hiding = setTimeout(() => ending.abort(), HIDDEN_MS);
    };
    document.addEventListener("visibilitychange", hide);
    try {
      alive();
      const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
      const answer = await checked(await send("/v1/stream", { headers, signal: ending.signal }));
      failures = 0;
      connected();
      for await (const event of events(answer.body, alive)) {
        last = event.id || last;
        on[event.kind]?.(JSON.parse(event.data));
      }
      lost("the agent ended the connection");
    } catch (error) {
      if (error instanceof Locked) throw error;
      lost(error instanceof Refused ? error.message : "the agent does not answer");
    } finally {
      clearTimeout(timer);
      clearTimeout(hiding);
      document.removeEventListener("visibilitychange", hide);
      ending.abort();
    }
    await pause(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    failures += 1;
  }
}

async function* events(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = { id: "", kind: "message", data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        if (line.startsWith("id: ")) event.id = line.slice(4);
        else if (line.startsWith("event: ")) event.kind = line.slice(7);
        else if (line.startsWith("data: ")) event.data = line.slice(6);
      }
      text = text.slice(end + 2);
      if (event.data) yield event;
    }
  }
}
