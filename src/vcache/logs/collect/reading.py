"""Which parser reads what comes, and what a record gets beside what it says itself. No sockets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Final

from vcache.logs.collect.addresses import LogFormat
from vcache.logs.collect.parcels import Decode
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Record
from vcache.query.syntax import Value

if TYPE_CHECKING:
    from vcache.logs.receive.base import Format, Stream

__all__ = ["AutoStream", "datagram_decode", "looks_like", "stream_of", "with_fields"]

_NO_MORE: Final = b" \t\r\n"
# A priority, perhaps behind a count of octets (RFC 6587); "12 warnings" and a date begin with a digit too.
_SYSLOG: Final = re.compile(rb"<(?:[0-9]|\Z)|[0-9]{1,9}(?: ?\Z| <)")


def looks_like(start: bytes) -> LogFormat:
    """The format that bytes seem to have, by the first of them that says something."""
    start = start.lstrip(_NO_MORE)
    return "json" if start[:1] == b"{" else "syslog" if _SYSLOG.match(start) else "lines"


def stream_of(name: LogFormat, source: str) -> Stream:
    """A parser of a stream; for "auto" it looks at the first bytes that say something.

    Raises:
        ConfigError: what the format needs is not installed.
    """
    return AutoStream(source) if name == "auto" else by_name(name).stream(source=source)


class AutoStream:
    """A stream in one of the formats, and nobody said which."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._start = b""
        self._found: Stream | None = None

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        if self._found is None:
            self._start += data
            if not self._start.strip(_NO_MORE):
                self._start = b""
                return []
            self._found = by_name(looks_like(self._start)).stream(source=self._source)
            data, self._start = self._start, b""
        return self._found.feed(data, now_ns=now_ns)

    def flush(self, *, now_ns: int) -> list[Record]:
        return [] if self._found is None else self._found.flush(now_ns=now_ns)

    def end(self, *, now_ns: int) -> list[Record]:
        return [] if self._found is None else self._found.end(now_ns=now_ns)


def datagram_decode(name: LogFormat, source: str) -> Decode:
    """What reads datagrams, each of which is whole.

    Raises:
        ConfigError: what the format needs is not installed.
    """
    if name == "syslog":
        return _syslog_decode(source)
    if name != "auto":
        return _body_decode(by_name(name), source)
    decoders = {"syslog": _syslog_decode(source), "lines": _body_decode(by_name("lines"), source)}

    def decode(datagrams: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        records: list[Record] = []
        for kind, group in groupby(datagrams, looks_like):
            if kind not in decoders:  # orjson is loaded when there is JSON
                decoders[kind] = _body_decode(by_name(kind), source)
            records += decoders[kind](list(group), now_ns, fields)
        return records

    return decode


def _syslog_decode(source: str) -> Decode:
    from vcache.logs.receive.syslog import message_of  # who takes no syslog has no need of it

    def decode(datagrams: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        return with_fields([message_of(data, now_ns=now_ns, source=source) for data in datagrams], fields)

    return decode


def _body_decode(parser: Format, source: str) -> Decode:
    def decode(datagrams: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        found = [parser.parse(data, now_ns=now_ns, source=source).records for data in datagrams]
        return with_fields(list(chain.from_iterable(found)), fields)

    return decode


def with_fields(records: list[Record], fields: Mapping[str, Value]) -> list[Record]:
    """Records that have these fields as well, whatever they say of themselves by the same names."""
    if fields:
        for number, record in enumerate(records):
            if type(record.fields) is dict:
                record.fields.update(fields)  # the parser made it for this record
            else:
                records[number] = record._replace(fields={**record.fields, **fields})
    return records
