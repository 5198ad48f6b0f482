"""What dialects did, in plain numbers: a request adds to a few, a scrape reads them all. No I/O.

Counted on the event loop's thread and by gRPC's; threads that add at once may lose a few, a lock
would cost more.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from vcache.metrics import METRICS

__all__ = ["BOUNDS_S", "Counts", "Slot"]

BOUNDS_S: Final = METRICS["vcache_server_duration_seconds"].bounds
"""Upper ends of the buckets of latencies."""
_BOUNDS_NS: Final = [round(bound * 1e9) for bound in BOUNDS_S]


class Slot:
    """What one dialect did.

    Attributes:
        hits, misses, puts: requests by what they came to.
        refused: requests that were not done, by status.
        in_bytes, out_bytes: of bodies.
        saved_ns: what hits had once taken to make.
        running: requests under way.
        buckets: requests by how long they took, the last bucket without an end.
        took_ns: the sum of it.
    """

    __slots__ = (
        "buckets", "hits", "in_bytes", "misses", "others", "out_bytes", "puts", "refused", "running",
        "saved_ns", "took_ns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.hits = self.misses = self.puts = self.others = 0
        self.in_bytes = self.out_bytes = self.saved_ns = self.running = self.took_ns = 0
        self.refused: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS_S) + 1)

    def count(self, outcome: str, *, in_bytes: int, out_bytes: int, saved_ns: int, took_ns: int) -> None:
        """A request that was answered: "hit", "miss", "put" or anything else."""
        if outcome == "hit":
            self.hits += 1
            self.saved_ns += saved_ns
        elif outcome == "miss":
            self.misses += 1
        elif outcome == "put":
            self.puts += 1
        else:
            self.others += 1
        self.in_bytes += in_bytes
        self.out_bytes += out_bytes
        self.took(took_ns)

    def took(self, took_ns: int) -> None:
        """How long a request took."""
        self.took_ns += took_ns
        self.buckets[bisect_left(_BOUNDS_NS, took_ns)] += 1

    def refuse(self, status: int) -> None:
        """A request that was not done."""
        self.refused[status] = self.refused.get(status, 0) + 1


class Counts:
    """What all dialects did."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        self.told: dict[tuple[str, str, str], int] = {}
        """What clients told, by dialect, source and event."""

    def of(self, dialect: str) -> Slot:
        """The numbers of a dialect."""
        slot = self.slots.get(dialect)
        if slot is None:
            slot = self.slots[dialect] = Slot()
        return slot

    def tell(self, dialect: str, source: str, event: str) -> None:
        """A client found something or not, by its own word."""
        key = (dialect, source, event)
        self.told[key] = self.told.get(key, 0) + 1

    def sums(self) -> tuple[int, int, int, int]:
        """Hits, misses, puts and saved nanoseconds of all."""
        slots = list(self.slots.values())
        return (
            sum(slot.hits for slot in slots),
            sum(slot.misses for slot in slots),
            sum(slot.puts for slot in slots),
            sum(slot.saved_ns for slot in slots),
        )
