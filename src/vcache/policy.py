"""What to drop from a store: a pure plan from a survey, limits and the time. No I/O.

It knows neither stores nor files: rows in, positions of rows out. `vcache.janitor` acts on it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import accumulate, compress
from typing import Final, Protocol

from vcache.errors import UsageError
from vcache.kit.data import dataclass

__all__ = ["Columns", "Limits", "Plan", "plan"]

_NS_PER_S: Final = 1_000_000_000
# Below this many rows sorting beats partitioning.
_SORTED_ROWS: Final = 4096
_SAMPLE_ROWS: Final = 512
_AIM: Final = 0.06  # about three standard errors of a share in such a sample


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store may hold. None sets no limit.

    Attributes:
        max_bytes: what the store may take.
        max_entries: how many entries it may keep.
        max_age_s: how long an entry may lie unused.
        low_water: a limit that was passed is undercut to this share of it, so that the next
            put does not pass it again.
        spare_used_s: what was used within so many seconds is kept, whatever limit is passed: a lease
            for whoever was told that it is there. None spares nothing.

    Raises:
        UsageError: a limit is negative, or `low_water` is not within (0, 1].
    """

    max_bytes: int | None = None
    max_entries: int | None = None
    max_age_s: float | None = None
    low_water: float = 0.9
    spare_used_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_entries", "max_age_s", "spare_used_s"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name}={value!r} is negative: give 0 or more, or None for no limit")
        if not 0 < self.low_water <= 1:
            raise UsageError(f"low_water={self.low_water!r} is not a share: give a number above 0, up to 1")

    @property
    def is_unlimited(self) -> bool:
        """Whether only expired rows would be dropped."""
        return self.max_bytes is None and self.max_entries is None and self.max_age_s is None


