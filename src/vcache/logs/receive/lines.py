"""Plain lines that any tool wrote for people. Pure."""

from __future__ import annotations

from vcache.logs.receive.base import Parsed, as_text
from vcache.logs.receive.framing import LineFramer
from vcache.logs.receive.guess import level_in
from vcache.logs.record import Mark, Record

__all__ = ["Lines"]


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

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.feed(data), now_ns)

    def flush(self, *, now_ns: int) -> list[Record]:
        return []

    def end(self, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.end(), now_ns)

    def _records(self, block: bytes, now_ns: int) -> list[Record]:
        return [
            Record(now_ns, level_in(line), self._source, line.removesuffix("\r"), {}, Mark.NO_TIME)
            for line in as_text(block).split("\n")[:-1]
        ]
