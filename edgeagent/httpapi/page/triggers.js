// The list of triggers: as many rows as fit are in the page, whatever the list's length; more are fetched on the way.

import { get } from "./api.js";
import { STATES, badge, byId, counted, el, number, say, when } from "./dom.js";

const PAGE = 500;
const AHEAD = 250; // rows before the end of what is loaded at which more are fetched
const AROUND = 12; // rows above and below what can be seen
const MOST = 20_000; // after this many the list begins anew when it is at its top

export class TriggerList {
  constructor(open, failed) {
    this.open = open; // shows where a trigger is
    this.failed = failed; // is told errors
    this.scroll = byId("triggers-scroll");
    this.table = byId("triggers");
    this.body = this.table.tBodies[0];
    this.foot = byId("triggers-foot");
    this.form = byId("filter");
    this.above = space();
    this.below = space();
    this.meanwhile = null;
    this.asked = 0; // number of the latest list: what an earlier one brings is not wanted any more
    this.clear();
    this.form.state.append(...STATES.map((state) => el("option", { value: state, textContent: state })));
    this.scroll.addEventListener("scroll", () => this.drawSoon(), { passive: true });
    new ResizeObserver(() => this.drawSoon()).observe(this.scroll);
    this.form.addEventListener("submit", (event) => event.preventDefault());
    let typing = 0;
    this.form.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.load().catch(this.failed), 250);
    });
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr.one");
      if (row && !String(getSelection())) this.open(row.dataset.id);
    });
  }

  clear() {
    this.rows = [];
    this.added = 0; // so many came at its beginning after it was loaded
    this.places = new Map(); // by correlation id: its index in `rows`, less `added` at that time
    this.next = "";
    this.complete = false;
    this.loading = false;
    this.drawn = new Map();
  }

  get filter() {
    const { source, rule, state } = this.form;
    return { source: source.value.trim(), rule: rule.value, state: state.value };
  }

  rules(names) {
    const { rule } = this.form;
    const known = [...rule.options].slice(1).map((option) => option.value);
    if (known.join() === names.join()) return;
    const chosen = rule.value;
    rule.replaceChildren(rule.options[0], ...names.map((name) => el("option", { value: name, textContent: name })));
    rule.value = names.includes(chosen) ? chosen : "";
  }

  // From the beginning; what is shown stays until the first page is there.
  async load() {
    this.asked += 1;
    const asked = this.asked;
    this.meanwhile = []; // what is told while the list is on its way may be newer than it
    const newer = this.meanwhile;
    let page;
    try {
      page = await this.fetch("");
    } finally {
      if (asked === this.asked) this.meanwhile = null;
    }
    if (asked !== this.asked) return;
    this.clear();
    this.scroll.scrollTop = 0;
    this.take(page);
    for (const report of newer) this.changed(report);
  }

  async more() {
    if (this.loading || this.complete) return;
    this.loading = true;
    const asked = this.asked;
    try {
      const page = await this.fetch(this.next);
      if (asked === this.asked) this.take(page);
    } finally {
      if (asked === this.asked) this.loading = false;
    }
  }

  fetch(after) {
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const [name, value] of Object.entries({ ...this.filter, after })) if (value) query.set(name, value);
    return get(`/v1/triggers?${query}`);
  }

  take(page) {
    const fresh = page.triggers.filter((report) => !this.places.has(report.correlation_id));
    for (const report of fresh) {
      this.places.set(report.correlation_id, this.rows.length - this.added);
      this.rows.push(report);
    }
    this.next = page.next ?? "";
    this.complete = !this.next;
    this.draw();
  }

  // A trigger has a new state.
  changed(report) {
    this.meanwhile?.push(report);
    const id = report.correlation_id;
    const place = this.places.get(id);
    if (place !== undefined) {
      this.rows[place + this.added] = report;
      this.drawSoon();
      return;
    }
    const { source, rule, state } = this.filter;
    const fits = (!source || source === report.source) && (!rule || rule === report.rule) && (!state || state === report.state);
    // One that is new begins as buffered; any other that is not known is further down.
    if (!fits || (report.state !== "buffered" && !this.complete)) return;
    if (this.rows.length >= MOST) {
      if (this.scroll.scrollTop === 0) this.load().catch(this.failed);
      return;
    }
    this.added += 1;
    this.places.set(id, -this.added);
    this.rows.unshift(report);
    if (this.scroll.scrollTop > 0) this.scroll.scrollTop += this.height;
    this.arrived = id;
    this.drawSoon();
  }

  get height() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    return parseFloat(getComputedStyle(this.table).getPropertyValue("--row")) * rem;
  }

  drawSoon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  draw() {
    const height = this.height;
    const visible = Math.ceil(this.scroll.clientHeight / height);
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / height) - AROUND);
    const last = Math.min(this.rows.length, first + visible + 2 * AROUND);
    const drawn = new Map();
    const nodes = [];
    for (let place = first; place < last; place += 1) {
      const report = this.rows[place];
      const id = report.correlation_id;
      const row = this.drawn.get(id) ?? makeRow(report, id === this.arrived);
      fill(row, report);
      row.setAttribute("aria-rowindex", String(place + 2));
      drawn.set(id, row);
      nodes.push(row);
    }
    this.arrived = "";
    this.above.firstChild.style.height = `${first * height}px`;
    this.below.firstChild.style.height = `${(this.rows.length - last) * height}px`;
    this.place([this.above, ...(nodes.length ? nodes : [this.nothing()]), this.below]);
    this.drawn = drawn;
    this.table.setAttribute("aria-rowcount", this.complete ? String(this.rows.length + 1) : "-1");
    say(this.foot, this.complete
      ? counted(this.rows.length, "trigger")
      : `${number(this.rows.length)} triggers loaded, more when you scroll`);
    if (last + AHEAD >= this.rows.length) this.more().catch(this.failed);
  }

  // Rows that stay are not moved, so that the focus stays in them.
  place(nodes) {
    const wanted = new Set(nodes);
    for (const child of [...this.body.children]) if (!wanted.has(child)) child.remove();
    nodes.forEach((node, index) => {
      const there = this.body.children[index];
      if (there !== node) this.body.insertBefore(node, there ?? null);
    });
  }

  nothing() {
    const text = this.complete ? "No triggers." : "Loading…";
    return el("tr", {}, el("td", { className: "empty", colSpan: 5, textContent: text }));
  }
}

function space() {
  return el("tr", { className: "space", "aria-hidden": "true" }, el("td", { colSpan: 5 }));
}

function makeRow(report, isNew) {
  const cell = (...children) => el("td", { role: "cell" }, ...children);
  const row = el("tr", { className: isNew ? "one new" : "one", role: "row" },
    cell(el("button", { type: "button", className: "link", "aria-haspopup": "dialog" })),
    cell(), cell(el("span", { className: "state" })), cell(el("time")), cell());
  row.dataset.id = report.correlation_id;
  return row;
}

function fill(row, report) {
  const [source, rule, state, since, workflow] = row.cells;
  say(source.firstChild, report.source);
  source.firstChild.title = report.source;
  say(rule, report.rule);
  badge(report.state, state.firstChild);
  say(since.firstChild, when(report.at));
  since.firstChild.dateTime = report.at;
  say(workflow, report.workflowId || report.error || "");
  workflow.title = report.workflowId || report.error || "";
}
