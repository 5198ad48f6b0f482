// The page: one query, its times, and what is shown of it. All of that is in the address behind `#`.

import { getJson, getRecord, query, tail } from "./api.js";
import { Door, themes } from "./frame.js";
import { Histogram, rangeWords } from "./histogram.js";
import { List } from "./list.js";
import { Rows } from "./rows.js";
import { Side } from "./side.js";
import { nsOf } from "./time.js";
import { withTerm } from "./words.js";

const PAGE = 1000;
const TAIL_MS = 100;
const $ = (id) => document.getElementById(id);

const state = { q: "", range: "", from: "", to: "", view: "records", id: "", run: "" };
let asked = new AbortController();
let live = null;

const list = new List($("list"), $("sizer"), {
  onFilter: (field, value, isWanted) => go({ q: withTerm(state.q, field, value, isWanted), id: "" }),
  onCopy: copyLink,
  onAround: (record) => go({ q: "", range: "", from: "", to: "", view: "records", id: record["@id"] }),
  onSelect: (id) => note({ id }),
  onTop: older,
});
const rows = new Rows($("table"), (template) => go({ q: withTerm(whereOf(state.q), "@template", template, true), view: "records" }));
const side = new Side($("side"), $("run"), $("nodes"), {
  ask: (text) => query({ ...times(), q: text }, asked.signal),
  onPick: (field, value) => go({ q: withTerm(state.q, field, value, true), id: "" }),
  onRun: (run) => go({ run, q: side.withoutRun(state.q, run), id: "" }),
});
const histogram = new Histogram($("histogram"), $("axis"), $("tip"), (from, to) =>
  go({ range: "custom", from: String(from), to: String(to), id: "" }));

const door = new Door($("forget"), {
  onToken: () => search(),
  onForget: () => {
    setLive(false);
    list.set([]);
  },
});

// -- the address --------------------------------------------------------------------------------

function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) state[name] = said.get(name) || (name === "view" ? "records" : "");
  $("query").value = state.q;
  const isCustom = Boolean(state.from || state.to);
  const custom = $("range").querySelector("[value=custom]");
  custom.hidden = !isCustom;
  if (isCustom) custom.textContent = rangeWords(BigInt(state.from || 0), BigInt(state.to || 0));
  $("range").value = isCustom ? "custom" : state.range;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
  }
}

function hashOf(change) {
  const said = new URLSearchParams(Object.entries({ ...state, ...change }).filter(([name, value]) =>
    value && !(name === "view" && value === "records") && !(name === "range" && value === "custom")));
  return `#${said}`;
}

// To another query: a step that the browser's way back knows.
function go(change) {
  const hash = hashOf(change);
  if (hash === (location.hash || "#")) search();
  else location.hash = hash;
}

// The same query, with another record open: no step.
function note(change) {
  Object.assign(state, change);
  history.replaceState(null, "", hashOf({}));
}

async function copyLink(id, button) {
  const link = new URL(location.href);
  link.hash = `id=${id}`;
  try {
    await navigator.clipboard.writeText(String(link));
    button.textContent = "Copied";
  } catch {
    note({ id });
    button.textContent = "The link is in the address bar";
  }
}

// -- asking -------------------------------------------------------------------------------------

function times() {
  if (state.from || state.to) {
    return { ...(state.from && { from: BigInt(state.from) }), ...(state.to && { to: BigInt(state.to) }) };
  }
  if (!state.range) return {};
  return { from: (BigInt(Date.now()) - BigInt(state.range) * 1000n) * 1_000_000n };
}