class Columns(Protocol):
    """What a plan reads of a survey: equally long columns, one row per entry or shared blob.

    `vcache.store.base.Survey` is one; this room stands below the stores and must not name it.
    """

    @property
    def used_ns(self) -> Sequence[int]: ...

    @property
    def expires_s(self) -> Sequence[int]: ...

    @property
    def size_bytes(self) -> Sequence[int]: ...

    @property
    def is_pinned(self) -> Sequence[int]: ...

    @property
    def is_entry(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Which rows of a survey to drop, and why.

    Attributes:
        rows: positions in the survey, each once: the expired, then the aged, then the rest;
            `expired + aged + over_budget` is their number.
        freed_bytes: the sum of their sizes.
    """

    rows: Sequence[int]
    expired: int
    aged: int
    over_budget: int
    freed_bytes: int


def plan(survey: Columns, limits: Limits, *, now_ns: int, used_bytes: int) -> Plan:
    """The rows to drop: expired, then unused for too long, then the least recently used.

    Pinned rows are never dropped, nor those that a lease spares. Of rows used at the same time entries go before the blobs
    they share, then the earlier row goes first. Tighter limits or a later time never drop less:
    a limit counts as passed by what the store held before anything was dropped.

    Args:
        survey: all rows of the store.
        limits: what it may hold.
        now_ns: the time of the decision.
        used_bytes: what the store takes, at least the sum of the rows' sizes; what lies above
            the sum cannot be freed by dropping rows.
    """
    used, sizes = survey.used_ns, survey.size_bytes
    is_kept = bytearray(b"\1") * len(used)
    pinned = _where(survey.is_pinned)
    if limits.spare_used_s is not None:
        # Times far to come are those of a clock that was set back: they lease nothing.
        lease_ns = int(limits.spare_used_s * _NS_PER_S)
        since_ns, until_ns = now_ns - lease_ns, now_ns + lease_ns
        flags = survey.is_pinned
        pinned = [row for row, time_ns in enumerate(used) if since_ns <= time_ns <= until_ns or flags[row]]
    _mark(is_kept, pinned, 0)

    now_s = now_ns // _NS_PER_S
    times_s = survey.expires_s
    # Most stores hold nothing that expires: a look in C saves a loop over a million rows.
    expired = (
        [row for row, time_s in enumerate(times_s) if 0 < time_s < now_s and is_kept[row]]
        if any(times_s)
        else []
    )
    _mark(is_kept, expired, 0)
    aged: list[int] = []
    if limits.max_age_s is not None:
        oldest_ns = now_ns - int(limits.max_age_s * _NS_PER_S)
        aged = [row for row, time_ns in enumerate(used) if time_ns < oldest_ns and is_kept[row]]
        _mark(is_kept, aged, 0)

    freed_bytes = _total(sizes, expired) + _total(sizes, aged)
    over: list[int] = []
    if limits.max_bytes is not None and used_bytes > limits.max_bytes:
        excess = used_bytes - freed_bytes - int(limits.max_bytes * limits.low_water)
        over = _oldest(_kept_rows(is_kept, survey.is_entry), used, sizes, excess)
        _mark(is_kept, over, 0)
    over += _surplus(survey, limits, is_kept, pinned)
    return Plan(
        rows=expired + aged + over,
        expired=len(expired),
        aged=len(aged),
        over_budget=len(over),
        freed_bytes=freed_bytes + _total(sizes, over),
    )


def _surplus(survey: Columns, limits: Limits, is_kept: bytearray, pinned: Sequence[int]) -> list[int]:
    """The least recently used entries above `max_entries`. Blobs do not count and are not dropped."""
    if limits.max_entries is None or sum(survey.is_entry) <= limits.max_entries:
        return []
    rows = [row for row, kept in enumerate(map(operator.and_, is_kept, survey.is_entry)) if kept]
    excess = len(rows) + _total(survey.is_entry, pinned) - int(limits.max_entries * limits.low_water)
    return _oldest(rows, survey.used_ns, survey.is_entry, excess)


def _oldest(rows: list[int], used_ns: Sequence[int], weights: Sequence[int], excess: int) -> list[int]:
    """The least recently used rows whose weights reach an excess, none more than needed.

    A weighted quickselect: sorting a million rows takes 0.5 s, this 0.2 s. The pivot is
    guessed from evenly spaced samples, so that the outcome depends on the input alone, and aimed
    a little past the goal, so that the smaller part is the one to go on with.
    """
    taken: list[int] = []
    total = _total(weights, rows) if excess > 0 else 0
    while 0 < excess <= total and len(rows) > _SORTED_ROWS:
        sample = sorted(map(used_ns.__getitem__, rows[:: len(rows) // _SAMPLE_ROWS]))
        share = excess / total
        aim = share - _AIM if share > 0.5 else share + _AIM
        pivot = sample[int(aim * len(sample))]
        older = [row for row in rows if used_ns[row] < pivot]
        if not older:  # much of the sample shares the least time: sorting ties is cheap
            break
        weight = _total(weights, older)
        if weight > excess:
            rows, total = older, weight
        else:
            taken += older
            excess -= weight
            total -= weight
            rows = [row for row in rows if used_ns[row] >= pivot]
    if excess > total and len(rows) > _SORTED_ROWS:
        return rows
    if excess > 0:
        rows.sort(key=used_ns.__getitem__)  # stable: equal times stay in the order of `rows`
        taken += _prefix(rows, weights.__getitem__, excess)
    return taken


def _prefix(rows: list[int], weight: Callable[[int], int], excess: int) -> list[int]:
    """The shortest prefix that weighs at least as much as an excess, or all."""
    for count, total in enumerate(accumulate(map(weight, rows)), 1):
        if total >= excess:
            return rows[:count]
    return rows


def _kept_rows(is_kept: bytearray, is_entry: Sequence[int]) -> list[int]:
    """The rows still kept, entries before blobs."""
    rows = _where(is_kept)
    if sum(is_entry) == len(is_entry):
        return rows
    return [row for row in rows if is_entry[row]] + [row for row in rows if not is_entry[row]]


def _where(flags: Sequence[int] | bytearray) -> list[int]:
    """The positions of what is set."""
    return list(compress(range(len(flags)), flags)) if any(flags) else []


def _mark(flags: bytearray, rows: Sequence[int], value: int) -> None:
    for row in rows:
        flags[row] = value


def _total(weights: Sequence[int], rows: Sequence[int]) -> int:
    return sum(map(weights.__getitem__, rows))
