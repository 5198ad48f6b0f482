"""Records as lines of JSON, and what is said at the end of an answer. Pure; it must not know who asked."""

from __future__ import annotations

import json
from typing import Final

import orjson

from vcache.logs.base import Gap, Result
from vcache.logs.record import Record
from vcache.logs.show.lines import gap_facts
from vcache.logs.show.values import named

__all__ = ["encoded", "ending", "gaps_of", "json_of"]

_SEEN: Final = ("segments", "segments_kept", "blocks", "blocks_read", "records", "took_ns")


def json_of(record: Record) -> bytes:
    """A record as JSON, in one line without its end."""
    return encoded(named(record))


def encoded(value: object) -> bytes:
    """JSON; what is no UTF-8 is escaped."""
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, or an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str).encode()


def gaps_of(gaps: list[Gap]) -> list[dict[str, object]]:
    """What is said of records that cannot be read."""
    return [gap_facts(gap) for gap in gaps]


def ending(result: Result, *, count: int, is_cut: bool) -> dict[str, object]:
    """What is said after the last row: how many there were, what could not be read, what it took."""
    seen = result.seen
    return {
        "@end": {
            "rows": count,
            "is_cut": is_cut,
            "columns": None if result.columns is None else list(result.columns),
            "gaps": gaps_of(result.gaps),
            "seen": {name: getattr(seen, name) for name in _SEEN},
        }
    }
