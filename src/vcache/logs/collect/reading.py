"""Which parser reads what comes, and what a record gets beside what it says itself. No sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING

from vcache.logs.collect.parcels import Decode
from vcache.logs.receive.auto import format_of
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Record
from vcache.query.syntax import Value

if TYPE_CHECKING:
    from vcache.logs.receive.base import Format

__all__ = ["datagram_decode", "with_fields"]


def datagram_decode(name: str, source: str) -> Decode:
    """What reads datagrams, each of which is whole.

    Raises:
        ConfigError: what the format needs is not installed.
    """
    if name == "syslog":
        return _syslog_decode(source)
    if name != "auto":
        return _body_decode(by_name(name), source)
    decoders = {"syslog": _syslog_decode(source)}

    def decode(datagrams: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        records: list[Record] = []
        for kind, group in groupby(datagrams, format_of):
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
