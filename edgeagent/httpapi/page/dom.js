// Elements and texts. What comes from outside gets into the page through `textContent` and nothing else.

export const byId = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== "list") node[name] = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// Only what changed is touched: a screen reader speaks of changes, and selections stay.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function mark(node, state) {
  if (node.dataset.state !== state) node.dataset.state = state;
}

// By how much the agent's clock is ahead of this one, in milliseconds.
let ahead = 0;
export function setAgentTime(text) {
  const at = Date.parse(text);
  if (Number.isFinite(at)) ahead = at - Date.now();
}
export const agentNow = () => Date.now() + ahead;

export const number = (value) => Number(value).toLocaleString("en");

export function counted(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) { value /= 1024; place += 1; }
  return `${value >= 10 || place === 0 ? Math.round(value) : value.toFixed(1)} ${units[place]}`;
}

export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// How long ago this was.
export const age = (text) => span((agentNow() - Date.parse(text)) / 1000);

// In UTC, as the log and the commands: whoever compares them may sit in another zone than the gateway.
const format = (parts) => new Intl.DateTimeFormat(undefined, { ...parts, hourCycle: "h23", timeZone: "UTC" });
const clock = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const short = format({ hour: "2-digit", minute: "2-digit" });
const dated = format({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const full = format({ dateStyle: "medium", timeStyle: "medium" });

export const hourAndMinute = (ms) => short.format(ms);

// The time of day, if that was today.
export function when(text) {
  const at = Date.parse(text);
  if (!Number.isFinite(at)) return "";
  return Math.abs(agentNow() - at) < 12 * 3600e3 ? clock.format(at) : dated.format(at);
}

export function time(text) {
  const at = Date.parse(text);
  return Number.isFinite(at)
    ? el("time", { dateTime: text, title: `${full.format(at)} UTC`, textContent: when(text) })
    : el("span", { textContent: "" });
}

const KINDS = {
  buffered: "idle", published: "busy", triggered: "busy", running: "busy", succeeded: "good", merged: "idle",
  failed: "bad", error: "bad", rejected: "bad", expired: "warn", dropped: "bad", unknown: "warn",
};
export const STATES = Object.keys(KINDS);

export function badge(state, node = el("span", { className: "state" })) {
  say(node, state);
  node.dataset.kind = KINDS[state] ?? "idle";
  return node;
}
