// What pages ask of the server. The token is in this tab's memory, and in headers; never in an address.

const KEY = "vcache.token";

export class Refusal extends Error {
  constructor(status, detail, position) {
    super(detail);
    this.status = status;
    this.position = position;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

function headers(more = {}) {
  const text = token.get();
  return text ? { ...more, Authorization: `Bearer ${text}` } : more;
}

export async function ask(path, options = {}) {
  let reply;
  try {
    reply = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "the server does not answer");
  }
  if (reply.ok) return reply;
  let problem = {};
  try {
    problem = await reply.json();
  } catch { /* not ours: a proxy's page */ }
  throw new Refusal(reply.status, problem.detail || `the server says ${reply.status}`, problem.position ?? -1);
}

export async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield lines;
  }
  if (rest) yield [rest];
}

// Calls back with batches of server-sent events as they come, until the signal says to stop, or the server that there are
// no more; goes on where it was cut off. `onOpen` is called where it begins without an event to go on after.
export async function follow(path, after, { onOpen = () => {}, onEvents }, signal) {
  let last = after;
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 10_000)) {
    try {
      const reply = await ask(path, {
        signal, headers: last ? { "Last-Event-ID": last, Accept: "text/event-stream" } : { Accept: "text/event-stream" },
      });
      if (reply.status === 204) return;
      if (!last) onOpen();
      let kind = "", id = "";
      for await (const lines of linesOf(reply.body)) {
        const events = [];
        for (const line of lines) {
          if (line.startsWith("data: ")) events.push({ kind, data: JSON.parse(line.slice(6)) });
          else if (line.startsWith("event: ")) kind = line.slice(7);
          else if (line.startsWith("id: ")) id = line.slice(4);
          else if (line === "") {
            if (id) last = id;
            kind = "";
          }
        }
        if (events.length) onEvents(events);
        wait = 500;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.status >= 400 && error.status < 429) throw error;
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}
