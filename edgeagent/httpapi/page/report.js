// What happened in the last days: `/v1/report` as a table.

import { get } from "./api.js";
import { byId, el, number, span } from "./dom.js";

const count = (value) => (value === null ? "" : number(value));
const length = (value) => (value === null ? "" : value < 10 ? `${value.toFixed(1)} s` : span(value));
// Each: its heading, the member, and how it is shown.
const COLUMNS = [
  ["Events", "events", count], ["Triggers", "triggers", count], ["Succeeded", "succeeded", count], ["Failed", "failed", count],
  ["Unknown", "unknown", count], ["Rejected", "rejected", count], ["Dropped", "dropped", count],
  ["To the answer", "answer_median_s", length], ["To the end", "end_median_s", length], ["Without uplink", "offline_s", length],
];

export class Report {
  constructor(failed) {
    this.failed = failed;
    this.head = byId("report-head");
    this.head.append(...COLUMNS.map(([title]) => el("th", { scope: "col", className: "number", textContent: title })));
    for (const option of document.querySelectorAll("input[name=by]")) option.addEventListener("change", () => this.load().catch(failed));
  }

  async load() {
    const by = document.querySelector("input[name=by]:checked").value;
    const report = await get(`/v1/report?since=7d&by=${by}`);
    this.head.cells[0].textContent = { day: "Day (UTC)", rule: "Rule", source: "Source" }[by];
    const lines = by === "day" ? [...report.lines].reverse() : report.lines;
    byId("report").replaceChildren(...lines.map((line) => row(line, line.name)), row(report.total, "Total"));
  }
}

function row(line, name) {
  return el("tr", { className: line.name ? "" : "total" },
    el("th", { scope: "row", textContent: name, title: name }),
    ...COLUMNS.map(([, member, show]) => el("td", { className: "number", textContent: show(line[member]) })));
}
