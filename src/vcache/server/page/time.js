// Times are nanoseconds as BigInt: a number holds no more than 256 of them exactly in this century.

export const MS = 1_000_000n;

export function nsOf(text) {
  const [, seconds, fraction = ""] = /^(-?[^.Z]+)(?:\.(\d+))?Z?$/.exec(text) || [];
  return BigInt(Date.parse(`${seconds}Z`)) * MS + BigInt(fraction.padEnd(9, "0").slice(0, 9) || 0);
}

export const dateOf = (ns) => new Date(Number(ns / MS));

const two = (number, width = 2) => String(number).padStart(width, "0");

export function clock(text) {
  const date = new Date(`${text.slice(0, 23)}Z`);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`;
}

export function day(text) {
  const date = new Date(`${text.slice(0, 23)}Z`);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

// A mark on an axis, as exact as its step asks for.
export function tick(ns, stepNs) {
  const date = dateOf(ns);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (stepNs >= 86_400n * 10n ** 9n) return `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  if (stepNs >= 3600n * 10n ** 9n) return `${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
  if (stepNs >= 60n * 10n ** 9n) return time;
  const full = `${time}:${two(date.getSeconds())}`;
  return stepNs >= 10n ** 9n ? full : `${full}.${two(date.getMilliseconds(), 3)}`;
}
