"""Levels as people give them to loggers and sinks: a word or a number."""

from __future__ import annotations

from vcache.errors import UsageError
from vcache.query.levels import LEVELS, level_of

__all__ = ["number_of"]


def number_of(level: int | str) -> int:
    """The number of a level.

    Raises:
        UsageError: a word that is none, or a number beyond 0 to 24.
    """
    number = level_of(level) if isinstance(level, str) else level
    if number is None or not 0 <= number <= 24:
        raise UsageError(f"level {level!r}: give one of {', '.join(LEVELS)}, or a number from 0 to 24")
    return number
