// What is asked of the jobs.

import { ask } from "./ask.js";

const BASE = "/api/v1";

// A path of its parts, each of which may have any characters.
export const pathOf = (...parts) => `${BASE}/${parts.map(encodeURIComponent).join("/")}`;

function withQuery(path, parameters) {
  const said = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined));
  return String(said) ? `${path}?${said}` : path;
}

export async function get(parts, parameters = {}, signal = undefined) {
  return (await ask(withQuery(pathOf(...parts), parameters), { signal })).json();
}

export async function send(method, parts, parameters = {}) {
  const reply = await ask(withQuery(pathOf(...parts), parameters), { method });
  return reply.json();
}

// The last records of a job, from the oldest on.
export async function logOf(id, last, signal) {
  const reply = await ask(withQuery(pathOf("jobs", id, "log"), { last }), { signal });
  const rows = (await reply.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return rows.filter((row) => "@id" in row);
}
