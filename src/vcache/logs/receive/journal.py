"""journald's records: its export format, and the JSON lines of `journalctl -o json`.

https://systemd.io/JOURNAL_EXPORT_FORMATS/. Fields keep the names that the journal has for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from vcache.errors import UsageError
from vcache.logs.receive.base import MESSAGE_BYTES, Parsed, as_text, unparsed
from vcache.logs.receive.framing import LineFramer
from vcache.logs.receive.jsonlines import lenient_object
from vcache.logs.receive.mapping import fields_of
from vcache.logs.receive.syslog import SEVERITIES
from vcache.logs.record import Mark, Record

__all__ = ["Entry", "EntryFramer", "Journal", "JournalStream"]

Entry = dict[str, list[bytes]]
"""The values of each field of one record; most have one."""

_LENGTH_BYTES: Final = 8
_NAME: Final = re.compile(rb"[A-Z0-9_]+")
_NAME_BYTES: Final = 64
# What is of no use where the record is kept: where it stood in that journal, and clocks of one boot.
_LEFT_OUT: Final = frozenset(
    ("__CURSOR", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP", "__SEQNUM", "__SEQNUM_ID",
     "_SOURCE_MONOTONIC_TIMESTAMP", "_SOURCE_BOOTTIME_TIMESTAMP")
)  # fmt: skip
_TIMES: Final = ("_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP")
_SOURCES: Final = ("SYSLOG_IDENTIFIER", "_COMM", "_SYSTEMD_UNIT")
_US_BOUND: Final = (1 << 63) // 1000


class EntryFramer:
    """Entries of an export stream, cut anywhere.

    A line that is no field is a value of the field "", so that nothing is lost. What is longer than
    `most_bytes` is cut, and the entry has the field "__CUT".
    """

    def __init__(self, most_bytes: int = MESSAGE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._data = bytearray()
        self._searched = 0
        self._skipped = 0  # bytes of a value that is too long, which are still to come
        self._entry: Entry = {}

    def feed(self, data: bytes) -> list[Entry]:
        """The entries that are whole."""
        self._data += data
        found: list[Entry] = []
        at = end = 0
        while True:
            if end >= 0 and not self._entry and not self._searched and not self._skipped:
                end = self._data.find(b"\n\n", at)  # once an entry; never again when there is none
                if end >= 0 and (entry := self._plain(at, end)) is not None:
                    found.append(entry)
                    at = end + 2
                    continue
            after = self._next(at, found)
            if after is None:
                break
            at = after
        if at:
            del self._data[:at]
        return found

    def end(self) -> list[Entry]:
        """What was left, whole or not."""
        if self._data and not self._skipped:
            self._line(bytes(self._data))
        self._data.clear()
        self._searched = self._skipped = 0
        entry, self._entry = self._entry, {}
        return [entry] if entry else []

    def _plain(self, at: int, end: int) -> Entry | None:
        """The entry of lines that are all fields, at a fifth of the cost; None for any other."""
        if end == at or end - at > self._most_bytes:
            return None
        entry: Entry = {}
        for line in bytes(self._data[at:end]).split(b"\n"):
            name, equals, value = line.partition(b"=")
            if not equals or not _is_name(name):
                return None
            known = name.decode("ascii")
            if known in entry:
                entry[known].append(value)
            else:
                entry[known] = [value]
        return entry

    def _next(self, at: int, found: list[Entry]) -> int | None:
        """Takes what stands there; where the next begins, None to wait."""
        data = self._data
        if self._skipped:
            taken = min(self._skipped, len(data) - at)
            self._skipped -= taken
            return at + taken if taken else None
        end = data.find(b"\n", at + self._searched)
        if end < 0:
            if len(data) - at <= self._most_bytes:
                self._searched = len(data) - at
                return None
            return self._cut_line(at)
        if end - at > self._most_bytes:
            return self._cut_line(at)
        self._searched = 0
        if end == at:
            if self._entry:
                found.append(self._entry)
                self._entry = {}
            return end + 1
        line = bytes(data[at:end])
        if b"=" in line or not _is_name(line):
            self._line(line)
            return end + 1
        return self._sized(line, at, end + 1)

    def _cut_line(self, at: int) -> int:
        self._line(bytes(self._data[at : at + self._most_bytes]))
        self._entry["__CUT"] = [b"1"]
        self._searched = 0
        return at + self._most_bytes

    def _sized(self, name: bytes, line_at: int, at: int) -> int | None:
        """Takes a value whose length stands before it."""
        data = self._data
        begin = at + _LENGTH_BYTES
        if len(data) < begin:
            self._searched = at - 1 - line_at
            return None
        size = int.from_bytes(data[at:begin], "little")
        taken = min(size, self._most_bytes)
        if len(data) < begin + taken + (size == taken):
            self._searched = at - 1 - line_at
            return None
        self._add(name.decode("ascii"), bytes(data[begin : begin + taken]))
        if size > taken:
            self._entry["__CUT"] = [b"1"]
            self._skipped = size - taken + 1
            return begin + taken
        end = begin + taken
        return end + 1 if data[end] == 0x0A else end

    def _line(self, line: bytes) -> None:
        name, equals, value = line.partition(b"=")
        if equals and _is_name(name):
            self._add(name.decode("ascii"), value)
        else:
            self._add("", line)

    def _add(self, name: str, value: bytes) -> None:
        self._entry.setdefault(name, []).append(value)


def _is_name(name: bytes) -> bool:
    return len(name) <= _NAME_BYTES and _is_short_name(name)


@lru_cache(maxsize=4096)
def _is_short_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


def _record(values: Mapping[str, object], now_ns: int, source: str) -> Record:
    """The record of an entry whose values are text, or lists where there are several."""
    fields = {name: value for name, value in values.items() if name not in _LEFT_OUT}
    at_ns = _time(values)
    fields.pop("_SOURCE_REALTIME_TIMESTAMP", None)
    marks = 0 if at_ns is not None else Mark.NO_TIME
    if fields.pop("__CUT", None):
        marks |= Mark.CUT
    level = 0
    priority = fields.get("PRIORITY")
    if isinstance(priority, str) and priority in "01234567" and len(priority) == 1:
        level = SEVERITIES[int(priority)]
        del fields["PRIORITY"]
    message = fields.pop("MESSAGE", "")
    said_by = next((name for name in _SOURCES if isinstance(fields.get(name), str)), None)
    origin = str(fields.pop(said_by)) if said_by else source
    odd = fields.pop("", None)
    if odd is not None:
        marks |= Mark.UNPARSED
        lines = odd if isinstance(odd, list) else [odd]
        message = "\n".join([*([_text(message)] if message else []), *(str(line) for line in lines)])
    found, is_cut = fields_of(fields)
    if is_cut:
        marks |= Mark.CUT
    return Record(now_ns if at_ns is None else at_ns, level, origin, _text(message), found, int(marks))


def _text(value: object) -> str:
    if isinstance(value, list):
        return "\n".join(str(each) for each in value)
    return "" if value is None else str(value)


def _time(values: Mapping[str, object]) -> int | None:
    for name in _TIMES:
        value = values.get(name)
        if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 20:
            micros = int(value)
            if micros < _US_BOUND:
                return micros * 1000
    return None


def _of_entry(entry: Entry) -> dict[str, object]:
    return {
        name: as_text(values[0]) if len(values) == 1 else [as_text(value) for value in values]
        for name, values in entry.items()
    }


def _of_json(line: bytes, now_ns: int, source: str) -> Record:
    value = lenient_object(line)
    if value is None:
        return unparsed(as_text(line), now_ns, source)
    return _record({name: _json_text(each) for name, each in value.items()}, now_ns, source)


def _json_text(value: object) -> object:
    """A value of `-o json`: bytes are a list of numbers, several values a list of either."""
    if not isinstance(value, list):
        return value
    text = _bytes_text(value)
    return [_bytes_text(each) for each in value] if text is value else text


def _bytes_text(value: object) -> object:
    if isinstance(value, list) and value and all(type(each) is int and 0 <= each < 256 for each in value):
        return as_text(bytes(value))
    return value


class Journal:
    """The format `journal`: export format or JSON lines, told apart by how it begins."""

    name = "journal"

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        stream = self.stream(source=source)
        found = stream.feed(data, now_ns=now_ns) + stream.end(now_ns=now_ns)
        if found and not stream.is_journal:
            raise UsageError(f"no journal: {data[:40]!r} has neither fields nor JSON")
        return Parsed(found, [])

    def stream(self, *, source: str = "") -> JournalStream:
        return JournalStream(source)


class JournalStream:
    """A stream of `journal`.

    Attributes:
        cursor: of the last record, by which journalctl goes on (`--after-cursor`); "" before the first.
        is_journal: whether anything was a field.
    """

    def __init__(self, source: str) -> None:
        self.cursor = ""
        self.is_journal = False
        self._source = source
        self._entries: EntryFramer | None = None
        self._lines: LineFramer | None = None

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        if self._entries is None and self._lines is None:
            data = data.lstrip(b"\r\n ")
            if not data:
                return []
            if data[:1] == b"{":
                self._lines = LineFramer()
            else:
                self._entries = EntryFramer()
        if self._lines is not None:
            return self._of_lines(self._lines.feed(data), now_ns)
        assert self._entries is not None
        return self._of_entries(self._entries.feed(data), now_ns)

    def flush(self, *, now_ns: int) -> list[Record]:
        return []

    def end(self, *, now_ns: int) -> list[Record]:
        if self._lines is not None:
            return self._of_lines(self._lines.end(), now_ns)
        return self._of_entries(self._entries.end(), now_ns) if self._entries is not None else []

    def _of_entries(self, entries: list[Entry], now_ns: int) -> list[Record]:
        for entry in reversed(entries):
            if "__CURSOR" in entry:
                self.cursor = as_text(entry["__CURSOR"][0])
                break
        self.is_journal |= any(name for entry in entries for name in entry)
        return [_record(_of_entry(entry), now_ns, self._source) for entry in entries]

    def _of_lines(self, block: bytes, now_ns: int) -> list[Record]:
        lines = [line for line in block.split(b"\n") if line.strip()]
        if lines:
            cursor = (lenient_object(lines[-1]) or {}).get("__CURSOR")
            self.cursor = cursor if isinstance(cursor, str) else self.cursor
        found = [_of_json(line, now_ns, self._source) for line in lines]
        self.is_journal |= any(not record.marks & Mark.UNPARSED for record in found)
        return found
