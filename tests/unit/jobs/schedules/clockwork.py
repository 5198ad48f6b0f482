"""When cron fires, found by asking minute after minute: slow, plain, and knowing nothing of what it checks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

__all__ = ["MINUTE_NS", "changes", "minutes", "nanos", "ticks"]

MINUTE_NS = 60_000_000_000
_MINUTE = timedelta(minutes=1)
Shown = list[tuple[datetime, datetime]]
"""Moments of UTC, a minute apart, and what a local clock shows."""


def nanos(moment: datetime) -> int:
    """As epoch nanoseconds."""
    return round(moment.timestamp()) * 1_000_000_000


@cache
def changes(zone: str, first_year: int, last_year: int) -> list[datetime]:
    """When clocks of a zone are set, to the minute."""
    at, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    found, step, place = [], timedelta(hours=12), ZoneInfo(zone)
    while at < end:
        if at.astimezone(place).utcoffset() != (at + step).astimezone(place).utcoffset():
            near = at
            while near.astimezone(place).utcoffset() == at.astimezone(place).utcoffset():
                near += _MINUTE
            found.append(near)
        at += step
    return found


@cache
def minutes(zone: str, start: datetime, hours: int) -> Shown:
    """All minutes from one moment on."""
    place = ZoneInfo(zone)
    moments = [start + number * _MINUTE for number in range(hours * 60)]
    return [(moment, moment.astimezone(place)) for moment in moments]


def ticks(expression: str, shown: Shown) -> list[int]:
    """All moments at which Debian's cron would have an expression fire, but for the first minute."""
    does_match = _matcher(expression)
    minute, hour = expression.split()[:2]
    follows = minute.startswith("*") or hour.startswith("*")
    found = []
    for (_, before), (moment, local) in itertools.pairwise(shown):
        comes_again = bool(local.fold)
        if follows:
            fires = does_match(local)
        else:
            fires = does_match(local) and not comes_again
            skipped = before.replace(tzinfo=None) + _MINUTE
            while skipped < local.replace(tzinfo=None):  # the clock was set forward
                fires |= does_match(skipped)
                skipped += _MINUTE
        if fires:
            found.append(nanos(moment))
    return found


@cache
def _matcher(expression: str) -> Callable[[datetime], bool]:
    texts = expression.split()
    minute, hour, day, month, weekday = map(_numbers, texts, (0, 0, 1, 1, 0))
    is_and = texts[2].startswith("*") or texts[4].startswith("*")

    def does_match(time: datetime) -> bool:
        if time.minute not in minute or time.hour not in hour or time.month not in month:
            return False
        on_day, on_weekday = time.day in day, time.isoweekday() in weekday or time.isoweekday() % 7 in weekday
        return on_day and on_weekday if is_and else on_day or on_weekday

    return does_match


def _numbers(text: str, least: int) -> set[int]:
    found: set[int] = set()
    for piece in text.split(","):
        span, _, step = piece.partition("/")
        first, _, last = (least, "", 99) if span == "*" else span.partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found
