// Dead letters: what could not be done, with the evidence.

import { get, send } from "./api.js";
import { deeds, pages } from "./jobs.js";
import { element } from "./make.js";
import { failure, group, link, nothing, text, time } from "./shown.js";

const PAGE = 50;

export async function load({ kind, cursor }, signal) {
  const [page, stats] = await Promise.all([
    get(["dead"], { kind, cursor, limit: PAGE }, signal), get(["queues", "stats"], {}, signal),
  ]);
  return { page, stats };
}

function forAll(kind, { may, act, sure }) {
  const made = group();
  const which = kind ? `all dead jobs of the kind ${kind}` : "all dead jobs";
  const requeue = (keep) => async () => (await sure(`Retry ${which}?`, keep ? "Their attempts count on." : "They begin anew."))
    && send("POST", ["dead", "requeue"], { kind, keep_attempts: keep || undefined });
  if (may("writer")) {
    made.append(act("Retry all", "retry all", requeue(false)), act("Retry all, attempts kept", "retry-keep all", requeue(true)));
  }
  if (may("builder")) {
    made.append(act("Purge all", "purge all", async () => (await sure(`Purge ${which}?`, "They and their evidence are gone then."))
      && send("DELETE", ["dead"], { kind })));
  }
  return made;
}

function letter(job, context) {
  const box = element("article", "letter");
  const head = element("header");
  head.append(link(job.kind, { id: job.id }, "to"), text("span", job.id, "mono"), time(job.finished_ns),
    element("span", "quiet", `attempts: ${job.attempts}`), deeds(job, context));
  const last = job.failures.at(-1);
  const details = element("details");
  details.dataset.key = job.id;
  details.append(text("summary", last ? `${last.reason}: ${last.message}` : job.why || "no evidence", "", { most: 300 }));
  details.append(...job.failures.toReversed().map(failure));
  box.append(head, details);
  return box;
}

export function draw({ page }, said, context) {
  if (!page.items.length) return [nothing("There are no dead letters."), pages(said, page.next)];
  return [forAll(said.kind, context), ...page.items.map((job) => letter(job, context)), pages(said, page.next)];
}
