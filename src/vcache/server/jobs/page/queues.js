// How much of what there is.

import { get } from "./api.js";
import { element } from "./make.js";
import { PRIORITIES, STATES, amount, hashOf, link, nothing, table, time } from "./shown.js";

export const load = async (_, signal) => ({ stats: await get(["queues", "stats"], {}, signal) });

function tile(count, words, to, className) {
  const made = element("a", `tile ${className}`);
  made.href = hashOf(to);
  made.append(element("b", "", amount(count)), element("span", "", words));
  return made;
}

export function draw({ stats }) {
  const tiles = element("div", "tiles");
  for (const state of STATES) {
    tiles.append(tile(stats.states[state], state, state === "dead" ? { view: "dead" } : { view: "jobs", state }, state));
    if (state === "queued") tiles.append(tile(stats.delayed, "delayed", { view: "jobs", state }, "delayed"));
  }
  tiles.append(tile(stats.workers, "workers", { view: "workers" }, "workers"));
  const kinds = [...new Set([...Object.keys(stats.waiting), ...Object.keys(stats.totals)])].sort();
  if (!kinds.length) return [tiles, nothing("There are no jobs yet.")];
  const rows = kinds.map((kind) => {
    const totals = stats.totals[kind] || {};
    return [link(kind, { view: "jobs", state: "queued", kind }), ...PRIORITIES.map((each) => stats.waiting[kind]?.[each] ?? 0),
      totals.submitted, totals.completed, totals.failed, totals.retried, totals.dead, totals.cancelled];
  });
  const waiting = element("p", "quiet", stats.oldest_ns ? "The oldest that waits came at " : "");
  if (stats.oldest_ns) waiting.append(time(stats.oldest_ns));
  const columns = ["Kind", ...PRIORITIES.map((each) => `#${each}`), "#submitted", "#completed", "#failed", "#retried", "#dead",
    "#cancelled"];
  return [tiles, table("Waiting by kind and priority, and totals", columns, rows), waiting];
}
