"""Times, levels, marks and records as names and values that every format has. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from vcache.logs.fields import marks_text
from vcache.logs.record import Record
from vcache.logs.show.base import Column
from vcache.query.levels import LEVELS, word_of
from vcache.query.syntax import Value

__all__ = [
    "OWN",
    "Plain",
    "iso",
    "level_word",
    "mark_words",
    "moment",
    "named",
    "named_row",
    "plain",
    "shown",
]

Plain = Mapping[str, "Value | list[str]"]

OWN: Final = frozenset(
    (
        "@time",
        "@seen",
        "@id",
        "@marks",
        "level",
        "severity_number",
        "source",
        "message",
        "@repeats",
        "@template",
    )
)
"""The names of what is no field of a record's: a field of that name is called `fields.NAME`."""

_NS: Final = 1_000_000_000
_STYLES: Final[Mapping[str, str]] = MappingProxyType({
    "trace": "2", "debug": "2", "note": "36", "warning": "33", "error": "31", "critical": "1;31",
})  # fmt: skip


def iso(time_ns: int) -> str:
    """A time for programs: RFC 3339, UTC, all nine digits."""
    second, rest_ns = divmod(time_ns, _NS)
    return f"{_second(second, is_utc=True, join='T')}.{rest_ns:09d}Z"


def moment(time_ns: int, *, is_utc: bool, step_ns: int = 1_000_000) -> str:
    """A time for people, as exact as a step of milliseconds or more needs it."""
    second, rest_ns = divmod(time_ns, _NS)
    text = _second(second, is_utc=is_utc, join=" ")
    tail = "Z" if is_utc else ""
    return f"{text}{tail}" if step_ns % _NS == 0 else f"{text}.{rest_ns // 1_000_000:03d}{tail}"


@lru_cache(maxsize=1024)
def _second(second: int, *, is_utc: bool, join: str) -> str:
    try:
        parts = time.gmtime(second) if is_utc else time.localtime(second)
    except (OSError, OverflowError):  # a number that is no time of this age, such as a sum of times
        return f"@{second}"
    return f"{parts[0]:04d}-{parts[1]:02d}-{parts[2]:02d}{join}{parts[3]:02d}:{parts[4]:02d}:{parts[5]:02d}"


@lru_cache(maxsize=64)
def level_word(level: int) -> str:
    """The word of a level; the number where there is none but 0."""
    return word_of(level) or (str(level) if level else "")


def level_style(level: int) -> str:
    """The colour of a level, for `vcache.kit.ansi.Paint`."""
    return _STYLES.get(level_word(level), "")


@lru_cache(maxsize=256)
def mark_words(marks: int) -> tuple[str, ...]:
    """The words of marks."""
    return tuple(marks_text(marks).split())


def plain(value: Value) -> Value:
    """A value that JSON has: numbers that are none are words."""
    if value.__class__ is float and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def named(record: Record, only: Sequence[str] | None = None) -> dict[str, Value | list[str]]:
    """A record as names and values, the same in every format for programs.

    Args:
        only: of its fields, these.
    """
    at_ns, level, source, message, fields, marks, repeats, seen_ns, record_id = record
    found: dict[str, Value | list[str]] = {"@time": iso(at_ns)}
    if level:
        found["level"] = level_word(level)
        if LEVELS.get(level_word(level)) != level:
            found["severity_number"] = level
    found["source"] = source
    found["message"] = message
    chosen = fields.items() if only is None else ((name, fields[name]) for name in only if name in fields)
    for name, value in chosen:
        while name in OWN or name in found:
            name = f"fields.{name}"
        found[name] = plain(value)
    if repeats != 1:
        found["@repeats"] = repeats
    if marks:
        found["@marks"] = list(mark_words(marks))
    if seen_ns:
        found["@seen"] = iso(seen_ns)
    if record_id:
        found["@id"] = record_id
    return found


def named_row(columns: Sequence[Column], row: Sequence[Value]) -> dict[str, Value | list[str]]:
    """The same of a row."""
    return {column.name: shown(column, value) for column, value in zip(columns, row, strict=True)}


def shown(column: Column, value: Value) -> Value:
    """A value of a column for programs: times as text, levels as words."""
    if column.kind and value.__class__ is int:
        return iso(value) if column.kind == "time" else level_word(value)
    return plain(value)
