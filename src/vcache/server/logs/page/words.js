// Queries as text: terms are added to what somebody wrote.

const NAME = /^(?:@(?:time|seen|id|marks|template|repeats)|[^\W\d][\w.@/-]*)$/u;
const RESERVED = new Set(["and", "or", "not", "in", "contains", "by", "as"]);

export function nameOf(field) {
  return NAME.test(field) && !RESERVED.has(field.toLowerCase()) ? field : `\`${field.replaceAll("`", "``")}\``;
}

export function valueOf(value) {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = String(value).replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  return `"${text.replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t")}"`;
}

export const term = (field, value, isWanted) => `${nameOf(field)} ${isWanted ? "=" : "!="} ${valueOf(value)}`;

// The query with one more condition, before its steps; the same where it says so already.
export function withTerm(text, field, value, isWanted) {
  const more = term(field, value, isWanted);
  const [, where, steps] = /^((?:[^"'`|]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)*)(.*)$/s.exec(text);
  const condition = where.trim();
  if (condition.split(" and ").includes(more)) return text;
  const before = /\bor\b/i.test(condition) ? `(${condition})` : condition;
  return `${before && before !== "*" ? `${before} and ` : ""}${more}${steps ? ` ${steps}` : ""}`;
}
