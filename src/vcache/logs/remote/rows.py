"""Rows and records to and from the JSON of `vcache.logs.show`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from vcache.logs.base import Gap, LogStats, Seen, SourceStats
from vcache.logs.receive.times import iso_ns
from vcache.logs.record import Mark, Record
from vcache.logs.show.base import Column
from vcache.logs.show.values import OWN, named
from vcache.query.levels import level_of
from vcache.query.syntax import Value

__all__ = ["gap_of", "json_of", "record_of", "row_of", "seen_of", "stats_of"]

_MARKS: Final = {str(mark.name).lower(): int(mark) for mark in Mark}
_STORES: Final = ("@seen", "@id")


def json_of(record: Record) -> dict[str, object]:
    """A record as it is sent: what a store says of it is not."""
    found: dict[str, object] = {name: value for name, value in named(record).items() if name not in _STORES}
    # Always said, as it shows whose record this is: no other name in it is taken for a time or a level.
    return found | {"@repeats": record.repeats}


def record_of(said: Mapping[str, object]) -> Record:
    """The record that a line says."""
    fields: dict[str, Value] = {}
    for name, value in said.items():
        if name not in OWN:
            own = name.removeprefix("fields.")
            fields[own if own in OWN else name] = cast("Value", value)
    marks = sum(_MARKS.get(word, 0) for word in cast("Sequence[str]", said.get("@marks", ())))
    number = said.get("severity_number")
    return Record(
        _time(said.get("@time")), number if isinstance(number, int) else _level(said.get("level")),
        str(said.get("source", "")), str(said.get("message", "")), fields, marks,
        int(cast("int", said.get("@repeats", 1))), _time(said.get("@seen")), str(said.get("@id", "")),
    )  # fmt: skip


def row_of(said: Mapping[str, object], columns: Sequence[Column]) -> tuple[Value, ...]:
    """The row that a line says."""
    return tuple([_value(said.get(column.name), column.kind) for column in columns])


def _value(value: object, kind: str) -> Value:
    if kind == "time" and isinstance(value, str):
        return iso_ns(value)
    if kind == "level" and isinstance(value, str):
        return _level(value)
    return cast("Value", value)


def _time(value: object) -> int:
    return (iso_ns(value) or 0) if isinstance(value, str) else 0


def _level(value: object) -> int:
    text = str(value or "")
    return int(text) if text.isdecimal() else level_of(text) or 0


def gap_of(said: Mapping[str, object]) -> Gap:
    """The gap that the server tells of."""
    return Gap(
        str(said.get("place", "")), str(said.get("reason", "")), int(cast("int", said.get("records", -1))),
        _time(said.get("first")), _time(said.get("last")),
    )  # fmt: skip


def seen_of(said: Mapping[str, object], seen: Seen) -> None:
    """Fill in what an answer took."""
    for name in ("segments", "segments_kept", "blocks", "blocks_read", "records", "took_ns"):
        setattr(seen, name, int(cast("int", said.get(name, 0))))


def stats_of(said: Mapping[str, object]) -> LogStats:
    """What the server holds."""
    sources = cast("Mapping[str, Mapping[str, object]]", said.get("sources", {}))
    number = {
        name: int(cast("int", said.get(name, 0)))
        for name in ("records", "tail_records", "segments", "size_bytes")
    }
    return LogStats(
        **number,
        first_ns=_time(said.get("first")),
        last_ns=_time(said.get("last")),
        sources={
            name: SourceStats(
                int(cast("int", held["records"])),
                {_level(word): count for word, count in cast("Mapping[str, int]", held["levels"]).items()},
                _time(held.get("first")),
                _time(held.get("last")),
            )
            for name, held in sources.items()
        },
        gaps=[gap_of(gap) for gap in cast("Sequence[Mapping[str, object]]", said.get("gaps", ()))],
    )
