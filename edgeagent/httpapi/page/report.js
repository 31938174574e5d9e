// What happened in the last days: `/v1/report` as a table.

import { get } from "./api.js";
import { byId, el, number, span } from "./dom.js";

const count = (value) => (value === null ? "" : number(value));
const length = (value) => (value === null ? "" : value < 10 ? `${value.toFixed(1)} s` : span(value));
const ENDS = ["succeeded", "failed", "unknown", "rejected", "merged", "expired"];
// Triggers that have not ended; with the ends they are the triggers. Below 0: more of days before ended than came.
const open = (line) => line.triggers - ENDS.reduce((sum, member) => sum + line[member], 0);
// Each: its heading, the member, how it is shown, and whether it is left out where there are none.
const COLUMNS = [
  ["Events", "events", count], ["Triggers", "triggers", count], ["Succeeded", "succeeded", count], ["Failed", "failed", count],
  ["Unknown", "unknown", count], ["Rejected", "rejected", count], ["Merged", "merged", count, true], ["Expired", "expired", count, true],
  ["Open", "open", count, true], ["Dropped", "dropped", count, true],
  ["To the answer", "answer_median_s", length], ["To the end", "end_median_s", length], ["Without uplink", "offline_s", length],
];

export class Report {
  constructor(failed) {
    this.failed = failed;
    this.head = byId("report-head");
    for (const option of document.querySelectorAll("input[name=by]")) option.addEventListener("change", () => this.load().catch(failed));
  }

  async load() {
    const by = document.querySelector("input[name=by]:checked").value;
    const report = await get(`/v1/report?since=7d&by=${by}`);
    const all = [...report.lines, report.total].map((line) => ({ ...line, open: open(line) }));
    const columns = COLUMNS.filter(([, member, , onlySome]) => !onlySome || all.some((line) => line[member]));
    const total = all.pop();
    this.head.cells[0].textContent = { day: "Day (UTC)", rule: "Rule", source: "Source" }[by];
    this.head.replaceChildren(this.head.cells[0],
      ...columns.map(([title]) => el("th", { scope: "col", className: "number", textContent: title })));
    const lines = by === "day" ? all.reverse() : all;
    byId("report").replaceChildren(...lines.map((line) => row(line, line.name, columns)), row(total, "Total", columns));
  }
}

function row(line, name, columns) {
  return el("tr", { className: line.name ? "" : "total" },
    el("th", { scope: "row", textContent: name, title: name }),
    ...columns.map(([, member, show]) => el("td", { className: "number", textContent: show(line[member]) })));
}
