// Text that nobody vouches for, as nodes: colours are kept, all else that would act is shown. Never as HTML.

const SGR = /^\x1b\[([0-9;:]{0,64})m/;
const SEQUENCE = /^\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,2048}(?:\x07|\x1b\\)|[@-Z\\^_-])/;
// Controls, directions, invisible characters, and bytes that were no UTF-8 (lone surrogates).
const ODD = /[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udfff]/;
const MOST_SPANS = 2000;

function shownAs(char) {
  const code = char.codePointAt(0);
  if (code === 0x0a) return "↵";
  if (code === 0x09) return "→";
  if (code < 0x20) return `^${String.fromCharCode(code + 64)}`;
  if (code === 0x7f) return "^?";
  if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function odd(text, title) {
  const span = document.createElement("span");
  span.className = "odd";
  span.textContent = text;
  if (title) span.title = title;
  return span;
}

function paletteOf(number) {
  if (number < 232) {
    const rest = number - 16;
    const part = (value) => (value ? value * 40 + 55 : 0);
    return `rgb(${part(Math.floor(rest / 36))},${part(Math.floor(rest / 6) % 6)},${part(rest % 6)})`;
  }
  const grey = (number - 232) * 10 + 8;
  return `rgb(${grey},${grey},${grey})`;
}

// The colour that begins at codes[at], and how many codes say it.
function colourAt(codes, at) {
  if (codes[at + 1] === 5) {
    const number = codes[at + 2] & 255;
    return [number < 16 ? number : paletteOf(number), 2];
  }
  if (codes[at + 1] === 2) {
    const [red, green, blue] = codes.slice(at + 2, at + 5).map((part) => part & 255);
    return [`rgb(${red || 0},${green || 0},${blue || 0})`, 4];
  }
  return [null, 0];
}

const PLAIN = { fg: null, bg: null, bold: false, dim: false, italic: false, under: false, strike: false, swap: false };

function styled(style, text) {
  const codes = text === "" ? [0] : text.split(/[;:]/).map(Number);
  const next = { ...style };
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at];
    if (code === 0) Object.assign(next, PLAIN);
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.under = true;
    else if (code === 7) next.swap = true;
    else if (code === 9) next.strike = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.under = false;
    else if (code === 27) next.swap = false;
    else if (code === 29) next.strike = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code === 39) next.fg = null;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 49) next.bg = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = colourAt(codes, at);
      if (colour !== null) next[code === 38 ? "fg" : "bg"] = colour;
      at += used;
    }
  }
  return next;
}

function dressed(text, style) {
  const classes = [];
  let fg = style.fg, bg = style.bg;
  if (style.swap) [fg, bg] = [bg ?? "swap", fg ?? "swap"];
  for (const name of ["bold", "dim", "italic", "under", "strike"]) if (style[name]) classes.push(name);
  if (typeof fg === "number" || fg === "swap") classes.push(`fg-${fg}`);
  if (typeof bg === "number" || bg === "swap") classes.push(`bg-${bg}`);
  const isRgb = [fg, bg].some((colour) => typeof colour === "string" && colour.startsWith("rgb"));
  if (!classes.length && !isRgb) return document.createTextNode(text);
  const span = document.createElement("span");
  span.className = classes.join(" ");
  if (typeof fg === "string" && fg.startsWith("rgb")) span.style.color = fg;
  if (typeof bg === "string" && bg.startsWith("rgb")) span.style.backgroundColor = bg;
  span.textContent = text;
  return span;
}

// Adds a text to an element. With `whole`, line ends and tabs are what they are; otherwise all is one line.
export function put(element, text, { whole = false, most = 20_000 } = {}) {
  let style = PLAIN, rest = text.length > most ? text.slice(0, most) : text, spans = 0;
  while (rest) {
    if (++spans > MOST_SPANS) {
      element.append(odd("…", "too many colours and odd characters: the rest is not shown"));
      return;
    }
    const match = ODD.exec(rest);
    const end = match ? match.index : rest.length;
    if (end) element.append(dressed(rest.slice(0, end), style));
    if (!match) break;
    rest = rest.slice(end);
    const colours = SGR.exec(rest);
    if (colours) {
      style = styled(style, colours[1]);
      rest = rest.slice(colours[0].length);
      continue;
    }
    const sequence = SEQUENCE.exec(rest);
    if (sequence) {
      const words = [...sequence[0]].map((char) => (ODD.test(char) ? shownAs(char) : char)).join("");
      element.append(odd(words.slice(0, 40), "a terminal's command"));
      rest = rest.slice(sequence[0].length);
      continue;
    }
    const char = match[0];
    if (whole && (char === "\n" || char === "\t")) element.append(document.createTextNode(char));
    else element.append(odd(shownAs(char), `U+${char.codePointAt(0).toString(16).padStart(4, "0")}`));
    rest = rest.slice(char.length);
  }
  if (text.length > most) element.append(odd("…", `${text.length} characters: the record's own page has them all`));
}
