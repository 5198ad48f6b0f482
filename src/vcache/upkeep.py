"""What keeps a cache in order: its counts, its budget, its examination.

It knows stores by their optional protocols, and nothing of values.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.entry import split_key
from vcache.errors import StoreError, UsageError
from vcache.store.base import Budgeted, Collectable, Ledger, Store, StoreCounters, Verifiable, satisfies

if TYPE_CHECKING:
    from vcache.janitor import GcReport, Janitor
    from vcache.policy import Limits
    from vcache.report import Stats, VerifyReport

__all__ = ["Counts", "Upkeep", "first"]

# How many kinds of events are counted, saved time not among them: `Stats.COUNTED`.
_COUNTED: Final = 8
# Behind them: saved time, and what far tiers gave: records and bytes.
_TALLIED: Final = _COUNTED + 3
_NS: Final = 1_000_000_000
_FLUSH_EVERY: Final = 1000
# Beyond this share of its budget a put waits for a collection, so that no writer outruns it.
_HARD_SHARE: Final = 1.1
_TRIES: Final = 3
_REST_S: Final = 1.0
_PATIENCE_S: Final = 2.0  # for the collection of another process
_JANITOR: Final = "janitor.lock"

T = TypeVar("T")
Progress = Callable[[str, int, int], None]


def first(store: Store, protocol: type[T]) -> T | None:
    """The store, or the first of its tiers, that satisfies an optional protocol."""
    for candidate in (*getattr(store, "tiers", ()), store):
        if satisfies(candidate, protocol):
            return candidate
    return None


class Counts:
    """Events of this process. Concurrent threads may lose a few: a lock would cost more."""

    __slots__ = ("corrupt", "expired", "faults", "hits", "misses", "puts", "saved_ns", "stale")

    def __init__(self) -> None:
        self.hits = self.misses = self.puts = self.saved_ns = 0
        self.stale = self.expired = self.corrupt = self.faults = 0


_all: weakref.WeakSet[Upkeep] = weakref.WeakSet()


class Upkeep:
    """Keeps one cache's store in order.

    Args:
        store: the cache's store, or its tiers.
        counts: what the cache counts.
        spare_used_s: what was used within so many seconds is not collected.
    """

    def __init__(
        self,
        store: Store,
        counts: Counts,
        *,
        spare_used_s: float | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store, self._counts, self._clock = store, counts, clock
        self._spare_used_s = spare_used_s
        self._collectable = first(store, Collectable)
        self._ledger = first(store, Ledger)
        self._flushed: tuple[int, ...] = (0,) * _TALLIED
        self._flushed_of_store: tuple[int, ...] = self._flushed
        self._puts = 0
        # Each tier with a budget of its own keeps it, not only the first.
        self._budgets = [
            _Budget(tier, clock, spare_used_s)
            for tier in getattr(store, "tiers", (store,))
            if not tier.info.is_read_only and isinstance(tier, Budgeted)
        ]
        _all.add(self)

    def after_put(self) -> None:
        """Keep the budgets, and now and then the counts."""
        for budget in self._budgets:
            if budget.tier.is_over_budget():
                budget.keep()
        self._puts += 1
        if self._puts % _FLUSH_EVERY == 0:
            self.flush()

    def gc(self, limits: Limits | None, *, dry_run: bool, progress: Progress | None) -> GcReport:
        """Collect the nearest disk tier now; without limits, by those of its address.

        Raises:
            UsageError: there is no tier to collect in.
        """
        from vcache.janitor import collect  # only who collects needs the planner

        if self._collectable is None:
            raise UsageError("gc() needs a disk tier; memory keeps its own budget")
        chosen = limits or self.limits()
        return collect(self._collectable, chosen, clock=self._clock, dry_run=dry_run, progress=progress)

    def limits(self) -> Limits:
        """The limits of the nearest disk tier's address."""
        return _limits(first(self._store, Budgeted), self._spare_used_s)

    def reclaim(self) -> None:
        """Give the space of what was dropped back."""
        if self._collectable is not None:
            with contextlib.suppress(StoreError, OSError):
                self._collectable.reclaim()

    def stats(self) -> Stats:
        """Counts of look-ups, and what the stores hold."""
        from vcache.report import Stats  # only who asks for it; a dataclass takes 0.6 ms to make

        self.flush()
        own = self._store.counters()
        totals = self._totals() if self._ledger is None else self._ledger.totals()
        if self._ledger is not None and self._is_read_only():  # which counts nothing for others
            totals = [one + other for one, other in zip(totals, self._totals(), strict=False)]
        totals = [*totals, *[0] * (_TALLIED - len(totals))]
        counted = dict(zip(Stats.COUNTED, totals, strict=False))
        by_tier: dict[str, StoreCounters] = {}
        for tier in getattr(self._store, "tiers", (self._store,)):
            name = tier.info.name
            by_tier[name if name not in by_tier else tier.info.url] = tier.counters()
        return Stats(
            **counted,
            saved_s=totals[len(Stats.COUNTED)] / _NS,
            entries=own.entries,
            size_bytes=own.size_bytes,
            disk_bytes=0 if self._collectable is None else self._collectable.disk_bytes(),
            tiers=by_tier,
            fetched=totals[_COUNTED + 1],
            fetched_bytes=totals[_COUNTED + 2],
        )

    def zero(self) -> None:
        """Let the counts of all processes start anew."""
        self.flush()
        if self._ledger is not None:
            with contextlib.suppress(StoreError, OSError):
                self._ledger.tally([-total for total in self._ledger.totals()])

    def verify(self, *, repair: bool, progress: Progress | None) -> VerifyReport:
        """Read every byte of the persistent tier against its digest."""
        from vcache.report import Fault, VerifyReport

        examinable = first(self._store, Verifiable)
        total, examined, faults = self._store.counters().entries, 0, []
        for key, what in () if examinable is None else examinable.verify(repair=repair):
            examined += 1
            if what is not None:
                faults.append(Fault(None if key is None else split_key(key)[1], what))
            if progress is not None and examined % 64 == 0:
                progress("verify", examined, total)
        return VerifyReport(examined, tuple(faults), repair)

    def flush(self) -> None:
        """Add what this process counted since the last time to the shared totals."""
        if self._ledger is None or self._is_read_only():
            return
        with contextlib.suppress(StoreError, OSError):
            counted, of_store = self._counted(), self._counted_by_store()
            deltas = [
                a - b + c - d
                for a, b, c, d in zip(counted, self._flushed, of_store, self._flushed_of_store, strict=True)
            ]
            if any(deltas):
                self._ledger.tally(deltas)
                self._flushed, self._flushed_of_store = counted, of_store

    def close(self) -> None:
        """Write the counts, end the janitor, leave within the budget."""
        self.flush()
        for budget in self._budgets:
            budget.close()

    def _totals(self) -> tuple[int, ...]:
        return tuple(a + b for a, b in zip(self._counted(), self._counted_by_store(), strict=True))

    def _counted(self) -> tuple[int, ...]:
        counts = self._counts
        return (
            counts.hits, counts.misses, counts.puts, counts.stale, counts.expired,
            counts.corrupt, counts.faults, 0, counts.saved_ns, 0, 0,
        )  # fmt: skip

    def _counted_by_store(self) -> tuple[int, ...]:
        own = self._store.counters()
        fetched = (getattr(self._store, name, 0) for name in ("fetched", "fetched_bytes"))
        return (0, 0, 0, 0, 0, own.corrupt, own.faults, own.evicted, 0, *fetched)

    def _is_read_only(self) -> bool:
        info = getattr(self._ledger, "info", None)
        return info is not None and info.is_read_only is True

    def _forget_parents_counts(self) -> None:
        """In a forked child: what the parent counted is the parent's to write down."""
        counts = self._counts
        for name in Counts.__slots__:
            setattr(counts, name, 0)
        self._flushed = self._counted()


