"""The answer to a query over segments and the tail."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from vcache.errors import DecodeError, StoreBusy
from vcache.kit.deadlines import left_s
from vcache.logs.base import Gap, Result, Seen
from vcache.logs.fields import getter_of
from vcache.logs.record import Record
from vcache.logs.search.decided import decided, timed
from vcache.logs.search.masks import mask_of, rows_of
from vcache.logs.search.rows import in_order, last_of
from vcache.logs.search.sums import Counts, add_block, add_counted, rows_counted
from vcache.logs.segment.reading import OpenBlock, Segment
from vcache.query.printing import unparse
from vcache.query.rows import compiled
from vcache.query.shapes import SHAPES
from vcache.query.stages import run
from vcache.query.syntax import Aggregate, Everything, Expression, Last, Query, Value
from vcache.query.totals import MOST_GROUPS, Totals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


__all__ = ["Kept", "search"]

T = TypeVar("T")
U = TypeVar("U")

_VERSION: Final = 1  # of what is kept
_MOST_KEPT_ROWS: Final = 4_096
_AHEAD: Final = 2  # blocks per thread that are looked at before somebody asks
_FOREIGN: Final = (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError)
_WORTH: Final = 24  # blocks: for fewer the hand-overs cost more than a second thread brings
_LONG_S, _OVER_S = 3600.0, 0.001  # a deadline that has passed leaves a millisecond


class Kept(Protocol):
    """Keeps what the first steps of a query made of a segment. It may forget, and never lies."""

    def get(self, query: str, digest: bytes) -> object | None: ...

    def put(self, query: str, digest: bytes, plain: object) -> None:
        """Lists, numbers, texts and bytes."""


def search(
    query: Query, segments: Sequence[Segment], tail: Sequence[Record], *, kept: Kept | None = None
) -> Result:
    """The answer; lazy. Records of the tail are in no segment.

    Args:
        kept: where answers of segments are remembered.
    """
    work = _Search(query.where, segments, tail, kept)
    first = query.stages[0] if query.stages else None
    result = Result(None, iter(()), work.gaps, work.seen)
    if isinstance(first, Aggregate):
        totals = Totals(first)
        result.columns, rows = run(query.stages[1:], totals.columns, work.totals(first))
    elif isinstance(first, Last):
        result.columns, rows = run(query.stages[1:], None, work.last(first.count), getter_of=getter_of)
    else:
        result.columns, rows = run(query.stages, None, work.records(), getter_of=getter_of)
    result.rows = work.clocked(rows)
    return result


class _Part:
    """A segment, and what is asked of it."""

    def __init__(self, segment: Segment, where: Expression) -> None:
        self.segment, self.where = segment, where
        # A segment that is closed meanwhile has no blocks: then these are gaps, and nothing is kept.
        self.blocks = tuple(segment.blocks)
        self.is_sound = True
        # What is meant, where that is known before it was looked at; and what was found out.
        self.rows: dict[OpenBlock, list[int]] | None = None
        self.found: dict[OpenBlock, list[int]] = {}
        self.left = self.n_found = 0  # blocks to look at, rows of those that were


class _Search:
    def __init__(
        self, where: Expression, segments: Sequence[Segment], tail: Sequence[Record], kept: Kept | None
    ) -> None:
        self._where, self._tail, self._kept = where, tail, kept
        self.seen, self.gaps = Seen(), list[Gap]()
        self._lost: set[OpenBlock] = set()
        self._lock = threading.Lock()  # guards these
        self._parts: list[_Part] = []
        for segment in segments:
            self.gaps += segment.gaps
            self.seen.segments += 1
            self.seen.blocks += len(segment.blocks)
            self.seen.records += segment.info.records
            found = timed(where, segment.info.first_ns, segment.info.last_ns)
            if found is not False and segment.blocks:
                self._parts.append(_Part(segment, Everything() if found is True else found))
        self.seen.records += len(tail)

    def clocked(self, rows: Iterator[T]) -> Iterator[T]:
        """The rows; what they took is added up."""
        while True:
            begun = time.perf_counter_ns()
            try:
                row = next(rows)
            except StopIteration:
                return
            finally:
                self.seen.took_ns += time.perf_counter_ns() - begun
            yield row

    # -- numbers ---------------------------------------------------------------------------

    def totals(self, aggregate: Aggregate) -> Iterator[tuple[Value, ...]]:
        """The rows of an aggregation."""
        whole = Totals(aggregate)
        add = whole.adder(getter_of)
        test = compiled(self._where, getter_of)
        for record in self._tail:
            if test(record):
                add(record)
        counted: Counts = Counter()
        unread = [part for part in self._parts if not self._is_known(part, aggregate, whole, counted)]
        for part, found in self._read(unread, aggregate):
            if part.is_sound:
                self._keep(part, aggregate, found)
            whole.merge(found)
        if counted and not len(whole) and len(counted) <= MOST_GROUPS:
            yield from rows_counted(counted, aggregate)
            return
        for key, count in counted.items():
            whole.add_count(key, count)
        yield from whole.rows()

    def _is_known(self, part: _Part, aggregate: Aggregate, whole: Totals, counted: Counts) -> bool:
        """Whether what a segment has needed no reading, and was added."""
        try:
            if add_counted(counted, aggregate, part.where, part.segment):
                return True
        except DecodeError:
            pass  # the blocks themselves may be sound
        found = self._kept_totals(part, aggregate)
        if found is None:
            return False
        whole.merge(found)
        self.seen.segments_kept += 1
        return True

    def _read(self, parts: Sequence[_Part], aggregate: Aggregate) -> Iterator[tuple[_Part, Totals]]:
        """What each segment has, read block by block."""
        pairs = [(part, block) for part in parts for block in part.blocks]
        found, left = Totals(aggregate), 0
        for (part, block), mine in _ahead(pairs, lambda pair: self._summed(pair[1], pair[0], aggregate)):
            left = left or len(part.blocks)
            if mine is None:
                part.is_sound = False
            else:
                found.merge(mine[0])
                self.seen.blocks_read += mine[1]
            block.forget()
            left -= 1
            if not left:
                yield part, found
                found = Totals(aggregate)

    def _kept_totals(self, part: _Part, aggregate: Aggregate) -> Totals | None:
        known = self._get(part, Query(part.where, (aggregate,)))
        if not isinstance(known, list):
            return None
        try:
            return Totals.of_plain(aggregate, known)
        except _FOREIGN:  # of another program
            return None

    def _keep(self, part: _Part, aggregate: Aggregate, found: Totals) -> None:
        self._put(part, Query(part.where, (aggregate,)), found.plain())

    def _get(self, part: _Part, query: Query) -> object | None:
        digest = part.segment.info.digest
        if self._kept is None or not digest:  # one without a name would share its answers
            return None
        return self._kept.get(f"{_VERSION}.{SHAPES} {unparse(query)}", digest)

    def _put(self, part: _Part, query: Query, plain: object) -> None:
        digest = part.segment.info.digest
        if self._kept is not None and digest and not part.segment.gaps:
            self._kept.put(f"{_VERSION}.{SHAPES} {unparse(query)}", digest, plain)

    def _summed(self, block: OpenBlock, part: _Part, aggregate: Aggregate) -> tuple[Totals, bool] | None:
        mine = Totals(aggregate)
        try:
            return mine, add_block(mine, part.where, block)
        except DecodeError as error:
            self._lose(block, error)
            return None

    def _lose(self, block: OpenBlock, error: DecodeError) -> None:
        """Tell of a block, once: it is fetched in batches."""
        with self._lock:
            if block not in self._lost:
                self._lost.add(block)
                self.gaps.append(block.gap(error))

    # -- records ---------------------------------------------------------------------------

    def records(self) -> Iterator[Record]:
        """All that are meant, the oldest first."""
        pairs = [(block, part) for part in self._parts for block in self._wanted(part)]
        pairs.sort(key=lambda pair: pair[0].about.first_ns)
        following = [*(pair[0].about.first_ns for pair in pairs[1:]), 1 << 63][: len(pairs)]
        looked = ((pair[0], rows) for pair, rows in _ahead(pairs, lambda pair: self._look(*pair)))
        return in_order(looked, following, self._meant_of_tail(), self._fetch)

    def last(self, count: int) -> Iterator[Record]:
        """The last so many, the oldest first."""
        parts = {block: part for part in self._parts for block in self._wanted(part)}

        def look(block: OpenBlock) -> NDArray[np.int64]:
            _check_deadline()
            return self._look(block, parts[block])

        yield from last_of(list(parts), look, self._meant_of_tail(), self._fetch, count)

    def _wanted(self, part: _Part) -> list[OpenBlock]:
        """The blocks that may have rows that are meant; it may be known which they are."""
        part.rows = self._kept_rows(part)
        if part.rows is not None:
            self.seen.segments_kept += 1
            return list(part.rows)
        wanted = [block for block in part.blocks if decided(part.where, block) is not False]
        part.left, part.found = len(wanted), {}
        return wanted

    def _look(self, block: OpenBlock, part: _Part) -> NDArray[np.int64]:
        """The rows of a block that are meant."""
        with self._lock:
            self.seen.blocks_read += 1
        try:
            if part.rows is None:
                rows = rows_of(mask_of(part.where, block), block.about.rows)
            else:
                rows = _rows_at(part.rows[block])
            if len(rows):
                block.core("@time"), block.core("@seq")  # what order needs, too
        except DecodeError as error:
            self._lose(block, error)
            part.is_sound = False
            rows = rows_of(False, 0)
        if not len(rows):
            block.forget()
        if part.rows is None:
            self._remember(part, block, rows)
        return rows

    def _remember(self, part: _Part, block: OpenBlock, rows: NDArray[np.int64]) -> None:
        """Keep which rows of a segment are meant when all of it was looked at, and they are few."""
        if self._kept is None or isinstance(part.where, Everything):
            return
        with self._lock:
            part.left -= 1
            part.n_found += len(rows)
            if len(rows) and part.n_found <= _MOST_KEPT_ROWS:
                part.found[block] = rows.tolist()
            is_whole = not part.left and part.is_sound and part.n_found <= _MOST_KEPT_ROWS
        if is_whole:
            numbers = {block: number for number, block in enumerate(part.blocks)}
            plain = [[numbers[each], found] for each, found in part.found.items()]
            self._put(part, Query(part.where), plain)

    def _kept_rows(self, part: _Part) -> dict[OpenBlock, list[int]] | None:
        """Which rows of a segment are meant, where that was kept."""
        if isinstance(part.where, Everything):
            return None
        known = self._get(part, Query(part.where))
        try:
            return None if known is None else _rows_in(known, part.blocks)
        except _FOREIGN:  # of another program
            return None

    def _fetch(self, block: OpenBlock, rows: NDArray[np.int64]) -> Sequence[Record]:
        try:
            return block.records(rows)
        except DecodeError as error:
            self._lose(block, error)
            return ()

    def _meant_of_tail(self) -> list[Record]:
        test = compiled(self._where, getter_of)
        return sorted(filter(test, self._tail), key=lambda record: (record.at_ns, record.id))


def _rows_in(known: object, blocks: Sequence[OpenBlock]) -> dict[OpenBlock, list[int]]:
    """Rows by block, as they were kept; what cannot be raises one of `_FOREIGN`."""
    found: dict[OpenBlock, list[int]] = {}
    if not isinstance(known, list):
        raise TypeError("rows of blocks are no list")
    for number, rows in known:
        block = blocks[number]
        if type(number) is not int or number < 0 or not rows or {int} != set(map(type, rows)):
            raise ValueError("no rows of a block")
        if not rows[0] >= 0 or rows[-1] >= block.about.rows or sorted(set(rows)) != rows:
            raise ValueError("rows that a block has not")
        found[block] = rows
    return found


def _rows_at(rows: Sequence[int]) -> NDArray[np.int64]:
    import numpy as np

    return np.array(rows, np.int64)


def _check_deadline() -> None:
    """Give up what took too long.

    Raises:
        StoreBusy: the operation's deadline has passed.
    """
    if left_s(_LONG_S) <= _OVER_S:
        raise StoreBusy("the query took longer than it may: ask for less time or fewer records")


def _ahead(items: Iterable[T], work: Callable[[T], U]) -> Iterator[tuple[T, U]]:
    """What the work makes of each, in their order; some threads are ahead of who asks.

    Decompressing and NumPy leave the interpreter to others meanwhile.
    """
    waiting = list(items)
    n_threads = min(4, os.cpu_count() or 1)
    if len(waiting) < _WORTH or n_threads < 2:
        for item in waiting:
            _check_deadline()
            yield item, work(item)
        return
    from concurrent.futures import ThreadPoolExecutor  # 5 ms

    with ThreadPoolExecutor(n_threads, "vcache-search") as pool:
        running: deque[tuple[T, Any]] = deque()
        try:
            for item in waiting:
                _check_deadline()
                running.append((item, pool.submit(work, item)))
                if len(running) > n_threads * _AHEAD:
                    done, future = running.popleft()
                    yield done, future.result()
            while running:
                done, future = running.popleft()
                yield done, future.result()
        finally:
            for _, future in running:
                future.cancel()
