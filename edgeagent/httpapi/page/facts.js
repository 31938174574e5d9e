// The figures of `/v1/stats` in words: the tiles, the rules, and what needs attention.

import { age, agentNow, byId, bytes, counted, el, mark, number, say, span, time, when } from "./dom.js";
import { showUploads, uploadProblems } from "./uploads.js";

const CERTIFICATE_DAYS = 14;
const RULE_ERROR_MS = 10 * 60e3;
const FULL = { warn: 0.7, bad: 0.9 };

export function showFacts(stats) {
  say(byId("agent"), stats.agent);
  say(byId("version"), stats.version);
  document.title = `${stats.agent} · edgeagent`;
  uplink(stats.uplink);
  room(stats.outbox);
  account(stats.account);
  rules(stats.rules);
  showUploads(stats);
  attention(stats);
  log(stats.log);
}

// What the line in the head says, and how it is.
export function lineOf(stats) {
  const { uplink } = stats;
  if (!uplink.connected) return ["down", "Uplink down"];
  if (uplink.trouble) return ["trouble", "Connected, but nothing flows"];
  return ["up", "Uplink connected"];
}

export function showSince(stats) {
  const { since } = stats.uplink;
  say(byId("uplink-since"), since ? `for ${age(since)}, since ${when(since)}` : "");
}

function uplink({ connected, trouble, address }) {
  const state = byId("uplink-state");
  say(state, connected ? "Connected" : "Down");
  mark(state, !connected ? "bad" : trouble ? "warn" : "good");
  say(byId("uplink-address"), address);
}

export function showWaiting({ account, outbox, uplink, rates }, oldest) {
  const { pending } = account.triggers;
  const node = byId("pending");
  say(node, number(pending));
  mark(node, "");
  const parts = [];
  if (oldest && pending) parts.push(`the oldest for ${age(oldest)}`);
  if (uplink.in_flight) parts.push(`${number(uplink.in_flight)} in flight`);
  if (outbox.parked) parts.push(`${number(outbox.parked)} parked`);
  for (const [name, { waiting, last_at: last }] of Object.entries(rates ?? {})) {
    if (waiting) parts.push(`${counted(waiting, "trigger")} for the rate of rule ${name}, about ${span(Math.max(0, (Date.parse(last) - agentNow()) / 1000))}`);
  }
  say(byId("pending-more"), parts.join(" · ") || (pending ? "" : "everything is delivered"));
}

function room({ used_bytes: used, max_bytes: max, hours_left: hours, accepting, failure }) {
  const share = Math.min(1, used / max);
  const state = !accepting || failure || share > FULL.bad ? "bad" : share > FULL.warn || (hours !== null && hours < 24) ? "warn" : "good";
  const node = byId("room");
  say(node, !accepting ? "Full" : hours === null ? `${Math.round((1 - share) * 100)} % free` : `${span(hours * 3600)} left`);
  mark(node, state === "good" ? "" : state);
  const bar = byId("room-bar");
  bar.style.width = `${(share * 100).toFixed(1)}%`;
  mark(bar, state);
  say(byId("room-more"), `${bytes(used)} of ${bytes(max)}${hours === null ? ", not growing" : ""}`);
}

function account({ balanced, triggers }) {
  const node = byId("account");
  say(node, balanced ? "Balanced" : "Not balanced");
  mark(node, balanced ? "good" : "bad");
  const { accepted, imported, ...ended } = triggers;
  const parts = Object.entries(ended).filter(([, count]) => count).map(([name, count]) => `${number(count)} ${name}`);
  say(byId("account-more"), `${number(accepted + imported)} in = ${parts.join(" + ") || "0"}`);
}

function rules(all) {
  const body = byId("rules");
  const rows = Object.entries(all).map(([name, counts]) => {
    const row = [...body.rows].find((one) => one.dataset.rule === name) ?? el("tr", {},
      el("th", { scope: "row", textContent: name, title: name }), ...[1, 2, 3].map(() => el("td", { className: "number" })));
    row.dataset.rule = name;
    [counts.matched, counts.settled, counts.dead].forEach((count, place) => say(row.cells[place + 1], number(count)));
    return row;
  });
  if (rows.length !== body.rows.length || rows.some((row) => row.parentNode !== body)) {
    body.replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", { className: "empty", colSpan: 4, textContent: "No rules." }))]));
  }
}

function log({ last, warnings, errors }) {
  say(byId("log-foot"), errors + warnings ? `${counted(errors, "error")} and ${counted(warnings, "warning")} since the start` : "");
  const text = JSON.stringify(last);
  if (text === logged) return;
  logged = text;
  byId("log").replaceChildren(...(last.length ? last : [null]).map((one) => (one === null
    ? el("li", { className: "quiet", textContent: "None since the start." })
    : el("li", {},
      el("p", { className: "row" },
        el("span", { className: "state", textContent: one.level, "data-kind": one.level === "warning" ? "warn" : "bad" }),
        el("span", { className: "quiet small" }, time(one.at), one.count > 1 ? ` · ${number(one.count)} times` : "")),
      el("p", { textContent: one.message })))));
}

