"""The order of values of any kinds, and which of them are one. Pure.

False, true, numbers, texts; None goes last, as does what is no number (NaN).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from vcache.query.syntax import Value

__all__ = ["Rank", "bare", "keyed", "rank", "rank_down", "text_of"]

Rank: TypeAlias = "tuple[int, str | int | float]"
_LAST = (9, 0)
_FIRST = (-1, 0)


def rank(value: Value) -> Rank:
    """By which values are sorted, the least first."""
    kind = type(value)
    if kind is str:
        return 3, value  # type: ignore[return-value]
    if kind is int or (kind is float and value == value):
        return 2, value  # type: ignore[return-value]
    return (1, int(value)) if kind is bool else _LAST  # type: ignore[arg-type]


def rank_down(value: Value) -> Rank:
    """By which values are sorted in reverse, so that None goes last here, too."""
    found = rank(value)
    return _FIRST if found is _LAST else found


def keyed(value: Value) -> Hashable:
    """What is equal for values that are one: 1 and 1.0 are, 1 and true are not."""
    kind = type(value)
    if kind is bool:
        return (value,)
    if kind is float:
        if value != value:
            return None
        return int(value) if value.is_integer() and abs(value) < 1 << 63 else value  # type: ignore[union-attr,arg-type]
    return value


def bare(key: Hashable) -> Value:
    """The value of which that is the key."""
    return key[0] if type(key) is tuple else key  # type: ignore[return-value]


def text_of(value: Value) -> str:
    """The text that a value is where text is asked for; "" for None."""
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    return "" if value is None else str(value)
