"""Plain lines that any tool wrote for people: level, place and option of what says them. Pure.

The message is what came, with its colours; lines that belong together are one. Empty lines between
others say nothing and are left out.
"""

from __future__ import annotations

import re
from typing import Final

from vcache.kit.diagnostics import Diagnostic, parse
from vcache.logs.receive.base import MESSAGE_BYTES, Parsed, as_text
from vcache.logs.receive.folding import Folder, Group, Kind
from vcache.logs.receive.framing import LineFramer
from vcache.logs.receive.guess import bare, level_in
from vcache.logs.receive.logfmt import is_logfmt, pairs_of
from vcache.logs.receive.mapping import record_of
from vcache.logs.receive.times import iso_ns
from vcache.logs.record import Mark, Record
from vcache.query.levels import ERROR, level_of
from vcache.query.syntax import Value

__all__ = ["LineStream", "Lines"]

_SAID_CHARS: Final = 2000  # longer lines are not searched for the place of a diagnostic
_STAMP: Final = re.compile(
    r"\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d))\b"
)  # without a zone it may be any
_RUST_CODE: Final = re.compile(r"(?<=^error)\[\w{1,20}\](?=:)|(?<=^warning)\[\w{1,20}\](?=:)")
_RUST_PLACE: Final = re.compile(r"\s*--> ([^\n]{1,1000}?):(\d{1,9}):(\d{1,9})$", re.MULTILINE)


class Lines:
    """The format `lines`."""

    name = "lines"

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        stream = self.stream(source=source)
        return Parsed(stream.feed(data, now_ns=now_ns) + stream.end(now_ns=now_ns), [])

    def stream(self, *, source: str = "") -> LineStream:
        return LineStream(source)


class LineStream:
    """A stream of `lines`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._framer = LineFramer()
        self._folder = Folder()
        self._held_ns = 0  # when the first line came of what the folder holds

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.feed(data), now_ns)

    def flush(self, *, now_ns: int) -> list[Record]:
        return self._of_groups(self._folder.flush(), self._held_ns)

    def end(self, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.end(), now_ns) + self.flush(now_ns=now_ns)

    def _records(self, block: bytes, now_ns: int) -> list[Record]:
        if not block:
            return []
        lines = [line.removesuffix("\r") for line in as_text(block).split("\n")]
        del lines[-1]  # what follows the last line break
        was_held = self._folder.holds
        groups = self._folder.feed(lines)
        # What was held back is of the time at which it came: of several streams each keeps its place.
        early = self._of_groups(groups[:1], self._held_ns) if was_held else []
        if self._folder.holds and (groups or not was_held):
            self._held_ns = now_ns
        return early + self._of_groups(groups[1:] if was_held else groups, now_ns)

    def _of_groups(self, groups: list[Group], now_ns: int) -> list[Record]:
        found: list[Record] = []
        for kind, lines in groups:
            if kind is Kind.PLAIN:
                if lines[0]:
                    found.append(_plain(lines[0], now_ns, self._source))
            elif kind is Kind.SAID:
                found += _said(lines, now_ns, self._source)
            else:
                found.append(_trace(lines, now_ns, self._source))
        return found


def _plain(line: str, now_ns: int, source: str) -> Record:
    if is_logfmt(line) and (pairs := pairs_of(line)) is not None:
        return record_of(pairs, now_ns, source)
    marks = Mark.NO_TIME
    at_ns = now_ns
    if line[:1] in "[12" and (stamp := _STAMP.match(line)) and (said := iso_ns(stamp[1])) is not None:
        at_ns, marks = said, Mark(0)
    if len(line) >= MESSAGE_BYTES // 4 and len(line.encode("utf-8", "surrogateescape")) >= MESSAGE_BYTES:
        marks |= Mark.CUT
    shown = line[line.rfind("\r") + 1 :] if "\r" in line else line  # what a progress bar ended with
    return Record(at_ns, level_in(shown), source, line, {}, int(marks))


def _trace(lines: list[str], now_ns: int, source: str) -> Record:
    while len(lines) > 1 and not lines[-1]:
        lines.pop()
    level = ERROR if len(lines) > 1 else level_in(lines[0])
    return Record(now_ns, level, source, "\n".join(lines), {}, int(Mark.NO_TIME))


def _said(lines: list[str], now_ns: int, source: str) -> list[Record]:
    """Records of what a compiler said, and of the lines between that it did not say."""
    text = "\n".join(
        [_RUST_CODE.sub("", bare(line), count=1) if len(line) <= _SAID_CHARS else "" for line in lines]
    )
    found: list[Record] = []
    at = 0
    for said in parse(text):
        if said.first < at:  # of what the message before has taken
            continue
        found += _unsaid(lines[at : said.first], now_ns, source)
        found.append(_diagnostic(said, lines[said.first : said.last + 1], now_ns, source))
        at = said.last + 1
    return found + _unsaid(lines[at:], now_ns, source)


def _unsaid(lines: list[str], now_ns: int, source: str) -> list[Record]:
    return [_plain(line, now_ns, source) for line in lines if line]


def _diagnostic(said: Diagnostic, lines: list[str], now_ns: int, source: str) -> Record:
    fields: dict[str, Value] = {}
    file, line, column = said.file, said.line, said.column
    message = "\n".join(lines)
    if not line and (place := _RUST_PLACE.search(bare(message))) is not None:
        file, line, column = place[1], int(place[2]), int(place[3])
    if file:
        fields["file"] = file
    if line:
        fields["line"] = line
    if column:
        fields["column"] = column
    if said.option:
        fields["option"] = said.option
    if said.within:
        fields["within"] = ", ".join(said.within)
    return Record(now_ns, level_of(said.level) or 0, source, message, fields, int(Mark.NO_TIME))
