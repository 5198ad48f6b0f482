"""Records of blocks and of the tail in the order of time, as lazily as their bounds allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from vcache.kit.data import NamedTuple
from vcache.logs.record import Record
from vcache.logs.segment.reading import OpenBlock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fetch", "Look", "in_order", "last_of"]

_BATCH: Final = 1_024

Look = Callable[[OpenBlock], "NDArray[np.int64]"]
"""The rows of a block that are meant; none of one that is damaged."""
Fetch = Callable[[OpenBlock, "NDArray[np.int64]"], Sequence[Record]]


class _Found(NamedTuple):
    """Rows of a block that are meant, in the order of (time, stream, sequence).

    Attributes:
        is_whole: nothing of the block comes later.
    """

    block: OpenBlock
    rows: NDArray[np.int64]
    keys: list[tuple[int, int, int]]
    is_whole: bool = True


def in_order(
    looked: Iterator[tuple[OpenBlock, NDArray[np.int64]]],
    following_ns: Sequence[int],
    tail: Sequence[Record],
    fetch: Fetch,
) -> Iterator[Record]:
    """All records that are meant, the oldest first.

    Args:
        looked: blocks in the order of their first records, and the rows that are meant.
        following_ns: for each of them, when the next one begins.
        tail: those of it that are meant, in order.
        fetch: gives records of a block; none where it is damaged.
    """
    found: list[_Found] = []
    at_tail = 0
    for (block, rows), following in zip(looked, following_ns, strict=True):
        if len(rows):
            found.append(_found(block, rows))
        ready, found = _before(found, following)
        rest = at_tail
        while rest < len(tail) and tail[rest].at_ns < following:
            rest += 1
        if ready or rest > at_tail:
            yield from _merged(ready, tail[at_tail:rest], fetch)
        at_tail = rest
    yield from _merged([each._replace(is_whole=True) for each in found], tail[at_tail:], fetch)


def _merged(ready: Sequence[_Found], tail: Sequence[Record], fetch: Fetch) -> Iterator[Record]:
    import heapq

    own = ((_key_of(record), record) for record in tail)
    return (record for _, record in heapq.merge(_fetched(ready, fetch), own, key=itemgetter(0)))


def last_of(
    blocks: Sequence[OpenBlock], look: Look, tail: Sequence[Record], fetch: Fetch, count: int
) -> list[Record]:
    """The last so many records that are meant, the oldest first. `tail` and `fetch` are those of `in_order`."""
    import heapq

    if not count:
        return []
    own = tail[-count:]
    best: list[tuple[tuple[int, int, int], int, int]] = [
        (_key_of(record), -1, at) for at, record in enumerate(own)
    ]
    heapq.heapify(best)
    seen: list[_Found] = []
    for block in sorted(blocks, key=lambda block: block.about.last_ns, reverse=True):
        if len(best) == count and block.about.last_ns < best[0][0][0]:
            break
        new = _found(block, look(block), most=count)
        for at, key in enumerate(new.keys):
            if len(best) < count:
                heapq.heappush(best, (key, len(seen), at))
            elif key > best[0][0]:
                heapq.heapreplace(best, (key, len(seen), at))
        seen.append(new)
    return _gathered(sorted(best), own, seen, fetch)


def _gathered(
    best: Sequence[tuple[tuple[int, int, int], int, int]],
    own: Sequence[Record],
    seen: Sequence[_Found],
    fetch: Fetch,
) -> list[Record]:
    import numpy as np

    wanted: dict[int, list[int]] = {}
    for _, which, at in best:
        if which >= 0:
            wanted.setdefault(which, []).append(at)
    known: dict[tuple[int, int], Record] = {(-1, at): record for at, record in enumerate(own)}
    for which, places in wanted.items():
        records = fetch(seen[which].block, seen[which].rows[np.array(places)])
        seen[which].block.forget()
        known.update(zip(((which, at) for at in places), records, strict=False))
    return [known[which, at] for _, which, at in best if (which, at) in known]


def _found(block: OpenBlock, rows: NDArray[np.int64], *, most: int | None = None) -> _Found:
    import numpy as np

    if not len(rows):
        return _Found(block, rows, [])
    times: Any = np.array(block.core("@time").take(rows))
    if most is not None and len(rows) > most:
        # Of equal times at the bound all stay: their ids decide.
        bound = np.partition(times, len(times) - most)[len(times) - most]
        rows, times = rows[times >= bound], times[times >= bound]
    places = block.places(rows)
    keys = [(at, stream, seq) for at, (stream, seq) in zip(times.tolist(), places, strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return _Found(block, rows[np.array(order)], [keys[at] for at in order])


def _before(found: Sequence[_Found], end_ns: int) -> tuple[list[_Found], list[_Found]]:
    """What comes before a time, and what does not."""
    from bisect import bisect_left

    ready, rest = [], []
    for each in found:
        at = bisect_left(each.keys, (end_ns,))  # it is less than all that begin with it
        is_whole = at == len(each.keys)
        if at:
            ready.append(_Found(each.block, each.rows[:at], each.keys[:at], is_whole))
        if not is_whole:
            rest.append(_Found(each.block, each.rows[at:], each.keys[at:]))
    return ready, rest


def _fetched(found: Sequence[_Found], fetch: Fetch) -> Iterator[tuple[tuple[int, int, int], Record]]:
    """Records in order, a batch at a time."""
    import heapq

    def of_one(each: _Found) -> Iterator[tuple[tuple[int, int, int], Record]]:
        for at in range(0, len(each.keys), _BATCH):
            records = fetch(each.block, each.rows[at : at + _BATCH])
            yield from zip(each.keys[at : at + _BATCH], records, strict=False)
        if each.is_whole:
            each.block.forget()

    return heapq.merge(*map(of_one, found), key=itemgetter(0))


def _key_of(record: Record) -> tuple[int, int, int]:
    from vcache.logs.ids import parse_id

    return (record.at_ns, *parse_id(record.id))
