"""When a schedule fires: cron expressions in a time zone, and plain intervals. Pure.

A tick is a moment of UTC in epoch nanoseconds, the same for whoever asks. It must not know what fires.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError, UsageError
from vcache.kit.data import dataclass
from vcache.kit.names import did_you_mean, nearest
from vcache.kit.units import format_duration, nanoseconds

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["EXAMPLES", "Cron", "Every", "When", "next_after", "parse_when", "ticks_between"]

_NS: Final = 1_000_000_000
_SECOND: Final = timedelta(seconds=1)
_SHORTEST_NS: Final = _NS
_START: Final = datetime(2000, 1, 1)  # of no zone: only to see whether a time ever comes

EXAMPLES: Final = (
    '"0 2 * * mon-fri", "@hourly", "every 30s", "daily 02:00", "weekly mon 09:30" or "monthly 1 06:00"'
)

_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_DAYS: Final = "sun mon tue wed thu fri sat".split()
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_FULL_DAY: Final = re.compile(r"(?i)\b(sun|mon|tues|wednes|thurs|fri|satur)day\b")
_FIELDS: Final = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L (the last) or LW (the last weekday)",
    "month": "1 to 12 or jan to dec",
    "day-of-week": "0 to 7 (0 and 7 are Sunday) or sun to sat, with #2 for the second in a month, L for the last",
}


@dataclass(frozen=True, slots=True)
class Every:
    """At all multiples of an interval since 1970 began in UTC: all schedulers agree, nothing is remembered."""

    text: str
    interval_ns: int

    def next_after(self, at_ns: int) -> int:
        """The first tick behind a moment."""
        return (at_ns // self.interval_ns + 1) * self.interval_ns


@dataclass(frozen=True, slots=True)
class Cron:
    """Where a local clock shows what an expression says; across a change of that clock as Debian's cron has it.

    Attributes:
        expression: five fields, or six with seconds first.
        is_fixed: it names its hours and minutes, neither field starts with "*". What a change of the clock
            skips happens right behind it then, and what a change repeats happens the first time only.
            Any other one simply follows the clock.
    """

    text: str
    expression: str
    zone: ZoneInfo
    is_fixed: bool

    def next_after(self, at_ns: int) -> int:
        """The first tick behind a moment.

        Raises:
            UsageError: the moment is in a year that no calendar of Python has.
        """
        at = datetime.fromtimestamp(at_ns // _NS, UTC)
        shown = at.astimezone(self.zone)
        again = None if self.is_fixed else _repeats(shown, self.zone)
        found = self._first(shown.replace(tzinfo=None, fold=0), at)
        if again is not None and found >= again:
            # The clock goes back before that: what it showed already comes once more.
            start = again.astimezone(self.zone).replace(tzinfo=None, fold=0)
            found = self._first(start - _SECOND, again - _SECOND)
        return round(found.timestamp()) * _NS

    def _first(self, shown: datetime, at: datetime) -> datetime:
        """The first tick behind `at`, among what comes behind what the local clock shows."""
        for time in _matches(self.expression, shown):
            early, late = _both(time, self.zone)
            if early > late:  # no clock ever shows it
                if self.is_fixed:
                    return _change(late, early, self.zone)
            elif early > at:
                return early
            elif not self.is_fixed:
                return late
        raise UsageError(f"{self.text!r} does not come any more")


When = Every | Cron


def parse_when(text: str, zone: str = "UTC") -> When:
    """What a text says about when.

    Args:
        text: a cron expression of five fields, or of six with seconds first; "@hourly" and its like;
            "every 30s"; "daily 02:00", "weekly mon 09:30", "monthly 1 06:00", also with several times or days,
            separated by commas.
        zone: whose clock it goes by, such as "Europe/Berlin". Intervals go by none.

    Raises:
        UsageError: it is none of these, never comes, or there is no such zone.
        ConfigError: the library that reads cron expressions is not installed.
    """
    words = text.split()
    if not words:
        raise UsageError(f"when is empty: give {EXAMPLES}")
    first = words[0].lower()
    if first == "every":
        return _interval(text, " ".join(words[1:]))
    made = (
        _spelled(text, first, words[1:])
        if first in _READERS
        else _NICKNAMES.get(first, "")
        if len(words) == 1
        else ""
    )
    if not made and (first[0] == "@" or (len(first) > 3 and first.isalpha())):
        raise _unknown(text, first)
    return _cron(text, made or " ".join(words), _zone(zone))


def next_after(when: When, at_ns: int) -> int:
    """The first tick behind a moment."""
    return when.next_after(at_ns)


def ticks_between(when: When, after_ns: int, until_ns: int, *, most: int) -> tuple[list[int], bool]:
    """The last ticks behind one moment and not behind another, in order, and whether those are all.

    Args:
        most: at most so many; what is left out is not even counted, as it may be millions.
    """
    width_ns = 60 * _NS
    while True:
        # Looked for from the end: each window is twice as wide, so no more than twice what is needed is walked.
        start_ns = max(after_ns, until_ns - width_ns)
        found = list(_walk(when, start_ns, until_ns))
        if len(found) > most or start_ns == after_ns:
            return found[len(found) - min(most, len(found)) :], len(found) <= most
        width_ns *= 2


def _walk(when: When, after_ns: int, until_ns: int) -> Iterator[int]:
    if isinstance(when, Every):
        step = when.interval_ns
        yield from range((after_ns // step + 1) * step, until_ns + 1, step)
        return
    tick_ns = when.next_after(after_ns)
    while tick_ns <= until_ns:
        yield tick_ns
        tick_ns = when.next_after(tick_ns)


# Clocks that change


def _both(time: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When a local clock shows a time, for the first and the last time; the other way round where it never does."""
    return time.replace(tzinfo=zone, fold=0).astimezone(UTC), time.replace(tzinfo=zone, fold=1).astimezone(
        UTC
    )