let logged = "";

// Each: how bad, what, and what to do.
function* problems(stats) {
  const { uplink, outbox, account, rules: all, local, mqtt } = stats;
  if (stats.rescue) yield ["bad", "The disk of the gateway can only be read: no event is taken.", "Mend or replace it; what was accepted is forwarded meanwhile."];
  if (!account.balanced) yield ["bad", "The account does not add up.", "Run: edgeagent outbox verify"];
  if (outbox.failure) yield ["bad", outbox.failure, ""];
  else if (!outbox.accepting) yield ["bad", "The outbox is full: no event is taken.", "Restore the uplink, or raise outbox.max_bytes."];
  for (const loss of outbox.lost) yield ["bad", "Triggers were lost.", typeof loss === "string" ? loss : Object.entries(loss).map(([name, value]) => `${name} ${value}`).join(", ")];
  if (outbox.dead.full) yield ["bad", outbox.dead.full, "Replay or discard dead letters."];
  if (!uplink.connected && uplink.error) yield ["warn", `The uplink is down: ${uplink.error}`, "Events are kept on disk, and sent when it is back."];
  if (uplink.connected && uplink.trouble) yield ["warn", `Connected, but ${uplink.trouble}.`, uplink.remedy];
  if (uplink.canary?.problem) yield ["warn", `The last canary did not come back: ${uplink.canary.problem}`, "Triggers may not get through to a dispatcher."];
  for (const [what, link] of [["uplink", uplink], ["listener", mqtt]]) {
    const days = link?.certificate_days_left;
    if (days !== null && days !== undefined && days < CERTIFICATE_DAYS) yield ["warn", `The certificate of the ${what} ends in ${counted(Math.max(0, Math.floor(days)), "day")}.`, "Renew it."];
  }
  if (local && !local.connected) yield ["warn", `The local broker is down${local.error ? `: ${local.error}` : ""}`, "Its devices cannot be heard."];
  for (const link of [local, mqtt]) if (link?.held) yield ["warn", `Messages of devices are held: ${link.held}`, ""];
  if (outbox.dead.count) yield ["warn", `${counted(outbox.dead.count, "dead letter")} ${outbox.dead.count === 1 ? "waits" : "wait"} for your decision.`, "Replay or discard them below."];
  for (const each of stats.webhooks?.receivers ?? []) yield* webhookProblem(each);
  yield* uploadProblems(stats);
  yield* ruleProblems(all);
}

function* webhookProblem({ webhook, receiver, gone, failures, pending, lost, last_error: error }) {
  const name = `${webhook} (${receiver})`;
  const losses = lost ? ` ${counted(lost, "report is", "reports are")} lost.` : "";
  if (gone) yield ["warn", `${name} wants no more reports (410).${losses}`, "Take the table out of the configuration, or correct its url."];
  else if (failures) yield ["warn", `${name} takes no reports: ${error}.${losses}`, `${counted(pending, "waits", "wait")}: posted when it takes them again.`];
  else if (lost && error) yield ["warn", `${name} refuses reports: ${error}.${losses}`, "They are not posted again. Correct the table by what the receiver's log says."];
}

// What rules could not decide within the last minutes: once for an event, however many rules it was.
function* ruleProblems(all) {
  const told = new Map();
  for (const [name, { last_error: error, last_error_at: at }] of Object.entries(all)) {
    if (!error || agentNow() - Date.parse(at) > RULE_ERROR_MS) continue;
    const known = told.get(error);
    if (known) known.names.push(name);
    else told.set(error, { names: [name], at });
  }
  for (const [error, { names, at }] of told) {
    const rules = names.length === 1 ? `The rule ${names[0]}` : `The rules ${names.join(", ")}`;
    yield ["warn", `${rules} could not be decided at ${when(at)}: ${error}`, "Events like it do not match."];
  }
}

let shown = "";

function attention(stats) {
  const found = [...problems(stats)].map(([state, ...texts]) => [state, ...texts.map((text) => (text ?? "").replaceAll("`", ""))]);
  const text = JSON.stringify(found);
  if (text === shown) return;
  shown = text;
  const section = byId("attention");
  section.hidden = found.length === 0;
  section.toggleAttribute("data-bad", found.some(([state]) => state === "bad"));
  byId("attention-list").replaceChildren(...found.map(([, what, remedy]) => el("li", {}, what, remedy ? el("span", { textContent: remedy }) : null)));
}
