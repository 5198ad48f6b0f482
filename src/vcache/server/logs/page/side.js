// A build's nodes, with how many errors and warnings each has.

import { put } from "./ansi.js";
import { term, valueOf } from "./words.js";

const MOST_RUNS = 50;

export class Side {
  // ask(query) gives rows; onPick(field, value); onRun(run).
  constructor(box, runs, nodes, handlers) {
    Object.assign(this, { box, runs, nodes, handlers });
    runs.addEventListener("change", () => handlers.onRun(runs.value));
  }

  withoutRun(text, run) {
    const cleaned = text.replace(/(?:^| and )run = "(?:[^"\\]|\\.)*"/g, "").replace(/^ and /, "").trim();
    return run ? `${cleaned ? `${cleaned} and ` : ""}${term("run", run, true)}` : cleaned;
  }

  async show(run, where) {
    const { rows: found } = await this.handlers.ask(
      `run | stats max(@time) as last, count() as n by run | sort -last | limit ${MOST_RUNS}`);
    const names = found.map((row) => String(row.run));
    const chosen = run || names.find((name) => where.includes(`run = ${valueOf(name)}`)) || "";
    if (chosen && !names.includes(chosen)) names.push(chosen);
    this.box.classList.toggle("none", !names.length);
    if (!names.length) return;
    const options = names.map((name) => new Option(name, name, false, name === chosen));
    this.runs.replaceChildren(new Option("Every run", "", false, !chosen), ...options);
    const condition = chosen ? term("run", chosen, true) : "run";
    const { rows } = await this.handlers.ask(`${condition} and node | count by node, level`);
    this.draw(this.sums(rows), where);
  }

  sums(rows) {
    const nodes = new Map();
    for (const { node, level, count } of rows) {
      const sum = nodes.get(node) || { node, all: 0, errors: 0, warnings: 0 };
      sum.all += count;
      if (level === "error" || level === "critical") sum.errors += count;
      if (level === "warning") sum.warnings += count;
      nodes.set(node, sum);
    }
    return [...nodes.values()].sort((one, other) =>
      other.errors - one.errors || other.warnings - one.warnings || String(one.node).localeCompare(String(other.node)));
  }

  draw(sums, where) {
    this.nodes.replaceChildren();
    for (const { node, all, errors, warnings } of sums.slice(0, 1000)) {
      const button = document.createElement("button");
      button.type = "button";
      button.title = `${node}: ${all} records`;
      button.setAttribute("aria-pressed", String(where.includes(term("node", node, true))));
      button.setAttribute("aria-label", `${node}: ${errors} errors, ${warnings} warnings, ${all} records`);
      const name = document.createElement("span");
      name.className = "name";
      put(name, String(node), { most: 200 });
      button.append(name);
      for (const [kind, count, sign] of [["error", errors, "✖"], ["warning", warnings, "▲"]]) {
        if (!count) continue;
        const badge = document.createElement("span");
        badge.className = `n-${kind}`;
        badge.textContent = `${sign} ${count}`;
        button.append(badge);
      }
      button.addEventListener("click", () => this.handlers.onPick("node", node));
      const item = document.createElement("li");
      item.append(button);
      this.nodes.append(item);
    }
  }
}