const whereOf = (text) => {
  // A bar in quotes is none.
  const match = /^((?:[^"'`|]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)*)/s.exec(text);
  return match[1].trim();
};
const hasSteps = () => whereOf(state.q) !== state.q.trim();

async function search() {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  complain(null);
  say("Searching…");
  $("gaps").textContent = "";
  try {
    if (state.id && !hasSteps()) await showRecord(signal);
    else await showAnswer(signal);
    door.passed();
    await Promise.all([showTimes(signal), side.show(state.run, whereOf(state.q))]);
    if (live) follow();
  } catch (error) {
    if (error.name !== "AbortError" && !signal.aborted) fail(error);
  }
}

async function showAnswer(signal) {
  const isTemplates = state.view === "templates";
  const text = isTemplates ? `${whereOf(state.q) || "*"} | count by @template | sort -count | limit 500` : state.q;
  const started = performance.now();
  const { rows: found, end } = await query({ q: text, last: PAGE, ...times() }, signal);
  const isRows = end.columns !== null;
  $("table").hidden = !isRows;
  $("list").hidden = isRows;
  if (isRows) rows.show(end.columns, found, isTemplates);
  else list.set(found);
  list.hasOlder = !isRows && found.length >= PAGE;
  tell(end, Math.round(performance.now() - started));
  nothing(found.length ? "" : state.q || state.from || state.range ? "No record fits." : NOTHING);
}

const NOTHING = `There are no logs yet.

make 2>&1 | curl --data-binary @- -H 'Content-Type: text/plain' '${location.origin}/api/v1/logs?source=make'`;

// A record among those around it.
async function showRecord(signal) {
  const wanted = state.id;
  const record = await getRecord(wanted, signal);
  const at = nsOf(record["@time"]);
  const [before, after] = await Promise.all([
    query({ q: state.q, to: at + 1n, last: PAGE / 2 }, signal),
    query({ q: `${state.q || "*"} | limit ${PAGE / 2}`, from: at }, signal),
  ]);
  $("table").hidden = true;
  $("list").hidden = false;
  nothing("");
  list.set(before.rows.some((row) => row["@id"] === wanted) || !state.q ? before.rows : [...before.rows, record]);
  list.append(after.rows, false);
  list.hasOlder = before.rows.length >= PAGE / 2;
  list.reveal(wanted);
  tell(before.end, null);
}

async function older() {
  if (!list.hasOlder || list.firstNs === null) return;
  list.hasOlder = false;
  const bounds = times();
  const { rows: found } = await query({ ...bounds, q: state.q, to: list.firstNs + 1n, last: PAGE }, asked.signal);
  list.hasOlder = list.prepend(found) > 0 && found.length >= PAGE;
  count();
}

async function showTimes(signal) {
  const bounds = Object.fromEntries(Object.entries(times()).map(([name, ns]) => [name, String(ns)]));
  const found = await getJson("/histogram", { q: whereOf(state.q), ...bounds }, signal);
  $("times").hidden = false;
  histogram.show(found);
}

// -- live ---------------------------------------------------------------------------------------

let waiting = [];
let dropped = 0;
let timer = 0;

function follow() {
  live?.abort();
  const mine = new AbortController();
  live = mine;
  waiting = [];
  const last = list.records.reduce((late, record) => (!late || record["@seen"] >= late["@seen"] ? record : late), null);
  const onBatch = (records) => {
    if (live !== mine) return;
    waiting = waiting.concat(records).slice(-PAGE * 20);
    timer ||= setTimeout(flush, TAIL_MS);
  };
  // What came between the search, which found nothing, and the beginning of the tail.
  const onOpen = () => query({ q: whereOf(state.q), last: PAGE, ...times() }, mine.signal)
    .then(({ rows: found }) => onBatch(found)).catch(() => {});
  const onDropped = (count) => { dropped += Math.max(count, 0); };
  tail({ q: whereOf(state.q) }, last?.["@id"] ?? "", { onOpen, onBatch, onDropped }, mine.signal).catch((error) => {
    if (live === mine) {
      setLive(false);
      fail(error);
    }
  });
}

function flush() {
  timer = 0;
  if (!waiting.length || !live || $("list").hidden) return;
  const atEnd = list.isAtEnd;
  const isNew = list.append(waiting, atEnd) > 0;
  waiting = [];
  nothing("");
  $("newest").hidden = atEnd || !isNew;
  count();
}

function setLive(isOn) {
  $("live").setAttribute("aria-pressed", String(isOn));
  live?.abort();
  live = null;
  if (!isOn) return;
  if (state.view !== "records" || hasSteps()) go({ view: "records", q: whereOf(state.q) });
  live = new AbortController();
  follow();
}

// -- what is said -------------------------------------------------------------------------------

const say = (text) => { $("status").textContent = text; };
const amount = (number) => number.toLocaleString("en").replaceAll(",", "\u202f");

function nothing(text) {
  $("empty").textContent = text;
  $("empty").hidden = !text;
}

let took = "";
function count() {
  say(`${amount(list.records.length)} records${dropped ? `, ${amount(dropped)} came too fast to be shown` : ""}${took}`);
}

function tell(end, ms) {
  const { seen, gaps } = end;
  took = ms === null ? "" : ` · ${amount(seen.records)} looked at · ${ms} ms`;
  if (end.columns) say(`${amount(end.rows)} rows${took}`);
  else count();
  const lost = gaps.map((gap) => `${gap.records ?? "some"} records: ${gap.reason}`);
  $("gaps").textContent = gaps.length ? `Cannot be read: ${lost.join("; ")}` : end.is_cut ? "The query took too long: this is a part." : "";
}

function complain(error) {
  const box = $("complaint");
  box.hidden = !error;
  box.textContent = error ? error.message : "";
  $("query").setAttribute("aria-invalid", String(Boolean(error)));
  if (error?.position >= 0 && document.activeElement === $("query")) {
    $("query").setSelectionRange(error.position, error.position);
  }
}

function fail(error) {
  say("");
  if (!door.isShut(error)) complain(error);
}

// -- what people do -----------------------------------------------------------------------------

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ q: $("query").value.trim(), id: "" });
});
$("range").addEventListener("change", () => {
  if ($("range").value !== "custom") go({ range: $("range").value, from: "", to: "", id: "" });
});
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => {
    if (button.dataset.view !== "records") setLive(false);
    go({ view: button.dataset.view, id: "" });
  });
}
$("live").addEventListener("click", () => setLive(!live));
$("newest").addEventListener("click", () => {
  $("list").scrollTop = $("list").scrollHeight;
  $("newest").hidden = true;
});
$("list").addEventListener("scroll", () => { if (list.isAtEnd) $("newest").hidden = true; }, { passive: true });
$("help").addEventListener("click", () => $("helping").showModal());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") $("list").focus();
    return;
  }
  if (event.key === "/") $("query").focus();
  else if (event.key === "l") setLive(!live);
  else if (event.key === "z") go({ range: "", from: "", to: "" });
  else if (event.key === "?") $("helping").showModal();
  else if (["j", "k"].includes(event.key) && event.target !== $("list")) $("list").focus();
  else return;
  event.preventDefault();
});
window.addEventListener("hashchange", () => { read(); search(); });

themes($("theme"));
read();
search();
