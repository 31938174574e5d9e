// Where a trigger is: its life with times, and what it waits for.

import { Refused, get } from "./api.js";
import { age, badge, byId, el, time } from "./dom.js";

export class Where {
  constructor(failed) {
    this.failed = failed;
    this.dialog = byId("where");
    this.body = byId("where-body");
    this.id = "";
    this.dialog.addEventListener("close", () => this.closed());
  }

  // The browser gives the focus back to the row's button, unless the list was drawn anew meanwhile.
  closed() {
    const button = document.querySelector(`#triggers tr[data-id="${CSS.escape(this.id)}"] button`);
    this.id = "";
    if (document.activeElement === document.body) (button ?? byId("triggers-scroll")).focus();
  }

  async open(id) {
    this.id = id;
    this.body.replaceChildren(el("p", { className: "quiet", textContent: "Looking…" }));
    if (!this.dialog.open) this.dialog.showModal();
    await this.refresh();
  }

  // A trigger has a new state.
  changed(report) {
    if (report.correlation_id === this.id) this.refresh();
  }

  async refresh() {
    const id = this.id;
    try {
      const found = await get(`/v1/where/${encodeURIComponent(id)}`);
      if (id === this.id) this.body.replaceChildren(...found.triggers.map(life));
    } catch (error) {
      if (!(error instanceof Refused)) { this.failed(error); return; }
      if (id === this.id) this.body.replaceChildren(el("p", { className: "error", textContent: error.message }));
    }
  }
}

function life(trigger) {
  const fact = (name, value) => (value ? [el("dt", { textContent: name }), el("dd", {}, value)] : []);
  const workflow = [trigger.namespace, trigger.workflowId].filter(Boolean).join(" / ");
  const steps = trigger.steps.map((step) => el("li", {},
    el("b", { textContent: step.step }), step.at ? time(step.at) : null,
    step.detail ? el("div", { className: "quiet breaks", textContent: step.detail }) : null));
  for (const lost of trigger.lost_reports ?? []) {
    steps.push(el("li", {}, el("b", { textContent: "report lost" }), time(lost.at),
      el("div", { className: "quiet breaks", textContent: `${lost.state} to ${lost.webhook}: ${lost.why}` })));
  }
  if (trigger.hangs) steps.push(hanging(trigger.hangs));
  return el("article", {},
    el("dl", { className: "facts" },
      ...fact("State", badge(trigger.state)),
      ...fact("Source", trigger.source),
      ...fact("Rule", trigger.rule),
      ...fact("Workflow", trigger.workflowId ? workflow : ""),
      ...Object.entries(trigger.outputs || {}).flatMap(([name, value]) =>
        fact(`Output ${name}`, el("span", { className: "mono breaks", textContent: value }))),
      ...fact("Event", el("span", { className: "mono", textContent: trigger.id })),
      ...fact("Correlation id", el("span", { className: "mono", textContent: trigger.correlation_id })),
      ...fact("Trace", trigger.traceparent && el("span", { className: "mono", textContent: trigger.traceparent.split("-")[1] }))),
    el("h3", { textContent: "What happened" }),
    el("ol", { className: "steps" }, ...steps));
}

function hanging(hangs) {
  return el("li", { className: "hangs" },
    el("b", { textContent: hangs.step }), hangs.since ? el("span", { className: "quiet", textContent: `waiting for ${age(hangs.since)}` }) : null,
    el("div", { className: "advice" }, el("div", { textContent: hangs.text }), hangs.advice ? el("div", { className: "quiet", textContent: hangs.advice }) : null));
}