def _repeats(shown: datetime, zone: ZoneInfo) -> datetime | None:
    """When the local clock goes back to show this once more; None if it does not."""
    if shown.fold:
        return None
    early, late = _both(shown.replace(tzinfo=None), zone)
    return _change(early, late, zone) if early < late else None


def _change(before: datetime, behind: datetime, zone: ZoneInfo) -> datetime:
    """The first second at which a local clock differs from UTC as it does at the later of two moments."""
    offset = behind.astimezone(zone).utcoffset()
    low, high = round(before.timestamp()), round(behind.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return datetime.fromtimestamp(high, UTC)


# What people write


def _matches(expression: str, shown: datetime) -> Iterator[datetime]:
    """Times of no zone that an expression names, behind one of them."""
    try:
        from cronsim import CronSim  # an extra, and intervals have no need of it
    except ImportError:
        raise ConfigError("cron expressions need the package cronsim: pip install 'vcache[jobs]'") from None
    return CronSim(expression, shown)


def _cron(text: str, expression: str, zone: ZoneInfo) -> Cron:
    parts = expression.split()
    try:
        if next(_matches(expression, _START), None) is None:
            raise _never(text)
    except (UsageError, ImportError):
        raise
    except Exception as error:  # cronsim's own
        raise _bad_field(text, parts, str(error)) from None
    minute, hour = parts[-5:-3]
    return Cron(text, expression, zone, not minute.startswith("*") and not hour.startswith("*"))


def _bad_field(text: str, parts: list[str], complaint: str) -> UsageError:
    """What is wrong with a cron expression, with the field at fault."""
    names = list(_FIELDS)[-len(parts) :] if len(parts) in (5, 6) else []
    name = complaint.removeprefix("Bad ")
    if name not in names:
        return UsageError(
            f"not a time to fire at: {text!r} has {len(parts)} fields; a cron expression has minute, hour, "
            f"day-of-month, month and day-of-week, as {EXAMPLES}"
        )
    found = parts[names.index(name)]
    if name == "day-of-month" and set(re.findall(r"\d+", found)) <= {
        "30",
        "31",
    }:  # no month at all is that long
        return _never(text)
    words = {"day-of-week": _DAYS, "month": _MONTHS}.get(name, [])
    unknown = [word for word in re.findall(r"[a-z]{2,}", found.lower()) if word not in words]
    near = [choice for word in unknown for choice in nearest(word, words, limit=1)]
    hint = f"; did you mean {' and '.join(map(repr, near))}?" if near else ""
    if not unknown and re.fullmatch(r"[a-z0-9]+-[a-z0-9]+", found.lower()):
        hint = '; a range goes up, as "1-5"; write others as two, as "sat,sun"'
    return UsageError(
        f"not a time to fire at: {text!r}: its {name} is {found!r}, which takes {_FIELDS[name]}{hint}"
    )


def _never(text: str) -> UsageError:
    return UsageError(f"when {text!r} never comes: no year has such a day")


def _unknown(text: str, first: str) -> UsageError:
    if first == "@reboot":
        return UsageError(f"when {text!r}: no machine starts here; submit a job where yours does")
    choices = [*_NICKNAMES] if first[0] == "@" else ["every", *_READERS]
    near = nearest(first, choices)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return UsageError(f"not a time to fire at: {text!r}: no {first!r} is known{hint or '; give ' + EXAMPLES}")


def _interval(text: str, length: str) -> Every:
    try:
        interval_ns = nanoseconds(length)
    except UsageError as error:
        raise UsageError(f"not a time to fire at: {text!r}: {error}") from None
    if interval_ns < _SHORTEST_NS:
        raise UsageError(
            f"when {text!r}: {format_duration(interval_ns / _NS)} is too short, a second is the least; "
            "what is to happen more often is a loop of one job"
        )
    return Every(text, interval_ns)


def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError, TypeError):  # no such name, a path, a directory
        names = available_timezones()
    by_city = {each.rsplit("/", 1)[-1]: each for each in sorted(names)}
    found = nearest(name, names) or [by_city[city] for city in nearest(name, by_city, limit=1)]
    if found:
        raise UsageError(f"no time zone {name!r}; did you mean {' or '.join(map(repr, found))}?")
    remedy = 'give one as "Europe/Berlin"' if names else "no zones are installed: pip install 'vcache[jobs]'"
    raise UsageError(f"no time zone {name!r}: {remedy}")


