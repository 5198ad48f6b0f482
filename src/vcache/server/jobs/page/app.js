// The page: a view, which looks again every moment. Where one is, is in the address behind `#`.

import { Refusal } from "./ask.js";
import { get } from "./api.js";
import * as dead from "./dead.js";
import { Door, themes } from "./frame.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import { button, element } from "./make.js";
import * as queues from "./queues.js";
import * as schedules from "./schedules.js";
import { STATES, amount, hashOf, link } from "./shown.js";
import * as workers from "./workers.js";

const VIEWS = { queues, jobs, dead, workers, schedules, job };
const ROLES = ["nobody", "reader", "writer", "builder", "admin"];
const EVERY_MS = 2000;
const $ = (id) => document.getElementById(id);

let said = {};
let role = "";
const drawn = new Map(); // a box, and of what its content was made, as text
let asked = new AbortController();
let timer = 0;

const door = new Door($("forget"), {
  onToken: () => enter(),
  onForget: () => {
    clearTimeout(timer);
    asked.abort();
    role = $("who").textContent = "";
    read();
  },
});
const attention = new job.Attention($("log"), $("lines"), $("log-link"), {
  onState: () => refresh(),
  onProgress: (progress) => job.advance($("view"), progress),
  onFail: (error) => fail(error),
});
const context = {
  may: (least) => ROLES.indexOf(role) >= ROLES.indexOf(least),
  act: (words, key, work) => {
    const made = button(words, async () => {
      if (made.ariaBusy === "true") return;
      made.ariaBusy = "true"; // disabled, it would lose the focus
      try {
        if (await work()) complain(null);
      } catch (error) {
        fail(error);
      }
      made.ariaBusy = "false";
      refresh();
    });
    made.dataset.key = key;
    return made;
  },
  sure,
};

// -- where one is -------------------------------------------------------------------------------

function read() {
  const hash = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const { state = "", kind = "", cursor = "", id = "" } = hash;
  const view = id ? "job" : Object.hasOwn(VIEWS, hash.view ?? "") ? hash.view : "queues";
  said = { view, state: STATES.includes(state) ? state : "", kind, cursor, id };
  for (const each of $("views").children) {
    if (each.hash === `#view=${view}`) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  drawn.clear();
  $("filters").hidden = !["jobs", "dead"].includes(view);
  $("states").hidden = view !== "jobs";
  $("view").replaceChildren();
  $("main").scrollTop = 0;
  attention.leave();
  complain(null);
}

async function enter() {
  try {
    role = (await get(["whoami"])).role;
    $("who").textContent = role;
    door.passed();
  } catch (error) {
    return fail(error);
  }
  return refresh();
}

// -- looking ------------------------------------------------------------------------------------

async function refresh() {
  clearTimeout(timer);
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  const view = VIEWS[said.view];
  try {
    const data = await view.load(said, signal);
    if (signal.aborted) return;
    render(data);
    say(`As of ${new Date().toLocaleTimeString()}`);
    if (view === job) attention.attend(data);
    if ($("complaint").dataset.isOfLook) complain(null);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    fail(error, true);
    if (!(error instanceof Refusal) || (error.status >= 400 && error.status < 429)) return;
  }
  timer = setTimeout(() => (document.hidden ? null : refresh()), EVERY_MS);
}

function render(data) {
  if (!$("filters").hidden) filter(data.stats);
  swap($("view"), data.page ?? data, () => VIEWS[said.view].draw(data, said, context));
}

// Puts into a box what is to be seen of something, where that is not what it was; what has the focus keeps it.
function swap(box, data, draw) {
  const text = JSON.stringify(data);
  if (drawn.get(box) === text) return;
  drawn.set(box, text);
  const keyOf = (each) => each.dataset.key ?? each.getAttribute("href") ?? "";
  const held = box.contains(document.activeElement) ? keyOf(document.activeElement) : "";
  const open = new Set([...box.querySelectorAll("details[open]")].map(keyOf));
  box.replaceChildren(...draw());
  for (const each of box.querySelectorAll("details")) each.open = open.has(keyOf(each));
  if (held) [...box.querySelectorAll("a, button")].find((each) => keyOf(each) === held)?.focus();
}

function filter({ states, waiting, totals }) {
  swap($("states"), [states, said], () => STATES.map((state) => {
    const made = link(state, { view: "jobs", state, kind: said.kind });
    made.append(element("small", "", ` ${amount(states[state])}`));
    if (state === (said.state || "queued")) made.setAttribute("aria-current", "page");
    return made;
  }));
  const kinds = [...new Set([...Object.keys(waiting), ...Object.keys(totals), said.kind])].filter(Boolean).sort();
  const known = [...$("kind").options].map(({ value }) => value).filter(Boolean);
  if (String(kinds) !== String(known)) $("kind").replaceChildren(new Option("Every kind", ""), ...kinds.map((each) => new Option(each, each)));
  $("kind").value = said.kind;
}

// -- what is said -------------------------------------------------------------------------------

const say = (words) => { $("status").textContent = words; };

// With `isOfLook`, until a look at it all succeeds again.
function complain(error, isOfLook = false) {
  $("complaint").hidden = !error;
  $("complaint").textContent = error ? error.message : "";
  $("complaint").dataset.isOfLook = isOfLook ? "yes" : "";
}

function fail(error, isOfLook = false) {
  if (!door.isShut(error)) complain(error, isOfLook);
}

// Whether somebody means it.
function sure(title, words) {
  const dialog = $("sure");
  $("sure-title").textContent = title;
  $("sure-words").textContent = words;
  dialog.returnValue = "no";
  dialog.showModal();
  $("sure-yes").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// -- what people do -----------------------------------------------------------------------------

$("kind").addEventListener("change", () => {
  location.hash = hashOf({ view: said.view, state: said.state, kind: $("kind").value });
});
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("wanted").value.trim()) location.hash = hashOf({ id: $("wanted").value.trim() });
});
$("help").addEventListener("click", () => $("helping").showModal());
document.addEventListener("visibilitychange", () => { if (!document.hidden && role) refresh(); });

function step(by) {
  const ways = [...$("view").querySelectorAll("a.to")];
  const at = ways.indexOf(document.activeElement);
  ways[at < 0 ? (by > 0 ? 0 : ways.length - 1) : Math.min(ways.length - 1, Math.max(0, at + by))]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") $("main").focus();
    return;
  }
  if (event.key === "/") $("wanted").focus();
  else if (/^[1-5]$/.test(event.key)) $("views").children[event.key - 1].click();
  else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else if (event.key === "r") role ? refresh() : enter();
  else if (event.key === "?") $("helping").showModal();
  else return;
  event.preventDefault();
});
window.addEventListener("hashchange", () => {
  read();
  if (role) refresh();
});

themes($("theme"));
read();
enter();
