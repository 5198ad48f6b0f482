// One job: all that is known of it, and its log as it comes.

import { ask, follow } from "./ask.js";
import { logOf, pathOf } from "./api.js";
import { deeds } from "./jobs.js";
import { lineOf } from "./line.js";
import { element } from "./make.js";
import { ENDED, badge, bar, failure, group, link, span, text, time } from "./shown.js";

const MOST_LINES = 1000;
const FIRST_LINES = 200;

// A number as it was written, where JavaScript has another one in its place.
const exact = (_, value, { source } = {}) =>
  typeof value === "number" && source && String(value) !== source && JSON.rawJSON ? JSON.rawJSON(source) : value;

export async function load({ id }, signal) {
  const text = await (await ask(pathOf("jobs", id), { signal })).text();
  const { payload, result } = JSON.parse(text, exact);
  return { ...JSON.parse(text), payload, result };
}

function facts(job) {
  const list = element("dl");
  const add = (name, value) => {
    if (value === "" || value === 0 || value === null || value === undefined) return;
    const is = element("dd");
    is.append(value instanceof Node ? value : text("span", value));
    list.append(element("dt", "", name), is);
  };
  add("Id", text("span", job.id, "mono"));
  add("Priority", job.priority);
  add("Created", time(job.created_ns));
  add("Not before", job.not_before_ns > job.created_ns ? time(job.not_before_ns) : "");
  add("Deadline", job.deadline_ns && time(job.deadline_ns));
  add("Due", ["queued", "retry"].includes(job.state) ? time(job.due_ns) : "");
  add("Started", job.started_ns && time(job.started_ns));
  add("Ended", job.finished_ns && time(job.finished_ns));
  add("Took", job.finished_ns && job.started_ns && span((job.finished_ns - job.started_ns) / 1e9));
  add("Attempts", job.attempts && `${job.attempts}${job.retries >= 0 ? ` of ${job.retries + 1}` : ""}`);
  add("Workers lost", job.kills);
  add("Time limit", job.timeout_s && span(job.timeout_s));
  add("Worker", job.worker);
  add("Unique", job.unique);
  add("After", job.after.length ? group(...job.after.flatMap((id) => [link(id, { id }), " "])) : "");
  add("Parent", job.parent && link(job.parent, { id: job.parent }));
  add("Tags", job.tags.join(" "));
  add("Trace", job.trace);
  add("Why", job.why);
  return list;
}

function part(title, ...nodes) {
  const box = element("section", "part");
  box.append(element("h2", "", title), ...nodes);
  return box;
}

const json = (value) => text("pre", JSON.stringify(value, null, 2), "json", { whole: true, most: 200_000 });

export function draw(job, _, context) {
  const head = element("header", "title");
  head.append(text("h1", job.kind), badge(job.state), deeds(job, context));
  const nodes = [head, bar(job.progress), facts(job), part("Payload", json(job.payload))];
  if (job.state === "completed") nodes.push(part("Result", json(job.result)));
  if (job.failures.length) nodes.push(part("Failures", ...job.failures.toReversed().map(failure)));
  return nodes;
}

// How far it is by now.
export function advance(box, progress) {
  box.querySelector(":scope > .progress")?.replaceWith(bar(progress));
}

// What a job does while it is looked at.
export class Attention {
  // onState(): it is another one; onProgress(progress); onFail(error).
  constructor(box, lines, logLink, handlers) {
    Object.assign(this, { box, lines, logLink, handlers, work: new AbortController() });
    this.leave();
  }

  leave() {
    this.work.abort();
    this.box.hidden = true;
    this.id = "";
    this.isBegun = this.isFollowing = false;
    this.last = this.latest = null; // of the lines, and of all records in the order in which they came
    this.lines.replaceChildren();
  }

  // Looks at a job from here on, where it does not yet.
  async attend(job) {
    if (this.id !== job.id) {
      this.leave();
      const work = this.work = new AbortController();
      this.id = job.id;
      this.logLink.href = `/logs/#q=${encodeURIComponent(job.log)}`;
      this.box.hidden = false;
      await this.begin();
      if (work.signal.aborted) return;
      this.isBegun = true;
    }
    if (this.isBegun && !this.isFollowing && !ENDED.has(job.state)) this.follow();
  }

  async begin() {
    const { signal } = this.work;
    try {
      const records = await logOf(this.id, FIRST_LINES, signal);
      if (!signal.aborted) this.add(records);
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      if (error.status !== 404 && error.status !== 503) this.handlers.onFail(error);
    }
  }

  follow() {
    const over = new AbortController(), { signal } = this.work;
    const isOver = () => signal.aborted || over.signal.aborted;
    this.isFollowing = true;
    const onEvents = (events) => {
      if (isOver()) return;
      this.add(events.filter(({ kind }) => kind === "log").map(({ data }) => data));
      const progress = events.findLast(({ kind }) => kind === "progress");
      if (progress) this.handlers.onProgress(progress.data);
      if (events.some(({ kind }) => kind === "end")) over.abort();
      if (events.some(({ kind }) => kind === "state")) this.handlers.onState();
    };
    follow(pathOf("jobs", this.id, "events"), this.latest?.["@id"] ?? "", { onEvents }, AbortSignal.any([signal, over.signal]))
      .catch((error) => { if (!isOver()) this.handlers.onFail(error); })
      .finally(() => { if (!signal.aborted) this.isFollowing = false; });
  }

  add(records) {
    if (!records.length) return;
    const { lines } = this;
    const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 40;
    for (const record of records) {
      const row = element("div", `row ${record.level || "unset"}`);
      row.setAttribute("role", "row");
      row.append(lineOf(record, this.last));
      lines.append(row);
      this.last = record;
      if (!this.latest || record["@seen"] >= this.latest["@seen"]) this.latest = record;
    }
    while (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
    if (isAtEnd) lines.scrollTop = lines.scrollHeight;
  }
}