class _Budget:
    """One tier with limits, and the janitor that keeps them."""

    def __init__(self, tier: Budgeted, clock: Callable[[], int], spare_used_s: float | None) -> None:
        self.tier, self._clock, self._spare_used_s = tier, clock, spare_used_s
        self._janitor: Janitor | None = None
        self._hopeless_until = 0.0  # by the monotonic clock

    def keep(self) -> None:
        """Wake the janitor; far over budget, wait for a collection."""
        tier, is_far = self.tier, self._is_far_over()
        if not satisfies(tier, Collectable):
            return
        if self._janitor is None:
            self._janitor = self._hire(tier)
        if not is_far:
            self._janitor.nudge()
        elif time.monotonic() >= self._hopeless_until:
            self._make_room(tier, self._janitor)

    def _make_room(self, tier: Collectable, janitor: Janitor) -> None:
        """Collect, or wait for who is at it: what that one saw may be less than there is by then."""
        for _ in range(_TRIES):
            report = janitor.run_once()
            if report is not None:
                if not (report.freed_bytes or report.dropped_entries):
                    # Only pins are left: another survey at the next put would find no more.
                    self._hopeless_until = time.monotonic() + _REST_S
                return
            self._wait_for_other(tier)
            if not self._is_far_over():
                return

    def _is_far_over(self) -> bool:
        tier, limit, entries = self.tier, self.tier.max_bytes, self.tier.max_entries
        if entries is not None and tier.counters().entries > entries * _HARD_SHARE:
            return True
        if limit is None or not satisfies(tier, Collectable):
            return False
        return tier.disk_bytes() > limit * _HARD_SHARE

    @staticmethod
    def _wait_for_other(tier: Collectable) -> None:
        """Let the process that collects come to an end, or the others would outrun it."""
        from vcache.kit.fs_atomic import LockFile

        directory = getattr(tier, "directory", None)
        if directory is not None:
            with contextlib.suppress(StoreError, OSError), LockFile(directory / _JANITOR).held(_PATIENCE_S):
                pass

    def close(self) -> None:
        """End the janitor. A process too short for it keeps the budget too, also where it only read:
        what far tiers gave was kept.
        """
        with contextlib.suppress(StoreError, OSError):
            is_over = self.tier.is_over_budget()
            if self._janitor is not None:
                self._janitor.close()
            if is_over and satisfies(self.tier, Collectable):
                self._hire(self.tier).run_once()

    def _hire(self, tier: Collectable) -> Janitor:
        from vcache.janitor import Janitor
        from vcache.kit.fs_atomic import LockFile

        directory = getattr(tier, "directory", None)
        exclusive: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        if directory is not None:
            exclusive = partial(LockFile(directory / _JANITOR).held, 0)
        return Janitor(tier, _limits(self.tier, self._spare_used_s), clock=self._clock, exclusive=exclusive)


def _limits(budgeted: Budgeted | None, spare_used_s: float | None = None) -> Limits:
    from vcache.policy import Limits

    if budgeted is None:
        return Limits()
    return Limits(
        max_bytes=budgeted.max_bytes,
        max_entries=budgeted.max_entries,
        max_age_s=budgeted.max_age_s,
        spare_used_s=spare_used_s,
    )


def _after_fork() -> None:
    for upkeep in list(_all):
        upkeep._forget_parents_counts()


os.register_at_fork(after_in_child=_after_fork)
