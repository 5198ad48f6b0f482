"""The format that bytes begin with. What begins like none is plain lines, so that nothing is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from vcache.errors import UsageError
from vcache.logs.receive.base import Format, Parsed, Stream
from vcache.logs.receive.logfmt import is_logfmt
from vcache.logs.record import Record

__all__ = ["Auto", "AutoStream", "format_of"]

_LOOKED_AT: Final = 65_536
_SYSLOG: Final = re.compile(rb"(?:[1-9]\d{0,8} )?<\d{1,3}>")
_SYSLOG_FILE: Final = re.compile(
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]?\d \d\d:\d\d:\d\d \S|"
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,20} \S{1,255} [^\s:]{1,128}: "
)
_JOURNAL: Final = re.compile(rb"__(?:CURSOR|REALTIME_TIMESTAMP)=")
_BULK: Final = re.compile(rb'\s*\{\s*"(?:index|create|update|delete)"\s*:\s*\{[^\n{}]*\}\s*\}\s*\n')
_BODIES: Final = ((b'"resourceLogs"', "otlp"), (b'"resource_logs"', "otlp"), (b'"streams"', "loki"))


def format_of(head: bytes, *, is_whole: bool = False) -> str:
    """The name of the format of what begins so.

    Args:
        head: at least the first line.
        is_whole: nothing follows, so that it may be a format of bodies.
    """
    text = head.lstrip(b"\r\n\t ")
    if text[:1] == b"{":
        if _BULK.match(head):
            return "elastic"
        for mark, name in _BODIES if is_whole or _is_line(text) else ():
            if mark in text[:64]:
                return name
        return "journal" if b'"__REALTIME_TIMESTAMP"' in text.partition(b"\n")[0] else "json"
    if text[:1] == b"[" and is_whole and text[1:].lstrip()[:1] == b"{":
        return "json"
    if _SYSLOG.match(text) or _SYSLOG_FILE.match(text):
        return "syslog"
    if _JOURNAL.match(text):
        return "journal"
    return "logfmt" if is_logfmt(text[:200].decode("utf-8", "replace")) else "lines"


def _is_line(text: bytes) -> bool:
    """Whether the first line may be a body: of JSON that is laid out over many, nothing else is known."""
    return text.partition(b"\n")[0].rstrip().endswith(b"}")


class Auto:
    """The format `auto`, over those that a name leads to."""

    name = "auto"

    def __init__(self, by_name: Callable[[str], Format]) -> None:
        self._by_name = by_name

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        name = format_of(data, is_whole=True)
        try:
            return self._by_name(name).parse(data, now_ns=now_ns, source=source)
        except UsageError:
            if name not in ("elastic", "loki", "otlp", "journal"):  # an extra that is not there
                raise
        return self._by_name("lines").parse(data, now_ns=now_ns, source=source)

    def stream(self, *, source: str = "") -> AutoStream:
        return AutoStream(source, self._by_name)


class AutoStream:
    """A stream of `auto`: its first line says what it is.

    Attributes:
        format_name: what it is; "" before that is known.
    """

    def __init__(self, source: str, by_name: Callable[[str], Format]) -> None:
        self.format_name = ""
        self._source, self._by_name = source, by_name
        self._head = bytearray()
        self._stream: Stream | None = None

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        if self._stream is not None:
            return self._stream.feed(data, now_ns=now_ns)
        self._head += data
        head = self._head.lstrip(b"\r\n\t ")
        if b"\n" not in head and len(self._head) < _LOOKED_AT:
            return []
        return self._begin(now_ns)

    def flush(self, *, now_ns: int) -> list[Record]:
        return self._stream.flush(now_ns=now_ns) if self._stream is not None else []

    def end(self, *, now_ns: int) -> list[Record]:
        found = self._begin(now_ns) if self._stream is None and self._head else []
        return found + (self._stream.end(now_ns=now_ns) if self._stream is not None else [])

    def _begin(self, now_ns: int) -> list[Record]:
        head = bytes(self._head)
        self._head.clear()
        text = head.lstrip(b"\r\n\t ")
        self.format_name = format_of(text[: text.find(b"\n") + 1] or text[:_LOOKED_AT])
        self._stream = self._by_name(self.format_name).stream(source=self._source)
        return self._stream.feed(head, now_ns=now_ns)
