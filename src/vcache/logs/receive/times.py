"""Times as people and programs write them, to epoch nanoseconds. Pure; a time without a zone is UTC.

Exact to the last digit: floats and `datetime` end at microseconds. What has been read is remembered, as
records of one moment come together.
"""

from __future__ import annotations

from datetime import date
from typing import Final

__all__ = ["epoch_ns", "iso_ns", "month_day_ns", "number_ns", "time_ns"]

_SECOND: Final = 10**9
_BOUND: Final = 1 << 63
_EPOCH: Final = date(1970, 1, 1).toordinal()
_KEPT: Final = 4096  # prefixes that are remembered; some bytes each
_SCALES: Final[tuple[int, ...]] = tuple(10 ** (9 - digits) for digits in range(10))
_MONTHS: Final = {
    name: at for at, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_starts: Final[dict[str, int]] = {}
_zones: Final[dict[str, int]] = {"": 0, "Z": 0, "z": 0, "UTC": 0, "GMT": 0}
_stamps: Final[dict[tuple[str, int], int]] = {}


def iso_ns(text: str) -> int | None:
    """The time of "2026-11-21T21:14:33.123456789+01:00" and its relatives; None for other text.

    Relatives: a space for the T, slashes in the date, a comma before the fraction, "+0100", no zone.
    """
    start = _starts.get(text[:19])
    if start is not None and text[19:20] == "." and text[-1] == "Z":  # the commonest, at half the cost
        digits = text[20:-1]
        if digits.isdecimal() and len(digits) < 10:
            return start + int(digits) * _SCALES[len(digits)]
    if start is None and (start := _start_of(text[:19])) is None:
        return None
    rest = text[19:]
    if rest == "Z":
        return start
    if rest[:1] in (".", ","):
        digits, zone = (rest[1:-1], "Z") if rest[-1] == "Z" else _split_fraction(rest[1:])
        if not (digits.isdecimal() and digits.isascii()):
            return None
        start += int(digits[:9]) * _SCALES[min(len(digits), 9)]
    else:
        zone = rest
    offset = _zones.get(zone)
    if offset is None and (offset := _zone_of(zone)) is None:
        return None
    found = start - offset
    return found if -_BOUND <= found < _BOUND else None


def _split_fraction(rest: str) -> tuple[str, str]:
    at = 0
    while at < len(rest) and "0" <= rest[at] <= "9":
        at += 1
    return rest[:at], rest[at:]


def _start_of(text: str) -> int | None:
    """Of "2026-11-21T21:14:33" without its fraction and zone, remembered."""
    if len(text) != 19 or text[4] not in "-/" or text[7] != text[4] or text[10] not in "T t_:":
        return None
    if text[13] != ":" or text[16] != ":":
        return None
    parts = (text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:])
    found = _ns_of(*parts)
    if found is None or not -_BOUND <= found < _BOUND:
        return None
    if found < _BOUND - _SECOND:  # what is remembered gets its fraction without a look at the bound
        _keep(_starts, text, found)
    return found


def _keep(kept: dict[str, int], text: str, found: int) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[text] = found


def _ns_of(year: str, month: str, day: str, hour: str, minute: str, second: str) -> int | None:
    digits = year + month + day + hour + minute + second
    if not (digits.isdecimal() and digits.isascii()):
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:  # 60: a leap second
        return None
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    return (days * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second)) * _SECOND


def _zone_of(text: str) -> int | None:
    """The offset of "+01:00", " +0100" or "-03", remembered."""
    zone = text.strip()
    if zone in _zones:
        return _zones[zone]
    digits = zone[1:].replace(":", "")
    if (
        zone[:1] not in ("+", "-")
        or len(digits) not in (2, 4)
        or not (digits.isdecimal() and digits.isascii())
    ):
        return None
    minutes = int(digits[:2]) * 60 + int(digits[2:] or 0)
    found = (minutes if zone[0] == "+" else -minutes) * 60 * _SECOND
    if len(text) < 8:
        _keep(_zones, text, found)
    return found


def number_ns(number: float) -> int | None:
    """An epoch time in seconds, milli-, micro- or nanoseconds, by how large it is; None beyond 64 bits."""
    size = abs(number)
    if not size < _BOUND:  # NaN is not less, either
        return None
    if size < 10**11:  # seconds until the year 5138
        found = round(number * 10**6) * 1000 if isinstance(number, float) else number * _SECOND
    elif size < 10**14:
        found = round(number * 1000) * 1000 if isinstance(number, float) else number * 10**6
    else:
        found = int(number) * (1000 if size < 10**17 else 1)
    return found if -_BOUND <= found < _BOUND else None


def epoch_ns(text: str) -> int | None:
    """As `number_ns`, of decimal digits; a fraction of seconds is exact."""
    whole, dot, fraction = text.partition(".")
    digits = whole.removeprefix("-")
    if not (digits.isdecimal() and digits.isascii() and len(digits) < 20):
        return None
    if not dot:
        return number_ns(int(whole))
    if not (fraction.isdecimal() and fraction.isascii()):
        return None
    if len(digits) > 11:  # milliseconds with a fraction
        return number_ns(float(text[:30]))
    part = int(fraction[:9]) * _SCALES[min(len(fraction), 9)]
    found = abs(int(whole)) * _SECOND + part
    return None if found >= _BOUND else -found if whole[0] == "-" else found


def time_ns(value: object) -> int | None:
    """The time that a value of JSON says: text or a number; None for what is none."""
    kind = type(value)
    if kind is str:
        text: str = value  # type: ignore[assignment]
        found = iso_ns(text)
        return epoch_ns(text) if found is None else found
    if kind is int or kind is float:
        return number_ns(value)  # type: ignore[arg-type]
    return None


def month_day_ns(text: str, now_ns: int) -> int | None:
    """The time of "Oct 11 22:14:15" in the year that brings it nearest to now, as UTC; None for other text."""
    key = (text, now_ns // (86_400 * _SECOND))
    found = _stamps.get(key)
    if found is None:
        found = _nearest(text, now_ns)
        if found is not None:
            if len(_stamps) >= _KEPT:
                _stamps.clear()
            _stamps[key] = found
    return found


def _nearest(text: str, now_ns: int) -> int | None:
    words = text.split()
    if len(words) != 3 or (month := _MONTHS.get(words[0].capitalize())) is None or len(words[1]) > 2:
        return None
    clock = words[2].split(":")
    if len(clock) != 3 or any(len(each) != 2 for each in clock):
        return None
    this = date.fromordinal(_EPOCH + max(min(now_ns // (86_400 * _SECOND), 2_000_000), -700_000)).year
    found = [
        at
        for year in range(max(this - 4, 1), this + 5)  # 29 February has four years between
        if (at := _ns_of(f"{year:04d}", f"{month:02d}", words[1], *clock)) is not None
    ]
    return min(found, key=lambda at: abs(at - now_ns), default=None)
