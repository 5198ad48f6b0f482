"""logfmt: `level=info msg="it went well" took=3ms`, a record a line. Pure."""

from __future__ import annotations

from string import hexdigits
from typing import Final

from vcache.logs.receive.base import Parsed, as_text, unparsed
from vcache.logs.receive.framing import LineFramer
from vcache.logs.receive.guess import level_in
from vcache.logs.receive.mapping import record_of
from vcache.logs.record import Record

__all__ = ["Logfmt", "is_logfmt", "pairs_of"]

_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}
_CODES: Final = {"x": 2, "u": 4}
_BYTES: Final = 0xDC00  # bytes that are no UTF-8 are lone surrogates from here on (PEP 383)
_BEGINNINGS: Final = (
    "time=",
    "ts=",
    "level=",
    "lvl=",
    "msg=",
    "t=",
    "timestamp=",
    "severity=",
    "@timestamp=",
    "@time=",
)


def is_logfmt(line: str) -> bool:
    """Whether a line says so itself, by how it begins."""
    return line.startswith(_BEGINNINGS)


def pairs_of(line: str) -> dict[str, object] | None:
    """What a line says; None when it is none: every word is a name, or a name with a value."""
    found: dict[str, object] = {}
    at, size, has_value, equals = 0, len(line), False, -1
    while at < size:
        if line[at] in " \t":
            at += 1
            continue
        if equals < at:  # not looked for by each word: a line of words would take their number squared
            equals = line.find("=", at)
            equals = size if equals < 0 else equals
        space = line.find(" ", at)
        space = size if space < 0 else space
        if space <= equals:
            if '"' in line[at:space]:
                return None
            found[line[at:space]], at = True, space
            continue
        name = line[at:equals]
        if not name or '"' in name:
            return None
        taken = _value(line, equals + 1)
        if taken is None:
            return None
        found[name], at = taken
        has_value = True
    return found if has_value else None


def _value(line: str, at: int) -> tuple[str, int] | None:
    """The value that begins there, and where it ends; None for quotes without an end."""
    if line[at : at + 1] != '"':
        end = line.find(" ", at)
        end = len(line) if end < 0 else end
        return line[at:end], end
    end = line.find('"', at + 1)
    if end < 0:
        return None
    if "\\" not in line[at:end]:
        return (line[at + 1 : end], end + 1) if line[end + 1 : end + 2] in ("", " ", "\t") else None
    return _escaped(line, at + 1)


def _escaped(line: str, at: int) -> tuple[str, int] | None:
    found: list[str] = []
    while at < len(line) and line[at] != '"':
        if line[at] == "\\" and at + 1 < len(line):
            at += 1
            char, at = _unescaped(line, at)
            found.append(char)
        else:
            found.append(line[at])
        at += 1
    if at >= len(line) or line[at + 1 : at + 2] not in ("", " ", "\t"):
        return None
    return "".join(found), at + 1


def _unescaped(line: str, at: int) -> tuple[str, int]:
    """What an escape means whose letter is there, and where it ends."""
    size = _CODES.get(line[at], 0)
    digits = line[at + 1 : at + 1 + size]
    if not size or len(digits) < size or not all(digit in hexdigits for digit in digits):
        return _ESCAPES.get(line[at], line[at]), at
    code = int(digits, 16)
    return chr(code + _BYTES if size == 2 and code >= 0x80 else code), at + size


def record_of_line(line: str, now_ns: int, source: str) -> Record:
    """The record of one line."""
    pairs = pairs_of(line)
    if pairs is None:
        return unparsed(line, now_ns, source, level=level_in(line))
    return record_of(pairs, now_ns, source)


class Logfmt:
    """The format `logfmt`."""

    name = "logfmt"

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        stream = self.stream(source=source)
        return Parsed(stream.feed(data, now_ns=now_ns) + stream.end(now_ns=now_ns), [])

    def stream(self, *, source: str = "") -> LogfmtStream:
        return LogfmtStream(source)


class LogfmtStream:
    """A stream of `logfmt`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._framer = LineFramer()

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.feed(data), now_ns)

    def flush(self, *, now_ns: int) -> list[Record]:
        return []

    def end(self, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.end(), now_ns)

    def _records(self, block: bytes, now_ns: int) -> list[Record]:
        lines = as_text(block).split("\n")
        return [
            record_of_line(line.removesuffix("\r"), now_ns, self._source) for line in lines if line.strip()
        ]
