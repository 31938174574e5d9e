// The devices that were seen, the last one first.

import { get } from "./api.js";
import { byId, el, number, say, when } from "./dom.js";

const MOST = 1000;

export class Devices {
  constructor() {
    this.body = byId("devices");
    this.rows = new Map();
  }

  async load() {
    const { devices } = await get("/v1/devices");
    this.rows.clear();
    this.body.replaceChildren(...devices.map((device) => this.row(device.source, device.last_event, device.triggers ?? 0)));
    if (!devices.length) this.body.append(el("tr", { className: "none" }, el("td", { className: "empty", colSpan: 3, textContent: "None has sent an event yet." })));
    say(byId("devices-count"), number(devices.length));
  }

  // A trigger of an event that has just come.
  came(report) {
    const known = this.rows.get(report.source);
    const count = known ? Number(known.dataset.count) + 1 : 1;
    const row = this.row(report.source, report.at, count);
    this.body.querySelector(".none")?.remove();
    if (this.body.firstChild !== row) this.body.prepend(row);
    if (this.rows.size > MOST) {
      const last = this.body.lastElementChild;
      this.rows.delete(last.dataset.source);
      last.remove();
    }
    say(byId("devices-count"), number(this.rows.size));
  }

  row(source, at, count) {
    let row = this.rows.get(source);
    if (!row) {
      row = el("tr", {}, el("th", { scope: "row", textContent: source, title: source }), el("td", {}, el("time")), el("td", { className: "number" }));
      row.dataset.source = source;
      this.rows.set(source, row);
    }
    row.dataset.count = String(count);
    const shown = row.cells[1].firstChild;
    shown.dateTime = at;
    say(shown, when(at));
    say(row.cells[2], number(count));
    return row;
  }
}
