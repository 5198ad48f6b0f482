// What begins by the calendar.

import { get, send } from "./api.js";
import { badge, group, nothing, table, text, time } from "./shown.js";

export const load = async (_, signal) => (await get(["schedules"], {}, signal)).items;

function deeds({ name, is_paused: isPaused }, { may, act }) {
  if (!may("writer")) return "";
  const change = isPaused ? "resume" : "pause";
  return group(
    act(isPaused ? "Resume" : "Pause", `${change} ${name}`, () => send("POST", ["schedules", name, change])),
    act("Run now", `run ${name}`, () => send("POST", ["schedules", name, "run"])),
  );
}

export function draw(schedules, _, context) {
  if (!schedules.length) return [nothing("There are no schedules.")];
  const rows = schedules.map((each) => [
    each.name, each.kind, text("span", each.when, "mono"), each.zone || "", each.priority,
    each.is_paused ? badge("paused") : time(each.next_ns), deeds(each, context),
  ]);
  return [table("Schedules", ["Name", "Kind", "When", "Zone", "Priority", "Next", ""], rows)];
}
