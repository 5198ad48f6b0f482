// The list of records: thousands are there, a screen of them is in the page. One may be open.

import { put } from "./ansi.js";
import { lineOf } from "./line.js";
import { element } from "./make.js";
import { nsOf } from "./time.js";

const ROW = 20;
const SPARE = 12;
export const MOST = 100_000;
const OWN = new Set(["@time", "level", "severity_number", "source", "message", "repeats", "@marks", "@seen", "@id"]);

export class List {
  // onFilter(field, value, isWanted), onCopy(id), onTop(): older records are wanted, onSelect(id).
  constructor(box, sizer, handlers) {
    this.box = box;
    this.sizer = sizer;
    this.handlers = handlers;
    this.records = [];
    this.ids = new Set();
    this.selected = -1;
    this.open = -1;
    this.openHeight = 0;
    this.drawn = new Map();
    this.isAsked = false;
    this.sticks = false; // to the end, however high the box becomes
    box.addEventListener("scroll", () => {
      this.sticks = this.isAtEnd;
      this.draw();
    }, { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      if (this.sticks) box.scrollTop = box.scrollHeight;
      this.draw();
    }).observe(box);
  }

  get isAtEnd() {
    return this.box.scrollTop + this.box.clientHeight >= this.box.scrollHeight - 2 * ROW;
  }

  set(records) {
    this.records = [];
    this.ids.clear();
    this.selected = this.open = -1;
    this.openHeight = 0;
    this.clear();
    this.append(records, true);
  }

  // Those that are not here yet, each once: what a search found may have come live, too.
  fresh(records) {
    const byId = new Map(records.map((record) => [record["@id"], record]));
    return [...byId.values()].filter((record) => !this.ids.has(record["@id"]));
  }

  // Newer ones; those that are there already are left out. How many were new.
  append(records, toEnd = this.isAtEnd) {
    const fresh = this.fresh(records);
    for (const record of fresh) this.ids.add(record["@id"]);
    this.records = this.records.concat(fresh);
    const over = this.records.length - MOST;
    if (over > 0) this.drop(over);
    this.resize();
    if (toEnd) this.box.scrollTop = this.box.scrollHeight;
    this.sticks = toEnd;
    this.draw();
    return fresh.length;
  }

  // Older ones, before what is there; what is looked at stays where it is.
  prepend(records) {
    const fresh = this.fresh(records);
    for (const record of fresh) this.ids.add(record["@id"]);
    this.records = fresh.concat(this.records);
    this.shift(fresh.length);
    this.resize();
    this.box.scrollTop += fresh.length * ROW;
    this.draw();
    return fresh.length;
  }

  drop(count) {
    for (const record of this.records.splice(0, count)) this.ids.delete(record["@id"]);
    const atEnd = this.isAtEnd;
    this.shift(-count);
    if (!atEnd) this.box.scrollTop -= count * ROW;
  }

  shift(count) {
    this.selected = this.selected < 0 ? -1 : Math.max(-1, this.selected + count);
    this.open = this.open < 0 ? -1 : this.open + count;
    if (this.open < 0) this.openHeight = 0;
    this.clear();
  }

  clear() {
    for (const row of this.drawn.values()) row.remove();
    this.drawn.clear();
  }

  resize() {
    this.sizer.style.height = `${this.records.length * ROW + this.openHeight}px`;
    this.box.setAttribute("aria-rowcount", String(this.records.length));
  }

  topOf(index) {
    return index * ROW + (this.open >= 0 && index > this.open ? this.openHeight : 0);
  }

  indexAt(top) {
    if (this.open < 0 || top < (this.open + 1) * ROW) return Math.floor(top / ROW);
    return Math.max(this.open, Math.floor((top - this.openHeight) / ROW));
  }

