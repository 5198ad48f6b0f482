"""What a look-up, a count and an examination come to: frozen data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from vcache.entry import Dep, Entry
    from vcache.store.base import StoreCounters

__all__ = ["Fault", "Hit", "Miss", "Reason", "Stats", "VerifyReport"]


class Reason(Enum):
    """Why a look-up found nothing to use."""

    ABSENT = "absent"  # never stored, deleted or evicted
    EXPIRED = "expired"  # its time to live is over
    STALE = "stale"  # something it depends on changed
    CORRUPT = "corrupt"  # stored bytes that cannot be read back
    UNREACHABLE = "unreachable"  # the store failed
    DISABLED = "disabled"  # caching is switched off


@dataclass(frozen=True, slots=True)
class Hit:
    """A value that may be used. True in a condition.

    Attributes:
        tier: the name of the tier that answered.
        entry: everything known of the value.
        value: the value; for a remembered exception, the exception.
        is_expired: served beyond its time to live, because `stale` allows it.
    """

    tier: str
    entry: Entry
    value: object
    is_expired: bool = False

    def use(self) -> object:
        """The value.

        Raises:
            Exception: the value, where it is a remembered exception.
        """
        if isinstance(self.value, Exception) and self.entry.is_error:
            raise self.value
        return self.value

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Miss:
    """No value, and why. False in a condition.

    Attributes:
        reason: the kind of miss.
        detail: a sentence for people.
        dep: the changed dependency of a stale entry.
        entry: the entry that was there but is of no use, if any.
    """

    reason: Reason
    detail: str = ""
    dep: Dep | None = None
    entry: Entry | None = None

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of look-ups and what they saved.

    `entries`, `size_bytes` and `disk_bytes` are of the stores now. The rest counts events:
    of all processes since the directory was made where there is a disk tier, else of this
    process. Counts of concurrent threads may miss a few.

    Attributes:
        tiers: what each tier holds, and what happened to it in this process.
        saved_s: the time that the hits' values once took to make.
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