def _spelled(text: str, first: str, rest: list[str]) -> str:
    """What stands behind "daily", "weekly" or "monthly", as a cron expression."""
    has_days, field = _READERS[first]
    if len(rest) != 1 + has_days:
        raise UsageError(
            f"not a time to fire at: {text!r} has {len(rest)} words behind {first!r}; as {EXAMPLES}"
        )
    days = _FULL_DAY.sub(lambda found: found[0][:3], rest[0]) if has_days else "*"
    if has_days and first == "weekly" and not re.match(r"[a-z0-9]", days, re.IGNORECASE):
        raise UsageError(f"not a time to fire at: {text!r}: {days!r} is no day{did_you_mean(days, _DAYS)}")
    minute, hour, second = _clock_times(text, rest[-1])
    return " ".join((*([second] if second != "0" else []), minute, hour, *field.replace("?", days).split()))


def _clock_times(text: str, times: str) -> tuple[str, str, str]:
    """Minute, hour and second of "02:00" or "02:00,14:00", which must differ in hours alone."""
    found = [re.fullmatch(r"(\d\d?):(\d\d)(?::(\d\d))?", time) for time in times.split(",")]
    wrong = [time for time, match in zip(times.split(","), found, strict=True) if not _is_clock_time(match)]
    if wrong:
        raise UsageError(
            f'not a time to fire at: {text!r}: {wrong[0]!r} is no time of day, give it as "02:00"'
        )
    parts = [(int(match[1]), int(match[2]), int(match[3] or 0)) for match in found if match]
    if len({part[1:] for part in parts}) > 1:
        raise UsageError(f"when {text!r}: its times differ in more than hours: make a schedule of each")
    return str(parts[0][1]), ",".join(str(part[0]) for part in parts), str(parts[0][2])


def _is_clock_time(match: re.Match[str] | None) -> bool:
    return bool(match) and int(match[1]) < 24 and int(match[2]) < 60 and int(match[3] or 0) < 60  # type: ignore[index]


_READERS: Final = {"daily": (False, "* * ?"), "weekly": (True, "* * ?"), "monthly": (True, "? * *")}
"""Words that a cron expression is spelled with: whether days follow, and the fields behind the hour."""
