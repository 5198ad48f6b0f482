// What is asked of the logs.

import { Refusal, ask, follow, linesOf } from "./ask.js";

const BASE = "/api/v1/logs";

export async function getJson(path, parameters, signal) {
  return (await ask(`${BASE}${path}?${new URLSearchParams(parameters)}`, { signal })).json();
}

export async function getRecord(id, signal) {
  return (await ask(`${BASE}/records/${encodeURIComponent(id)}`, { signal })).json();
}

// The rows of a query, and what is said at its end.
export async function query({ q, ...bounds }, signal) {
  const reply = await ask(`${BASE}/query?${new URLSearchParams(bounds)}`, {
    method: "POST", body: JSON.stringify({ q }), signal, headers: { "Content-Type": "application/json" },
  });
  const rows = [];
  for await (const lines of linesOf(reply.body)) for (const line of lines) if (line) rows.push(JSON.parse(line));
  const last = rows.pop();
  if (!last || !("@end" in last)) throw new Refusal(0, "the answer was cut off");
  return { rows, end: last["@end"] };
}

// Calls back with batches of records as they come: see `follow`.
export const tail = (parameters, after, { onOpen, onBatch, onDropped }, signal) =>
  follow(`${BASE}/tail?${new URLSearchParams(parameters)}`, after, {
    onOpen,
    onEvents: (events) => {
      for (const { kind, data } of events) if (kind === "dropped") onDropped(data.dropped);
      const records = events.filter(({ kind }) => kind === "" || kind === "record").map(({ data }) => data);
      if (records.length) onBatch(records);
    },
  }, signal);
