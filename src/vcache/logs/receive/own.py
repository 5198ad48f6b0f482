"""What `vcache.logs.show` writes for programs, read again: JSON and logfmt. Pure.

Time, level, source, message, fields, marks and repeats come back as they were; the id and the time at which it
was seen are those of the store that it comes from, and are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from vcache.logs.receive.times import time_ns
from vcache.logs.record import Mark, Record, flat
from vcache.query.levels import level_of
from vcache.query.syntax import Value

__all__ = ["is_own", "own_record"]

_STORES: Final = ("@seen", "@id")
_SAID: Final = frozenset((*_STORES, "@marks", "@repeats", "severity_number"))
_ALWAYS: Final = frozenset(("@time", "source", "message"))
_NAMES: Final = _SAID | _ALWAYS | {"level", "@template"}
_RENAMED: Final = "fields."  # before a field that is called as something of a record's own
_MARKS: Final = {str(mark.name).lower(): mark for mark in Mark}


def is_own(names: Collection[str]) -> bool:
    """Whether an object with these names was written by us, and says more than any other sender would."""
    if "@time" not in names or not _ALWAYS.issubset(names):
        return False
    return any(name in _SAID or name.startswith(_RENAMED) for name in names)


def own_record(said: Mapping[str, object], now_ns: int, source: str) -> Record:
    """The record that an object of ours says."""
    values, is_cut = flat({name: value for name, value in said.items() if name not in _STORES})
    marks = _marks(said.get("@marks"), values.pop("@marks", None))
    repeats = _number(values.pop("@repeats", 1), 1 << 32) or 1
    at_ns = time_ns(values.pop("@time", None))
    level = _number(values.pop("severity_number", 0), 256) or level_of(str(values.pop("level", ""))) or 0
    values.pop("level", None)
    message, said_by = str(values.pop("message", "")), str(values.pop("source", ""))
    if at_ns is None:
        marks |= Mark.NO_TIME
    if is_cut:
        marks |= Mark.CUT
    fields = {_plain_name(name): value for name, value in values.items()}
    return Record(
        now_ns if at_ns is None else at_ns, level, said_by or source, message, fields, int(marks), repeats
    )


def _plain_name(name: str) -> str:
    """The name that a field had: "level" for "fields.level"."""
    bare = name
    while bare.startswith(_RENAMED):
        bare = bare[len(_RENAMED) :]
    return name.removeprefix(_RENAMED) if bare in _NAMES else name


def _number(said: Value, bound: int) -> int:
    """A number from 1 to below the bound; 0 for anything else."""
    text = str(said)
    number = int(text) if text.isdecimal() and text.isascii() and len(text) < 12 else 0
    return number if number < bound else 0


def _marks(listed: object, text: Value) -> Mark:
    """Of a list of words, or of words with commas between."""
    words = listed if isinstance(listed, list) else str(text or "").split(",")
    found = Mark(0)
    for word in words:
        found |= _MARKS.get(str(word), Mark(0))
    return found
