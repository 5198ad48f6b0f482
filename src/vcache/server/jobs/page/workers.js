// Who works, and what they hold.

import { get, send } from "./api.js";
import { group, link, nothing, span, table, text } from "./shown.js";

const MOST = 1000;

export async function load(_, signal) {
  const [{ items }, running] = await Promise.all([
    get(["workers"], {}, signal), get(["jobs"], { state: "running", limit: MOST }, signal),
  ]);
  const held = Object.groupBy(running.items, (job) => job.worker);
  return items.map(({ beats, ...each }) => ({
    ...each, held: (held[each.worker] || []).map(({ id, kind }) => ({ id, kind })),
  }));
}

export function draw(workers, _, { may, act, sure }) {
  if (!workers.length) return [nothing("Nobody works.\n\nvcache worker --module MODULE --queue " + location.origin)];
  const rows = workers.map((each) => {
    const held = group();
    for (const { id, kind } of each.held) held.append(link(kind, { id }, "to"), " ");
    const end = async () => (await sure(`Give back what ${each.worker} holds?`, "Others get it; what it says of that is refused."))
      && send("DELETE", ["workers", each.id]);
    const deed = may("builder") ? group(act("Give back", `end ${each.id}`, end)) : "";
    return [text("span", each.worker, "mono"), text("span", each.id, "mono"), each.kinds.join(" ") || "all", each.n_held, held,
      span(each.lease_s), deed];
  });
  return [table("Workers", ["Worker", "Session", "Kinds", "#Holds", "Jobs", "Lease", ""], rows)];
}
