// A page of jobs of a state, and what one may do to each.

import { get, send } from "./api.js";
import { element } from "./make.js";
import { bar, group, link, nothing, table, text, time } from "./shown.js";

const PAGE = 50;

export async function load({ state, kind, cursor }, signal) {
  const [page, stats] = await Promise.all([
    get(["jobs"], { state: state || "queued", kind, cursor, limit: PAGE }, signal), get(["queues", "stats"], {}, signal),
  ]);
  return { page, stats };
}

// What may be done to a job in its state; nothing for readers.
export function deeds(job, { may, act, sure }) {
  const made = group();
  if (!may("writer")) return made;
  const add = (words, name, work) => made.append(act(words, `${name} ${job.id}`, work));
  const retry = (keep) => () => send("POST", ["jobs", job.id, "retry"], { keep_attempts: keep || undefined });
  if (["dead", "cancelled", "retry"].includes(job.state)) {
    add("Retry", "retry", retry(false));
    if (job.attempts) add("Retry, attempts kept", "retry-keep", retry(true));
  }
  if (["blocked", "queued", "running", "retry"].includes(job.state)) {
    add("Cancel", "cancel", async () => (await sure(`Cancel ${job.kind}?`, `${job.id}, and what waits for it.`))
      && send("DELETE", ["jobs", job.id], { why: "from the page" }));
  }
  return made;
}

// Ways to the first and the next page.
export function pages(said, next) {
  const box = element("nav", "pages");
  box.setAttribute("aria-label", "Pages");
  if (said.cursor) box.append(link("First page", { ...said, cursor: "" }));
  if (next) box.append(link("Next page", { ...said, cursor: next }));
  return box;
}

function standing(job) {
  if (job.state === "running") return group(text("span", job.worker, "mono", { most: 200 }), bar(job.progress));
  const last = job.failures.at(-1);
  return text("span", job.why || (last ? `${last.reason}: ${last.message}` : ""), "", { most: 200 });
}

export function draw({ page }, said, context) {
  if (!page.items.length) return [nothing("There are none."), pages(said, page.next)];
  const rows = page.items.map((job) => [
    link(job.kind, { id: job.id }, "to"), text("span", job.id, "mono"), job.priority, job.attempts, time(job.created_ns),
    time(["queued", "retry"].includes(job.state) ? job.due_ns : job.finished_ns || job.started_ns), standing(job), deeds(job, context),
  ]);
  const moment = { queued: "Due", retry: "Due", blocked: "", running: "Started" }[said.state || "queued"] ?? "Ended";
  const columns = ["Kind", "Id", "Priority", "#Attempts", "Created", moment, "", ""];
  return [table("Jobs", columns, rows), pages(said, page.next)];
}
