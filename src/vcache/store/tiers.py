"""What follows from the tiers of a tiered store alone: their order, their claims, their walks.

It knows the protocols of stores only, and moves no record.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from vcache.entry import Entry, Key, Record
from vcache.errors import DecodeError, UsageError
from vcache.store.base import Listing, Store, StoreInfo, Watched, satisfies

__all__ = [
    "each_once",
    "entries_of",
    "entry_of",
    "get_each",
    "info_of",
    "require_read_only_last",
    "watched_below",
]

_T = TypeVar("_T")


def watched_below(tiers: Sequence[Store], place: int) -> int | None:
    """The place of the watched tier that one of this process's memory stands above."""
    info = tiers[place].info
    if info.is_shared or info.is_persistent or satisfies(tiers[place], Watched):
        return None
    return next((below for below in range(place + 1, len(tiers)) if satisfies(tiers[below], Watched)), None)


def require_read_only_last(owners: Sequence[Store]) -> None:
    """Refuse an order in which what is written would not be read.

    Raises:
        UsageError: a read-only tier comes before one that is not.
    """
    for upper, lower in itertools.pairwise(owners):
        if upper.info.is_read_only and not lower.info.is_read_only:
            raise UsageError(
                f"the read-only tier {upper.info.url!r} would hide what is written to {lower.info.url!r}: "
                "put read-only tiers last"
            )


def info_of(tiers: Sequence[Store], *, is_read_only: bool) -> StoreInfo:
    """What tiers are together: trusted, since what is not is checked before it is served."""
    infos = [tier.info for tier in tiers]
    return StoreInfo(
        name="tiered",
        url=" ".join(info.url for info in infos),
        is_shared=any(info.is_shared for info in infos),
        is_trusted=True,
        is_persistent=any(info.is_persistent for info in infos),
        is_read_only=is_read_only,
    )


def get_each(tier: Store, keys: Iterable[Key]) -> dict[Key, Record]:
    """A batch of a tier that takes no batches."""
    return {key: record for key in keys if (record := tier.get(key)) is not None}


def entries_of(tier: Store, prefix: bytes) -> Iterator[Entry]:
    """The entries of a tier, which costs one that cannot list them its bodies."""
    if satisfies(tier, Listing):
        return tier.entries(prefix)
    found = (entry_of(tier, key) for key in tier.scan(prefix))
    return (entry for entry in found if entry is not None)


def entry_of(tier: Store, key: Key) -> Entry | None:
    """The entry of a key in a tier; None too where what the tier gives is not the key's."""
    if satisfies(tier, Listing):
        return tier.entry(key)
    record = tier.get(key)
    try:
        entry = None if record is None else record.entry()
    except DecodeError:
        return None
    return entry if entry is not None and entry.key == key else None


def each_once(pairs: Iterable[tuple[Key, _T]]) -> Iterator[_T]:
    """The second of each pair whose first did not come before."""
    seen: set[Key] = set()
    for key, item in pairs:
        if key not in seen:
            seen.add(key)
            yield item
