"""Durations, sizes, yes and no as people write them, to and from values.

It must not know what is measured: callers name the setting or argument in their own errors.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

__all__ = [
    "MAX_DURATION_S",
    "format_bytes",
    "format_duration",
    "nanoseconds",
    "seconds",
    "size_bytes",
    "yes_or_no",
]

MAX_DURATION_S: Final = 100 * 366 * 86_400
"""A century: `now + duration` in nanoseconds fits the 64 bits it has on disk."""

_NS: Final = 1_000_000_000
_DURATIONS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_WORDS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
# Lower case: nobody means millibytes. A bare "20G" is decimal, as in ccache and coreutils' "GB".
_SIZES: Final[Mapping[str, int]] = {
    "": 1,
    "b": 1,
    "byte": 1,
    "bytes": 1,
    **{f"{letter}{tail}": 1000**power for power, letter in enumerate("kmgtp", 1) for tail in ("", "b")},
    **{f"{letter}i{tail}": 1024**power for power, letter in enumerate("kmgtp", 1) for tail in ("", "b")},
}
_PART: Final = r"(?i)\s*(\d+(?:_\d+)*(?:\.\d+)?|\.\d+)\s*([a-zµμ]*)"
_DURATION_FORMS: Final = 'seconds as a number, a timedelta, or "500ms", "10s", "10m", "2h", "7d", "1h30m"'
_SIZE_FORMS: Final = 'bytes as a whole number, or "64kB", "512MiB", "1.5GB" (kB is 1000, KiB is 1024)'


def seconds(value: float | str | timedelta) -> float:
    """The duration in seconds.

    Args:
        value: seconds, a timedelta, or text: numbers with units from ns to w, largest first or
            not ("1h30m"); a number alone is seconds.

    Raises:
        UsageError: negative, not finite, longer than a century, of an unknown unit, or not a
            duration at all.
    """
    if isinstance(value, str):
        result = _sum_of_parts(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = value
    elif callable(total := getattr(value, "total_seconds", None)):  # spares the import of datetime
        result = total()
    else:
        raise _not_a("duration", value, _DURATION_FORMS)
    if not 0 <= result <= MAX_DURATION_S:  # also false for NaN
        raise _not_a("duration", value, f"{_DURATION_FORMS}; from 0 to 100 years")
    return result


def nanoseconds(value: float | str | timedelta) -> int:
    """The duration in nanoseconds; takes and refuses what `seconds` does."""
    result = seconds(value)
    # An int is exact in nanoseconds where a float would not be.
    return result * _NS if isinstance(result, int) else round(result * _NS)


def size_bytes(value: float | str) -> int:
    """The size in bytes.

    Args:
        value: bytes, or text: a number and a unit (B, kB, MB, GB, TB, PB; KiB … PiB; upper or
            lower case); a number alone is bytes.

    Raises:
        UsageError: negative, not a whole number of bytes, of an unknown unit, or not a size.
    """
    if isinstance(value, str):
        match = re.fullmatch(_PART, value.strip())
        factor = _SIZES.get(match[2].lower()) if match else None
        if match is None or factor is None:
            raise _not_a("size", value, _SIZE_FORMS)
        number = match[1]
        return int(number) * factor if number.replace("_", "").isdecimal() else round(float(number) * factor)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value % 1 == 0:
        return int(value)
    raise _not_a("size", value, _SIZE_FORMS)


def format_bytes(number: int) -> str:
    """A size for people, in decimal units with three digits: "999 B", "1.50 MB", "20.0 GB"."""
    if number < 1000:
        return f"{number} B"
    power = 0
    scaled = float(number)
    # 999.5 would print as "1000": the next unit takes over where rounding reaches it.
    while scaled >= 999.5 and power < 5:
        scaled /= 1000
        power += 1
    digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
    return f"{scaled:.{digits}f} {'BkMGTP'[power]}B"


def format_duration(duration_s: float) -> str:
    """A duration for people: "850 ns", "1.25 ms", "12.5 s", "3m 20s", "2h 5m", "7d 3h"."""
    if duration_s < 59.95:
        for factor, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if duration_s >= factor * 0.9995:  # where three digits round up to it
                return f"{duration_s / factor:.3g} {unit}"
        return f"{duration_s * _NS:.0f} ns" if duration_s else "0 s"
    whole = round(duration_s)
    for big, big_name, small, small_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big}{big_name}" + (f" {rest}{small_name}" if rest else "")
    return f"{whole}s"


def _sum_of_parts(text: str) -> float:
    """Seconds of "1h30m", "10 s" or "10"."""
    total: float = 0
    at = 0
    stripped = text.strip()
    part = re.compile(_PART)
    while match := part.match(stripped, at):
        # A number alone is seconds only where it is all there is: "1h30" is a slip.
        is_bare = not match[2] and at == 0 and match.end() == len(stripped)
        factor = 1 if is_bare else _DURATIONS.get(match[2])
        if factor is None:
            raise _not_a("duration", text, _DURATION_FORMS)
        number = match[1]
        total += (int(number) if number.replace("_", "").isdecimal() else float(number)) * factor
        at = match.end()
    if at != len(stripped) or not stripped:
        raise _not_a("duration", text, _DURATION_FORMS)
    return total if total < float("inf") else float("nan")


def _not_a(noun: str, value: object, forms: str) -> UsageError:
    return UsageError(f"not a {noun}: {value!r:.80}; give {forms}")


def yes_or_no(text: str) -> bool | None:
    """What 1, true, yes, on and their opposites mean, in any case; None for any other word."""
    return _WORDS.get(text.strip().lower())
