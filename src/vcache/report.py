"""What counting and examining a cache come to: frozen data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from vcache.store.base import StoreCounters

__all__ = ["Fault", "Stats", "VerifyReport"]


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of look-ups and what they saved.

    `entries`, `size_bytes` and `disk_bytes` are of the stores now. The rest counts events:
    of all processes since the directory was made where there is a disk tier, else of this
    process. Counts of concurrent threads may miss a few.

    Attributes:
        tiers: what each tier holds, and what happened to it in this process.
        saved_s: the time that the hits' values once took to make.
        fetched, fetched_bytes: records that far tiers gave, whether they served a hit or something on the
            way to one, and the bytes of their bodies.
    """

    hits: int
    misses: int
    puts: int
    stale: int
    expired: int
    corrupt: int
    faults: int
    evicted: int
    saved_s: float
    entries: int
    size_bytes: int
    disk_bytes: int
    tiers: Mapping[str, StoreCounters] = field(default_factory=dict)
    fetched: int = 0
    fetched_bytes: int = 0

    COUNTED: ClassVar[tuple[str, ...]] = (
        "hits", "misses", "puts", "stale", "expired", "corrupt", "faults", "evicted",
    )  # fmt: skip

    @property
    def ratio(self) -> float:
        """Hits among all look-ups, from 0 to 1; 0 without any."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that an examination found wrong. The name is None where it cannot be read."""

    name: str | bytes | None
    what: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome of reading everything. True when nothing is wrong."""

    examined: int
    faults: tuple[Fault, ...]
    is_repaired: bool

    def __bool__(self) -> bool:
        return not self.faults
