// Pieces of which views are made. Whatever somebody else wrote goes through `put`.

import { put } from "./ansi.js";
import { element } from "./make.js";

export const STATES = ["queued", "running", "retry", "blocked", "completed", "dead", "cancelled"];
export const ENDED = new Set(["completed", "dead", "cancelled"]);
export const PRIORITIES = ["critical", "high", "medium", "low"];

export const amount = (number) => (number ?? 0).toLocaleString("en").replaceAll(",", "\u202f");
export const hashOf = (said) => `#${new URLSearchParams(Object.entries(said).filter(([, value]) => value))}`;

export function text(name, said, className = "", options = {}) {
  const made = element(name, className);
  put(made, String(said), options);
  return made;
}

export function link(said, to, className = "") {
  const made = text("a", said, className, { most: 200 });
  made.href = hashOf(to);
  return made;
}

export function time(ns) {
  if (!ns) return element("span");
  const date = new Date(ns / 1e6);
  const isToday = date.toDateString() === new Date().toDateString();
  const made = element("time", "", isToday ? date.toLocaleTimeString() : date.toLocaleString());
  made.dateTime = made.title = date.toISOString();
  return made;
}

export function span(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${Number(seconds.toFixed(1))} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Number((seconds / 3600).toFixed(1))} h`;
}

export function badge(state) {
  return element("span", `badge ${state}`, state);
}

// How far a job says it is; nothing where it says nothing.
export function bar(progress) {
  const box = element("span", "progress");
  if (!progress) return box;
  const { done, total, note } = progress;
  const made = element("progress");
  made.setAttribute("aria-label", "Progress");
  if (total > 0) Object.assign(made, { max: total, value: Math.min(done, total) });
  const share = total > 0 ? `${Math.floor((done / total) * 100)} % ` : "";
  box.append(made, element("span", "share", share), text("span", note || "", "", { most: 300 }));
  return box;
}

// A table: names of columns, a `#` before those of numbers; rows are lists of texts, numbers or elements.
export function table(label, columns, rows) {
  const made = element("table");
  made.setAttribute("aria-label", label);
  const head = made.createTHead().insertRow();
  const isNumber = columns.map((name) => name.startsWith("#"));
  columns.forEach((name, at) => {
    const cell = element("th", isNumber[at] ? "number" : "", name.replace("#", ""));
    cell.scope = "col";
    head.append(cell);
  });
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((value, at) => {
      const cell = line.insertCell();
      if (isNumber[at]) cell.className = "number";
      if (value instanceof Node) cell.append(value);
      else put(cell, typeof value === "number" ? (value ? amount(value) : "") : String(value ?? ""), { most: 500 });
    });
  }
  return made;
}

export function group(...nodes) {
  const made = element("span", "group");
  made.append(...nodes);
  return made;
}

// What went wrong with an attempt.
export function failure(each) {
  const box = element("div", "failure");
  const head = element("p");
  head.append(element("b", "bad", each.reason), ` in attempt ${each.attempt}, `, time(each.at_ns), " ");
  if (each.worker) head.append("by ", text("span", each.worker, "mono", { most: 200 }));
  box.append(head, text("pre", each.message, "", { whole: true }));
  if (each.traceback) box.append(text("pre", each.traceback, "traceback", { whole: true, most: 100_000 }));
  return box;
}

export function nothing(words) {
  return element("p", "nothing", words);
}
