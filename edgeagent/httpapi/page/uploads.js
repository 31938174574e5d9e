// Large data on its way to the store, as `/v1/stats` has it under `artifacts` and `spool`: how far each upload is.

import { bytes, byId, counted, el, say, span } from "./dom.js";

const NAMED = { waiting: "waits", sending: "on the way", failed: "not taken", refused: "refused", done: "there" };
const KINDS = { sending: "good", failed: "warn", refused: "bad" };

let shown = "";

export function showUploads({ artifacts, spool }) {
  const section = byId("uploads-section");
  section.hidden = !artifacts;
  if (!artifacts) return;
  const { triggers, waiting_bytes: left, uploads, store } = artifacts;
  const coming = spool?.incoming ? ` ${counted(spool.incoming, "upload")} from devices not complete: ${bytes(spool.incoming_bytes)} of ${bytes(spool.incoming_reserved_bytes)} came.` : "";
  say(byId("uploads-foot"), (triggers ? `${counted(triggers, "trigger")} ${triggers === 1 ? "waits" : "wait"} for ${bytes(left)} on the way to ${store}.` : `Everything is in ${store}.`) + coming);
  const text = JSON.stringify(uploads);
  if (text === shown) return;
  shown = text;
  byId("uploads").replaceChildren(...uploads.map(upload));
}

function upload({ name, state, sent_bytes: sent, size, reason, next_try_s: next }) {
  const share = size ? sent / size : 1;
  const bar = el("i");
  bar.style.width = `${(share * 100).toFixed(1)}%`;
  const label = el("span", { className: "state", textContent: NAMED[state] ?? state });
  label.dataset.kind = KINDS[state] ?? "idle";
  const again = next ? `; tried again in ${span(next)}` : "";
  return el("li", {},
    el("p", { className: "row" }, el("span", { className: "mono breaks", textContent: name }), label),
    el("div", { className: "bar", ariaHidden: "true" }, bar),
    el("p", { className: "quiet small", textContent: `${bytes(sent)} of ${bytes(size)}, ${Math.floor(share * 100)} %${reason ? `: ${reason}${again}` : ""}` }));
}

// What needs attention: a store that takes nothing, and what it can never take.
export function* uploadProblems({ artifacts }) {
  if (!artifacts) return;
  if (artifacts.failing_since) yield ["warn", `${artifacts.store} does not take large data: ${artifacts.last_error}`, "Its triggers wait, all others go on. Run: edgeagent doctor; when it is mended: edgeagent reload"];
}
