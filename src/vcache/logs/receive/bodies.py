"""Formats that come in bodies, read from a file or a pipe: one body, or one of JSON a line. Pure.

What OpenTelemetry's collector writes to files is a body a line.
"""

from __future__ import annotations

from typing import Final

from vcache.errors import UsageError
from vcache.logs.receive.base import Format
from vcache.logs.receive.framing import LineFramer
from vcache.logs.receive.jsonlines import lenient_object, parse_objects
from vcache.logs.record import Record

__all__ = ["MOST_BYTES", "BodyStream"]

MOST_BYTES: Final = 256 << 20
"""One body is held whole: of a longer one the parts are kept as lines."""


class BodyStream:
    """A stream of a format that has none of its own. What is no such body is kept, line by line, and marked."""

    def __init__(self, form: Format, source: str, *, has_lines: bool = True) -> None:
        self._form, self._source = form, source
        self._lines: LineFramer | None = None
        self._held = bytearray()
        self._is_open = has_lines  # it may be a body a line: the first line shows it

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        if self._lines is not None:
            return self._each(self._lines.feed(data), now_ns)
        self._held += data
        if self._is_open and b"\n" in self._held.lstrip():
            self._is_open = False
            if lenient_object(bytes(self._held.lstrip().partition(b"\n")[0])) is not None:
                self._lines = LineFramer()
                return self._each(self._lines.feed(self._taken()), now_ns)
        return self._one(self._taken(), now_ns) if len(self._held) > MOST_BYTES else []

    def flush(self, *, now_ns: int) -> list[Record]:
        return []

    def end(self, *, now_ns: int) -> list[Record]:
        if self._lines is not None:
            return self._each(self._lines.end(), now_ns)
        return self._one(self._taken(), now_ns)

    def _taken(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data

    def _each(self, block: bytes, now_ns: int) -> list[Record]:
        found: list[Record] = []
        for line in block.split(b"\n"):
            if line and not line.isspace():
                found += self._one(line, now_ns)
        return found

    def _one(self, body: bytes, now_ns: int) -> list[Record]:
        if not body:
            return []
        try:
            return self._form.parse(body, now_ns=now_ns, source=self._source).records
        except UsageError:
            return parse_objects(body, now_ns=now_ns, source=self._source)
