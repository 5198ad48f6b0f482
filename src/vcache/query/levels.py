"""Levels of records: the severity numbers of OpenTelemetry, and the words people use for them.

https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber. 0 is for records that
say none. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "INFO",
    "LEVELS",
    "NOTE",
    "TRACE",
    "UNSET",
    "WARNING",
    "level_of",
    "word_of",
]

UNSET: Final = 0
TRACE: Final = 1
DEBUG: Final = 5
INFO: Final = 9
NOTE: Final = 10
WARNING: Final = 13
ERROR: Final = 17
CRITICAL: Final = 21

LEVELS: Final[Mapping[str, int]] = {
    "trace": TRACE, "debug": DEBUG, "info": INFO, "note": NOTE, "warning": WARNING, "error": ERROR,
    "critical": CRITICAL,
}  # fmt: skip
"""The words, from the least. Each stands for all numbers from its own up to the next one's."""

_OTHER_WORDS: Final = {
    "notice": NOTE, "warn": WARNING, "err": ERROR, "crit": CRITICAL, "fatal": CRITICAL, "alert": 22,
    "emerg": 24, "emergency": 24, "panic": 24, "information": INFO, "informational": INFO, "verbose": TRACE,
    "severe": ERROR, "": UNSET, "unset": UNSET, "none": UNSET,
}  # fmt: skip
_WORDS: Final = ("", *("trace",) * 4, *("debug",) * 4, "info", *("note",) * 3, *("warning",) * 4,
                 *("error",) * 4, *("critical",) * 4)  # fmt: skip


def level_of(word: str) -> int | None:
    """The number of a word in any case, such as "WARN"; None for a word that is no level."""
    known = word.lower()
    found = LEVELS.get(known)
    return _OTHER_WORDS.get(known) if found is None else found


def word_of(level: int) -> str:
    """The word for a number; "" for 0 and for what is no level."""
    return _WORDS[level] if 0 <= level <= 24 else ""
