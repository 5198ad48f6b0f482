// Bars of records over time, stacked by level: a click or a drag picks times.

import { MS, dateOf, nsOf, tick } from "./time.js";

const LEVELS = ["critical", "error", "warning", "note", "info", "debug", "trace", ""];
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 64;

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export class Histogram {
  // onPick(fromNs, toNs)
  constructor(svg, axis, tip, onPick) {
    Object.assign(this, { svg, axis, tip, onPick, bars: [], from: null });
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.addEventListener("pointerdown", (event) => this.begin(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    svg.addEventListener("pointerup", (event) => this.end(event));
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  show({ from, to, step_ns: step, buckets }) {
    this.step = BigInt(step);
    this.first = (nsOf(from) / this.step) * this.step;
    const last = nsOf(to);
    this.count = Math.max(1, Number((last - this.first + this.step - 1n) / this.step));
    this.bars = buckets.map(({ at, levels }) => ({
      ns: nsOf(at), levels, total: Object.values(levels).reduce((sum, count) => sum + count, 0),
    }));
    const top = Math.max(1, ...this.bars.map((bar) => bar.total));
    const width = WIDTH / this.count;
    this.svg.replaceChildren();
    for (const bar of this.bars) this.svg.append(this.bar(bar, width, top));
    this.band = shape("rect", { class: "band", y: 0, height: HEIGHT, width: 0 });
    this.svg.append(this.band);
    this.marks();
  }

  bar(bar, width, top) {
    const x = Number((bar.ns - this.first) / this.step) * width;
    const group = shape("g", { class: "bar", tabindex: 0, role: "button", "aria-label": this.words(bar) });
    let y = HEIGHT;
    for (const level of [...LEVELS].reverse()) {
      const count = bar.levels[level];
      if (!count) continue;
      const height = Math.max((count / top) * (HEIGHT - 4), 1);
      y -= height;
      group.append(shape("rect", {
        class: level || "unset", x: x + width * 0.08, y, width: Math.max(width * 0.84, 0.6), height,
      }));
    }
    group.append(shape("rect", { class: "hit", x, y: 0, width, height: HEIGHT }));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.onPick(bar.ns, bar.ns + this.step);
      }
    });
    return group;
  }

  words(bar) {
    const parts = LEVELS.filter((level) => bar.levels[level]).map((level) => `${bar.levels[level]} ${level || "unset"}`);
    return `${dateOf(bar.ns).toLocaleString()}: ${bar.total} records, ${parts.join(", ")}`;
  }

  marks() {
    this.axis.replaceChildren();
    const most = 6;
    for (let at = 0; at <= most; at++) {
      const ns = this.first + (this.step * BigInt(this.count) * BigInt(at)) / BigInt(most);
      const mark = document.createElement("span");
      const span = (this.step * BigInt(this.count)) / BigInt(most);
      mark.textContent = tick(ns, span);
      this.axis.append(mark);
    }
  }

  indexAt(event) {
    const box = this.svg.getBoundingClientRect();
    const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.999999);
    return Math.floor(part * this.count);
  }

  begin(event) {
    if (event.button !== 0 || !this.count) return;
    this.from = this.indexAt(event);
    try {
      this.svg.setPointerCapture(event.pointerId);
    } catch { /* the pointer is gone already */ }
  }

  move(event) {
    if (!this.count) return;
    const at = this.indexAt(event);
    const bar = this.bars.find((each) => each.ns === this.first + this.step * BigInt(at));
    this.tip.hidden = !bar;
    if (bar) {
      this.tip.textContent = this.words(bar);
      this.tip.style.left = `${Math.min(event.clientX + 12, innerWidth - 340)}px`;
    }
    if (this.from !== null && this.band) {
      const width = WIDTH / this.count, [low, high] = [Math.min(this.from, at), Math.max(this.from, at)];
      this.band.setAttribute("x", String(low * width));
      this.band.setAttribute("width", String((high - low + 1) * width));
    }
  }

  end(event) {
    if (this.from === null) return;
    const at = this.indexAt(event);
    const [low, high] = [Math.min(this.from, at), Math.max(this.from, at)];
    this.from = null;
    this.band?.setAttribute("width", "0");
    this.onPick(this.first + this.step * BigInt(low), this.first + this.step * BigInt(high + 1));
  }
}

export const rangeWords = (fromNs, toNs) =>
  `${dateOf(fromNs).toLocaleString()} – ${dateOf(toNs + MS - 1n).toLocaleString()}`;