  draw() {
    const top = this.box.scrollTop, bottom = top + this.box.clientHeight;
    const first = Math.max(0, this.indexAt(top) - SPARE);
    const last = Math.min(this.records.length, this.indexAt(bottom) + SPARE);
    for (const [index, row] of this.drawn) {
      if (index < first || index >= last) {
        row.remove();
        this.drawn.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      let row = this.drawn.get(index);
      if (!row) {
        row = this.row(index);
        this.drawn.set(index, row);
        this.sizer.append(row);
      }
      row.style.top = `${this.topOf(index)}px`;
    }
    if (top < 40 * ROW && this.records.length && !this.isAsked) {
      this.isAsked = true;
      Promise.resolve(this.handlers.onTop()).finally(() => { this.isAsked = false; });
    }
  }

  row(index) {
    const record = this.records[index];
    const row = element("div", `row ${record.level || "unset"}`);
    row.id = `row-${record["@id"]}`;
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", String(index + 1));
    row.setAttribute("aria-expanded", String(index === this.open));
    if (index === this.selected) row.classList.add("selected");
    const line = lineOf(record, index ? this.records[index - 1] : null);
    line.addEventListener("click", () => {
      if (String(getSelection())) return; // somebody marks text
      this.select(index);
      this.toggle(index);
    });
    row.append(line);
    if (index === this.open) row.append(this.details(record));
    return row;
  }

  details(record) {
    const box = element("div", "details");
    box.setAttribute("role", "cell");
    const message = element("pre", "whole");
    put(message, record.message, { whole: true, most: 200_000 });
    box.append(message);
    const fields = element("dl");
    for (const [name, value] of Object.entries(record)) {
      if (name === "message") continue;
      const term = element("dt");
      put(term, name, { most: 300 });
      const is = element("dd");
      const text = Array.isArray(value) ? value.join(" ") : String(value);
      const shown = element("span", "value");
      put(shown, text, { whole: true, most: 20_000 });
      is.append(shown);
      if (!name.startsWith("@") && name !== "severity_number" && name !== "repeats") {
        const field = OWN.has(name) ? name : name.startsWith("fields.") ? name.slice(7) : name;
        for (const [isWanted, sign, words] of [[true, "=", "Only"], [false, "≠", "Without"]]) {
          const button = element("button", "pick", sign);
          button.type = "button";
          button.title = `${words} ${name} = ${text.slice(0, 80)}`;
          button.setAttribute("aria-label", button.title);
          button.addEventListener("click", () => this.handlers.onFilter(field, value, isWanted));
          is.append(button);
        }
      }
      fields.append(term, is);
    }
    const link = element("button", "pick wide", "Copy link");
    link.type = "button";
    link.addEventListener("click", () => this.handlers.onCopy(record["@id"], link));
    const around = element("button", "pick wide", "Show around it");
    around.type = "button";
    around.addEventListener("click", () => this.handlers.onAround(record));
    box.append(fields, link, around);
    return box;
  }

  redraw(index) {
    const row = this.drawn.get(index);
    if (row) {
      row.remove();
      this.drawn.delete(index);
    }
  }

  toggle(index) {
    const was = this.open;
    this.open = was === index ? -1 : index;
    this.openHeight = 0;
    for (const changed of [was, index]) this.redraw(changed);
    this.draw();
    if (this.open >= 0) {
      const row = this.drawn.get(this.open);
      if (row) this.openHeight = row.offsetHeight - ROW;
    }
    this.resize();
    const bottom = this.topOf(index) + ROW + this.openHeight;
    if (this.open >= 0 && bottom > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = Math.min(this.topOf(index), bottom - this.box.clientHeight);
    }
    this.draw();
    this.handlers.onSelect(this.open >= 0 ? this.records[this.open]["@id"] : "");
  }

  select(index) {
    if (index < 0 || index >= this.records.length) return;
    const was = this.selected;
    this.selected = index;
    for (const changed of [was, index]) this.drawn.get(changed)?.classList.toggle("selected", changed === index);
    this.show(index);
    this.box.setAttribute("aria-activedescendant", `row-${this.records[index]["@id"]}`);
  }

  show(index) {
    const top = this.topOf(index);
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + ROW > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = top + ROW - this.box.clientHeight;
    }
    this.draw();
  }

  // Opens a record that is there, in the middle of the screen; whether it is.
  reveal(id) {
    const index = this.records.findIndex((record) => record["@id"] === id);
    if (index < 0) return false;
    this.box.scrollTop = Math.max(0, this.topOf(index) - this.box.clientHeight / 3);
    this.draw();
    this.select(index);
    if (this.open !== index) this.toggle(index);
    return true;
  }

  get firstNs() {
    return this.records.length ? nsOf(this.records[0]["@time"]) : null;
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target !== this.box) return;
    const last = this.records.length - 1, page = Math.floor(this.box.clientHeight / ROW) - 1;
    const to = {
      j: this.selected + 1, ArrowDown: this.selected + 1, k: this.selected - 1, ArrowUp: this.selected - 1,
      g: 0, Home: 0, G: last, End: last, PageDown: this.selected + page, PageUp: this.selected - page,
    }[event.key];
    if (to !== undefined) {
      const start = this.selected < 0 && ["j", "k", "ArrowDown", "ArrowUp"].includes(event.key);
      this.select(start ? this.indexAt(this.box.scrollTop + this.box.clientHeight - ROW) : Math.min(last, Math.max(0, to)));
    } else if (event.key === "Enter" && this.selected >= 0) this.toggle(this.selected);
    else if (event.key === "Escape" && this.open >= 0) this.toggle(this.open);
    else return;
    event.preventDefault();
  }
}
