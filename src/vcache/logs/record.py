"""One record of a log, and what makes one of what somebody sent. Frozen data, no I/O.

Nothing is refused for what it says: what is odd is kept as it came, and marked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntFlag
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from vcache.query.syntax import Value

__all__ = ["FUTURE_NS", "LONG_BYTES", "MOST_FIELDS", "NAME_CHARS", "Mark", "Record", "flat", "marked"]

FUTURE_NS: Final = 60 * 10**9  # clocks of machines that ask for the time differ by less
LONG_BYTES: Final = 1 << 20
MOST_FIELDS: Final = 256
NAME_CHARS: Final = 256
_NO_FIELDS: Final[Mapping[str, Value]] = MappingProxyType({})
_INT_BOUND: Final = 1 << 63


class Mark(IntFlag):
    """What is odd about a record, or was done to it."""

    FUTURE = 1  # it says a time more than a minute after it was seen
    NO_TIME = 2  # it said none that could be read: it has the time at which it was seen
    BYTES = 4  # its message is no UTF-8
    LONG = 8  # its message is longer than 1 MiB
    CUT = 16  # a part of it was left out: more fields than are kept, or too long for who brought it
    REPLAYED = 32  # it is of a cached result: field `origin` is the run that wrote it
    UNPARSED = 64  # a line that is not of the format that was announced, kept as a message
    REDACTED = 128  # a secret was taken out


class Record(NamedTuple):
    """What was said once.

    Attributes:
        at_ns: when, as who said it has it: UTC epoch nanoseconds, 64 bits with a sign.
        level: `vcache.query.levels`; 0 when it has none, at most 255.
        source: what said it, such as "gcc": rotation, retention and quotas go by it.
        message: what it says. Bytes that are no UTF-8 are lone surrogates (PEP 383).
        fields: what else is known; flat.
        marks: `Mark`.
        repeats: how many times it was said in a row.
        seen_ns: when a store took it; 0 before.
        id: by which it is found again, a UUID as text; "" before a store has it.
    """

    at_ns: int
    level: int = 0
    source: str = ""
    message: str = ""
    fields: Mapping[str, Value] = _NO_FIELDS
    marks: int = 0
    repeats: int = 1
    seen_ns: int = 0
    id: str = ""


def flat(fields: Mapping[str, object]) -> tuple[dict[str, Value], bool]:
    """Fields as a record has them, and whether some were left out.

    Objects within are flattened with dots, lists become JSON text, numbers beyond 64 bits text.
    """
    found: dict[str, Value] = {}
    is_whole = _flatten(fields, "", found, 0)
    return found, not is_whole


def _flatten(fields: Mapping[str, object], before: str, found: dict[str, Value], depth: int) -> bool:
    is_whole = True
    for name, value in fields.items():
        if len(found) >= MOST_FIELDS:
            return False
        whole_name = before + str(name)
        if len(whole_name) > NAME_CHARS:
            whole_name, is_whole = whole_name[:NAME_CHARS], False
        kind = type(value)
        if kind is str or kind is bool or kind is float:
            found[whole_name] = value  # type: ignore[assignment]
        elif kind is int:
            found[whole_name] = value if -_INT_BOUND <= value < _INT_BOUND else _digits(value)  # type: ignore[operator,assignment,arg-type]
        elif value is None:
            continue
        elif isinstance(value, Mapping) and depth < 16:
            is_whole &= _flatten(value, whole_name + ".", found, depth + 1)
        else:
            found[whole_name] = json.dumps(value, default=str, ensure_ascii=False)
    return is_whole


def _digits(number: int) -> str:
    # Python writes no more than 4,300 digits: it takes time quadratic in them.
    return str(number) if number.bit_length() < 10_000 else hex(number)


def marked(record: Record, *, now_ns: int) -> Record:
    """The record as a store takes it at that time: seen, and with the marks that it earns."""
    marks = record.marks
    if record.at_ns > now_ns + FUTURE_NS:
        marks |= Mark.FUTURE
    message = record.message
    if len(message) > LONG_BYTES // 4 and len(message.encode("utf-8", "surrogatepass")) > LONG_BYTES:
        marks |= Mark.LONG
    if not message.isascii():
        try:
            message.encode()
        except UnicodeEncodeError:
            marks |= Mark.BYTES
    if marks == record.marks and record.seen_ns:
        return record
    return record._replace(marks=int(marks), seen_ns=record.seen_ns or now_ns)
