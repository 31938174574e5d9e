// The status page of one agent: what `/v1/stream` tells, shown as it comes.

import { Locked, follow, get, hasToken, lock, unlock } from "./api.js";
import { Chart } from "./charts.js";
import { Devices } from "./devices.js";
import { byId, mark, say, setAgentTime } from "./dom.js";
import { lineOf, showFacts, showSince, showWaiting } from "./facts.js";
import { Letters } from "./letters.js";
import { Report } from "./report.js";
import { TriggerList } from "./triggers.js";
import { Where } from "./where.js";

const SERIES_MS = 5000; // the series are fetched no more often than this when something changed
const SERIES_IDLE_MS = 30_000;
const AGES_MS = 10_000;
const REPORT_MS = 600_000;

const where = new Where(failed);
const open = (id) => where.open(id);
const triggers = new TriggerList(open, failed);
const letters = new Letters(open, failed);
const devices = new Devices();
const report = new Report(failed);
const charts = {
  events: new Chart(byId("chart-events"), "Events in"),
  triggers: new Chart(byId("chart-triggers"), "Triggers out"),
  pending: new Chart(byId("chart-pending"), "Waiting triggers", { level: true }),
};
let stats = null;
let series = null;
let seriesAt = 0;
let seriesTimer = 0;

function line(state, text) {
  mark(byId("line"), state);
  say(byId("line"), text);
}

function failed(error) {
  if (error instanceof Locked) showUnlock();
  else line("down", error.message);
}

function drawSeries() {
  if (series === null) return;
  const shown = series[document.querySelector("input[name=span]:checked").value];
  for (const [name, chart] of Object.entries(charts)) chart.show(shown[name], shown.step_s);
}

function seriesSoon() {
  seriesTimer ||= setTimeout(() => loadSeries().catch(failed), Math.max(0, seriesAt + SERIES_MS - Date.now()));
}

async function loadSeries() {
  clearTimeout(seriesTimer);
  seriesTimer = 0;
  seriesAt = Date.now();
  series = await get("/v1/series");
  setAgentTime(series.at);
  drawSeries();
  if (stats) showAges();
}

function showAges() {
  showSince(stats);
  showWaiting(stats, series?.oldest);
}

function showStats(told) {
  stats = told;
  showFacts(stats);
  showAges();
  line(...lineOf(stats));
  triggers.rules(Object.keys(stats.rules));
  letters.count(stats.outbox.dead.count, stats.outbox.dead.max_count).catch(failed);
  seriesSoon();
}

function showTrigger(report) {
  triggers.changed(report);
  where.changed(report);
  if (report.state === "buffered") devices.came(report);
}

async function loadAll() {
  await loadSeries();
  await Promise.all([triggers.load(), devices.load(), report.load()]);
}

async function start() {
  let isFirst = true;
  try {
    await follow(
      {
        stats: showStats,
        trigger: showTrigger,
        gap: () => loadAll().catch(failed),
        end: () => {},
      },
      {
        connected: () => {
          byId("unlock").hidden = true;
          byId("content").hidden = false;
          if (isFirst) loadAll().catch(failed);
          else if (stats) line(...lineOf(stats));
          isFirst = false;
        },
        lost: (reason) => line("down", `No connection to the agent: ${reason}`),
      },
    );
  } catch (error) {
    failed(error);
  }
}

function showUnlock() {
  const wasWrong = hasToken();
  lock();
  line("none", "Locked");
  byId("content").hidden = true;
  byId("unlock").hidden = false;
  say(byId("unlock-error"), wasWrong ? "This is not the agent's token." : "");
  byId("token").focus();
}

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("token");
  unlock(field.value.trim());
  field.value = "";
  start();
});
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
for (const option of document.querySelectorAll("input[name=span]")) option.addEventListener("change", drawSeries);
setInterval(() => { if (stats && !document.hidden) showAges(); }, AGES_MS);
setInterval(() => {
  if (stats && !document.hidden && Date.now() - seriesAt >= SERIES_IDLE_MS) loadSeries().catch(() => {});
}, AGES_MS);
setInterval(() => { if (stats && !document.hidden) report.load().catch(() => {}); }, REPORT_MS);
start();
