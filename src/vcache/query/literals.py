"""What values of a query mean: numbers, durations and sizes by the unit of a field's name, levels, times.

Pure: whoever asks says what time it is.
"""

from __future__ import annotations

import re
from typing import Final

from vcache.errors import UsageError
from vcache.kit.units import nanoseconds, size_bytes
from vcache.query.levels import LEVELS, level_of

__all__ = [
    "TIMES",
    "day_of",
    "is_measure",
    "levels_of",
    "measured",
    "number_in",
    "number_of",
    "time_of",
    "time_text",
]

TIMES: Final = frozenset(("@time", "@seen"))
"""The fields that hold times."""

_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _NS
_INT_BOUND: Final = 1 << 63
_INT: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
# 1234e56 is the beginning of somebody's hash.
_FLOAT: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-][0-9]+)")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_MOST_DIGITS: Final = 400
_UNITS: Final = {"_ns": 1, "_us": 10**3, "_ms": 10**6, "_s": _NS}
_DURATION: Final = re.compile(r"-?[0-9][0-9_.]*(?:ns|us|µs|ms|s|sec|m|min|h|d|w)(?:[0-9][0-9a-zµ.]*)?")
_SIZE: Final = re.compile(r"(?i)[0-9][0-9_.]*[kmgtp]?i?b")
_ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?\s?([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_RELATIVE: Final = re.compile(r"(?:now)?([+-])(.+)", re.DOTALL)
_DAYS: Final = {"today": 0, "yesterday": -1, "tomorrow": 1}


def number_in(text: str) -> int | float | None:
    """The number that a value without quotes is; None for what is none, such as 007 and 12e3."""
    if _INT.fullmatch(text):
        found = int(text) if len(text) <= 20 else _INT_BOUND
        return found if -_INT_BOUND <= found < _INT_BOUND else None
    if len(text) <= _MOST_DIGITS and _FLOAT.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else None
    return None


def number_of(text: str) -> int | float | None:
    """The number that a field's text says; None when it says none."""
    if not text or len(text) > _MOST_DIGITS or text[-1] not in "0123456789" or not _NUMBER.fullmatch(text):
        return None
    try:
        found = int(text)
        if -_INT_BOUND <= found < _INT_BOUND:
            return found
    except ValueError:
        pass  # it has a fraction
    number = float(text)
    return number if abs(number) != float("inf") else None


def measured(field: str, text: str) -> int | float | None:
    """A duration or size in the unit that a field's name ends in, such as `took_ms` or `size_bytes`.

    Returns:
        None when it is neither, or the name says no unit.

    Raises:
        UsageError: it is one that cannot be.
    """
    if field == "bytes" or field.endswith("_bytes"):
        return size_bytes(text) if _SIZE.fullmatch(text) else None
    unit = next((each for name, each in _UNITS.items() if field.endswith(name)), 0)
    if not unit or not _DURATION.fullmatch(text):
        return None
    found = nanoseconds(text.removeprefix("-"))
    found = -found if text.startswith("-") else found
    return found // unit if found % unit == 0 else found / unit


def is_measure(text: str) -> bool:
    """Whether it looks like a duration or a size."""
    return _DURATION.fullmatch(text) is not None or _SIZE.fullmatch(text) is not None


def levels_of(word: str) -> range | None:
    """The numbers that a level's word stands for; None for a word that is no level."""
    least = level_of(word)
    if least is None:
        return None
    begins = sorted(LEVELS.values())
    if least not in begins:
        return range(least, least + 1)
    at = begins.index(least) + 1
    return range(least, begins[at] if at < len(begins) else 25)


def day_of(text: str, *, now_ns: int) -> range | None:
    """All times of the day that is meant by 2026-11-21, today, yesterday; None for other times."""
    match = _ISO.fullmatch(text)
    if text in _DAYS or (match is not None and match[4] is None):
        begin = time_of(text, now_ns=now_ns)
        return None if begin is None else range(begin, begin + _DAY_NS)
    return None


def time_of(text: str, *, now_ns: int) -> int | None:
    """The time that a text says, as UTC epoch nanoseconds; None when it says none.

    Args:
        text: `now`, `-1h30m` (before now), `today`, `yesterday`, `2026-11-21`, `2026-11-21T10:00:00.5Z`,
            or a number since the epoch: of seconds, of ms (12 digits and more), µs (15) or ns (18).
    """
    if text == "now":
        return now_ns
    if text in _DAYS:
        return now_ns - now_ns % _DAY_NS + _DAYS[text] * _DAY_NS
    if match := _RELATIVE.fullmatch(text):
        try:
            away = nanoseconds(match[2])
        except UsageError:
            return None
        return _bounded(now_ns - away if match[1] == "-" else now_ns + away)
    if match := _ISO.fullmatch(text):
        return _of_date(match)
    if text.isascii() and text.isdigit() and len(text) < 20:
        digits = len(text)
        factor = _NS if digits < 12 else 10**6 if digits < 15 else 1_000 if digits < 18 else 1
        return _bounded(int(text) * factor)
    return None


def _of_date(match: re.Match[str]) -> int | None:
    from datetime import UTC, datetime  # 1 ms, for queries with a date only

    year, month, day, hour, minute, second = (int(each or 0) for each in match.group(1, 2, 3, 4, 5, 6))
    leap, second = divmod(second, 60) if second == 60 else (0, second)
    try:
        begin = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    since = begin - datetime(1970, 1, 1, tzinfo=UTC)
    whole_s = since.days * 86_400 + since.seconds + leap
    zone = match[8] or "Z"
    if zone not in "Zz":
        away_s = int(zone[1:3]) * 3_600 + int(zone[-2:]) * 60
        whole_s += away_s if zone[0] == "-" else -away_s
    return _bounded(whole_s * _NS + int((match[7] or "").ljust(9, "0")))


def _bounded(time_ns: int) -> int | None:
    return time_ns if -_INT_BOUND <= time_ns < _INT_BOUND else None


def time_text(time_ns: int) -> str:
    """A time as queries have it, to the nanosecond: 2026-11-21T10:00:00Z."""
    from datetime import UTC, datetime, timedelta

    whole_s, rest = divmod(time_ns, _NS)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=whole_s)
    return f"{at:%Y-%m-%dT%H:%M:%S}" + (f".{rest:09}".rstrip("0") if rest else "") + "Z"
