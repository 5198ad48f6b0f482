// The rows of an aggregation, as a table.

import { put } from "./ansi.js";

const MOST = 5000;

export class Rows {
  // onTemplate(text): one was picked.
  constructor(box, onTemplate) {
    this.box = box;
    this.onTemplate = onTemplate;
  }

  show(columns, rows, isTemplates) {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    const isNumber = columns.map((name) => rows.length > 0 && rows.every((row) => row[name] === null || typeof row[name] === "number"));
    const order = isTemplates ? [...columns].reverse() : columns;
    for (const name of order) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.className = isNumber[columns.indexOf(name)] ? "number" : "";
      put(cell, name);
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows.slice(0, MOST)) {
      const line = body.insertRow();
      for (const name of order) line.append(this.cell(name, row[name], isNumber[columns.indexOf(name)]));
    }
    this.box.replaceChildren(table);
    if (rows.length > MOST) this.box.append(`… and ${rows.length - MOST} more: add | limit`);
    this.box.scrollTop = 0;
  }

  cell(name, value, isNumber) {
    const cell = document.createElement("td");
    if (isNumber) {
      cell.className = "number";
      cell.textContent = value === null ? "" : value.toLocaleString("en");
    } else if (name === "@template" && value !== null) {
      const button = document.createElement("button");
      button.type = "button";
      button.addEventListener("click", () => this.onTemplate(value));
      put(button, String(value));
      cell.append(button);
    } else put(cell, value === null ? "" : String(value), { whole: true });
    return cell;
  }
}
