"""What follows from the tiers of a tiered store alone: their order, their claims, their walks.

It knows the protocols of stores only, and moves no record.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from vcache.entry import Encoding, Entry, Key, Record
from vcache.errors import DecodeError, UsageError
from vcache.store.base import (
    Batches,
    Files,
    Listing,
    Presence,
    Store,
    StoreCounters,
    StoreInfo,
    Watched,
    satisfies,
)

__all__ = [
    "counted",
    "each_once",
    "entries_of",
    "entry_of",
    "get_each",
    "info_of",
    "is_far",
    "lent",
    "mark_foreign",
    "missing_in",
    "put_each",
    "require_read_only_last",
    "walked",
    "watched_below",
]

_T = TypeVar("_T")

# Below, reading beats opening and mapping a file.
_MAPPED_BYTES: Final = 1 << 20


def watched_below(tiers: Sequence[Store], place: int) -> int | None:
    """The place of the watched tier that one of this process's memory stands above."""
    info = tiers[place].info
    if info.is_shared or info.is_persistent or satisfies(tiers[place], Watched):
        return None
    return next((below for below in range(place + 1, len(tiers)) if satisfies(tiers[below], Watched)), None)


def require_read_only_last(owners: Sequence[Store]) -> None:
    """Refuse an order in which what is written would not be read.

    A far tier below a near one that takes nothing is all right: it is not written either.

    Raises:
        UsageError: a read-only tier comes before one that is not.
    """
    for upper, lower in itertools.pairwise(owners):
        is_hidden = upper.info.is_read_only and not lower.info.is_read_only
        if is_hidden and (is_far(upper) or not is_far(lower)):
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
        is_own=all(info.is_own and info.is_trusted for info in infos),
    )


def is_far(tier: Store) -> bool:
    """Whether a tier is another machine's or another user's: what is there is not this cache's to walk."""
    return not tier.info.is_trusted


def mark_foreign(tiers: Iterable[Store]) -> None:
    """Have tiers that last remember that what others made is going to be in them."""
    for tier in tiers:
        mark: Callable[[], None] | None = getattr(tier, "mark_foreign", None)
        if mark is not None:
            mark()


def walked(owners: Sequence[Store]) -> tuple[Store, ...]:
    """The tiers whose keys are the store's own: those near that last, else all that can be walked.

    A bucket that a whole company fills is asked for keys. Walking it would take minutes, and what is
    done to each key found, such as dropping it by a tag, would be done to everybody.
    """
    near = tuple(tier for tier in owners if not is_far(tier) and tier.info.is_persistent)
    return near or tuple(tier for tier in owners if tier.info.is_listed)


def counted(tiers: Sequence[Store], walked: Sequence[Store], *, corrupt: int, faults: int) -> StoreCounters:
    """What the fullest of the tiers that are walked or near holds, and what happened to any.

    Args:
        corrupt, faults: what the tiered store itself has counted.
    """
    each = [tier.counters() for tier in tiers]
    held = [
        counters
        for tier, counters in zip(tiers, each, strict=True)
        if not is_far(tier) or any(tier is one for one in walked)
    ]
    fullest = max(held, key=lambda counters: counters.entries, default=StoreCounters(0, 0))
    return StoreCounters(
        entries=fullest.entries,
        size_bytes=fullest.size_bytes,
        corrupt=corrupt + sum(counters.corrupt for counters in each),
        evicted=sum(counters.evicted for counters in each),
        faults=faults + sum(counters.faults for counters in each),
    )


@contextmanager
def lent(tier: Store, entry: Entry) -> Iterator[Record | None]:
    """The record of an entry to be copied elsewhere: a large body that is a file is mapped, not read."""
    held = None
    if entry.encoding is Encoding.IDENTITY and entry.size_bytes >= _MAPPED_BYTES and satisfies(tier, Files):
        held = tier.hold(entry.key)
    if held is None:
        yield tier.get(entry.key)
        return
    try:
        with open(held.path, "rb") as file:
            body = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        yield Record(entry.encode(), body)
    finally:
        held.release()


def put_each(tier: Store, records: Mapping[Key, Record]) -> None:
    """A batch of records into a tier, whether it takes batches or not."""
    if len(records) > 1 and satisfies(tier, Batches):
        tier.put_many(records)
    else:
        for key, record in records.items():
            tier.put(key, record)


def missing_in(tier: Store, keys: Sequence[Key]) -> set[Key]:
    """Those of the keys that a tier does not have."""
    if satisfies(tier, Presence):
        return tier.missing(keys)
    return {key for key in keys if entry_of(tier, key) is None}


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
