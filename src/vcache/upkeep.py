"""What keeps a cache in order: its counts, its budget, its examination.

It knows stores by their optional protocols, and nothing of values.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.entry import split_key
from vcache.errors import StoreError, UsageError
from vcache.outcome import Fault, Stats, VerifyReport
from vcache.store.base import Budgeted, Collectable, Ledger, Store, Verifiable

if TYPE_CHECKING:
    from pathlib import Path

    from vcache.janitor import GcReport, Janitor
    from vcache.policy import Limits

__all__ = ["Counts", "Upkeep", "first"]

_NS: Final = 1_000_000_000
_FLUSH_EVERY: Final = 1000
# Beyond this share of its budget a put waits for a collection, so that no writer outruns it.
_HARD_SHARE: Final = 1.1

T = TypeVar("T")
Progress = Callable[[str, int, int], None]


def first(store: Store, protocol: type[T]) -> T | None:
    """The store, or the first of its tiers, that satisfies an optional protocol."""
    for candidate in (*getattr(store, "tiers", ()), store):
        if isinstance(candidate, protocol):
            return candidate
    return None


class Counts:
    """Events of this process. Concurrent threads may lose a few: a lock would cost more."""

    __slots__ = ("corrupt", "expired", "faults", "hits", "misses", "puts", "saved_ns", "stale")

    def __init__(self) -> None:
        self.hits = self.misses = self.puts = self.saved_ns = 0
        self.stale = self.expired = self.corrupt = self.faults = 0


class Upkeep:
    """Keeps one cache's store in order.

    Args:
        store: the cache's store, or its tiers.
        counts: what the cache counts.
        directory: where processes agree on who collects; None without a disk tier.
    """

    def __init__(
        self, store: Store, counts: Counts, *, directory: Path | None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._store, self._counts = store, counts
        self._directory, self._clock = directory, clock
        self._collectable = first(store, Collectable)
        self._budgeted = first(store, Budgeted)
        self._ledger = first(store, Ledger)
        self._flushed: tuple[int, ...] = (0,) * (len(Stats.COUNTED) + 1)
        self._janitor: Janitor | None = None

    def after_put(self) -> None:
        """Keep the budget, and now and then the counts."""
        if self._budgeted is not None and self._budgeted.is_over_budget():
            self._keep_budget()
        if self._counts.puts % _FLUSH_EVERY == 0:
            self.flush()

    def gc(self, limits: Limits | None, *, dry_run: bool, progress: Progress | None) -> GcReport:
        """Collect now; without limits, by those of the tier's address.

        Raises:
            UsageError: there is no tier to collect in.
        """
        from vcache.janitor import collect  # only who collects needs the planner

        if self._collectable is None:
            raise UsageError("gc() needs a disk tier; memory keeps its own budget")
        chosen = limits or self.limits()
        return collect(self._collectable, chosen, clock=self._clock, dry_run=dry_run, progress=progress)

    def limits(self) -> Limits:
        """The limits of the tier's address."""
        from vcache.policy import Limits

        budgeted = self._budgeted
        if budgeted is None:
            return Limits()
        return Limits(
            max_bytes=budgeted.max_bytes, max_entries=budgeted.max_entries, max_age_s=budgeted.max_age_s
        )

    def reclaim(self) -> None:
        """Give the space of what was dropped back."""
        if self._collectable is not None:
            with contextlib.suppress(StoreError, OSError):
                self._collectable.reclaim()

    def stats(self) -> Stats:
        """Counts of look-ups, and what the stores hold."""
        self.flush()
        own = self._store.counters()
        totals = self._totals() if self._ledger is None else self._ledger.totals()
        counted = dict(zip(Stats.COUNTED, totals, strict=False))
        by_tier = {tier.info.name: tier.counters() for tier in getattr(self._store, "tiers", (self._store,))}
        return Stats(
            **counted,
            saved_s=totals[len(Stats.COUNTED)] / _NS,
            entries=own.entries,
            size_bytes=own.size_bytes,
            disk_bytes=0 if self._collectable is None else self._collectable.disk_bytes(),
            tiers=by_tier,
        )

    def zero(self) -> None:
        """Let the counts of all processes start anew."""
        self.flush()
        if self._ledger is not None:
            with contextlib.suppress(StoreError, OSError):
                self._ledger.tally([-total for total in self._ledger.totals()])

    def verify(self, *, repair: bool, progress: Progress | None) -> VerifyReport:
        """Read every byte of the persistent tier against its digest."""
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
        if self._ledger is None:
            return
        with contextlib.suppress(StoreError, OSError):
            counts = self._totals()
            deltas = [now - before for now, before in zip(counts, self._flushed, strict=True)]
            if any(deltas):
                self._ledger.tally(deltas)
                self._flushed = counts

    def close(self) -> None:
        """Write the counts, end the janitor, leave within the budget."""
        self.flush()
        if self._janitor is None:
            return
        self._janitor.close()
        with contextlib.suppress(StoreError, OSError):
            # A process too short for its janitor keeps the budget too.
            if self._budgeted is not None and self._budgeted.is_over_budget():
                self.gc(None, dry_run=False, progress=None)

    def _totals(self) -> tuple[int, ...]:
        own, counts = self._store.counters(), self._counts
        return (
            counts.hits, counts.misses, counts.puts, counts.stale, counts.expired,
            counts.corrupt + own.corrupt, counts.faults + own.faults, own.evicted, counts.saved_ns,
        )  # fmt: skip

    def _keep_budget(self) -> None:
        """Wake the janitor; far over budget, wait for a collection."""
        collectable, budgeted = self._collectable, self._budgeted
        if collectable is None or budgeted is None:
            return
        if self._janitor is None:
            from vcache.janitor import Janitor
            from vcache.kit.fs_atomic import LockFile

            exclusive: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
            if self._directory is not None:
                exclusive = partial(LockFile(self._directory / "janitor.lock").held, 0)
            self._janitor = Janitor(collectable, self.limits(), clock=self._clock, exclusive=exclusive)
        if budgeted.max_bytes is not None and collectable.disk_bytes() > budgeted.max_bytes * _HARD_SHARE:
            self._janitor.run_once()
        else:
            self._janitor.nudge()
