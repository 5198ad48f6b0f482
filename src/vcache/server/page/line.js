// A record of a log in a line: the same wherever records are shown.

import { put } from "./ansi.js";
import { element } from "./make.js";
import { clock, day } from "./time.js";

export function lineOf(record, before) {
  const time = element("time", "", clock(record["@time"]));
  time.dateTime = record["@time"];
  time.title = record["@time"];
  if (!before || day(before["@time"]) !== day(record["@time"])) time.dataset.day = day(record["@time"]);
  const level = element("span", "level", record.level || "");
  const source = element("span", "source");
  put(source, record.source || "", { most: 200 });
  const message = element("span", "message");
  put(message, record.message, { most: 1000 });
  if (record.repeats > 1) message.append(element("span", "times", `×${record.repeats}`));
  const line = element("div", "line");
  for (const cell of [time, level, source, message]) {
    cell.setAttribute("role", "cell");
    line.append(cell);
  }
  return line;
}
