// Charts as inline SVG: one path each, drawn in the pixels that there are. Each says in words what it shows.

import { agentNow, counted, hourAndMinute, number, span } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const TOP = 14;
const BOTTOM = 18;

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The least round number that is not lower.
function ceiling(value) {
  let step = 1;
  for (;;) {
    for (const factor of [1, 2, 3, 4, 5, 6, 8]) if (step * factor >= value) return step * factor;
    step *= 10;
  }
}

function bars(values, width, scale, base) {
  const step = width / values.length;
  const thick = Math.max(1, step - (step > 3 ? 1 : 0.25));
  return values.map((value, place) => {
    if (!value) return "";
    const height = Math.max(1, value * scale);
    return `M${(place * step).toFixed(2)} ${base}v${-height.toFixed(2)}h${thick.toFixed(2)}V${base}z`;
  }).join("");
}

function lines(values, width, scale, base) {
  const step = width / values.length;
  let path = "";
  let area = "";
  let start = -1;
  values.forEach((value, place) => {
    if (value === null) { start = -1; return; }
    const x = ((place + 0.5) * step).toFixed(2);
    const y = (base - value * scale).toFixed(2);
    path += `${start < 0 ? "M" : "L"}${x} ${y}`;
    if (start < 0) { start = place; area += `M${x} ${base}`; }
    area += `L${x} ${y}`;
    if (place + 1 === values.length || values[place + 1] === null) area += `L${x} ${base}z`;
  });
  return { path, area };
}

export class Chart {
  // `figure`: with a caption whose `output` shows figures. `level`: a height at a time, not a number within a step.
  constructor(figure, name, { level = false } = {}) {
    this.name = name;
    this.level = level;
    this.output = figure.querySelector("output");
    this.drawing = svg("svg", { class: "chart", role: "img" });
    figure.append(this.drawing);
    this.cursor = null;
    this.data = null;
    new ResizeObserver(() => this.draw()).observe(this.drawing);
    this.drawing.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.drawing.addEventListener("pointerleave", () => { this.cursor = null; this.draw(); });
  }

  show(values, stepSeconds) {
    this.data = { values, step: stepSeconds };
    this.draw();
  }

  point(x) {
    if (this.data === null) return;
    const count = this.data.values.length;
    this.cursor = Math.max(0, Math.min(count - 1, Math.floor((x / this.drawing.clientWidth) * count)));
    this.draw();
  }

  draw() {
    const width = this.drawing.clientWidth;
    const height = this.drawing.clientHeight;
    if (this.data === null || width === 0) return;
    const { values, step } = this.data;
    const base = height - BOTTOM;
    const known = values.filter((value) => value !== null);
    const most = Math.max(0, ...known);
    const top = ceiling(most);
    const scale = (base - TOP) / top;
    const now = agentNow();
    const start = now - values.length * step * 1000;
    const parts = [
      ...[TOP, (TOP + base) / 2, base].map((y) => svg("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y })),
    ];
    if (this.level) {
      const { path, area } = lines(values, width, scale, base);
      parts.push(svg("path", { class: "area", d: area }), svg("path", { class: "path", d: path }));
    } else {
      parts.push(svg("path", { class: "bars", d: bars(values, width, scale, base) }));
    }
    parts.push(svg("text", { x: 0, y: TOP - 4 }, this.level ? number(top) : `${number(top)} per ${span(step)}`));
    for (const [place, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
      const label = place === 1 ? "now" : hourAndMinute(start + place * (now - start));
      parts.push(svg("text", { x: place * width, y: height - 4, "text-anchor": anchor }, label));
    }
    if (this.cursor !== null) {
      const x = ((this.cursor + 0.5) * width) / values.length;
      parts.push(svg("line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: base }));
    }
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawing.replaceChildren(...parts);
    this.tell(values, step, known, most, start);
  }

  tell(values, step, known, most, start) {
    const last = known.length ? known[known.length - 1] : 0;
    const total = known.reduce((sum, value) => sum + value, 0);
    const over = span(values.length * step).replace(/^24 h$/, "day").replace(/^60 min$/, "hour");
    const summary = this.level
      ? `${number(last)} now, at most ${number(most)}`
      : `${number(total)} in the last ${over}`;
    const peak = this.level ? "" : `, at most ${number(most)} within ${span(step)}`;
    this.drawing.setAttribute("aria-label", `${this.name}: ${summary}${peak}`);
    if (this.cursor === null) {
      this.output.textContent = summary;
      return;
    }
    const value = values[this.cursor];
    const at = hourAndMinute(start + (this.cursor + 0.5) * step * 1000);
    this.output.textContent = `${at} · ${value === null ? "not seen" : this.level ? number(value) : counted(value, this.name === "Events in" ? "event" : "trigger")}`;
  }
}
