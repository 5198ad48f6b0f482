"""The answer to a query over segments and the tail."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from vcache.errors import DecodeError
from vcache.logs.base import Gap, Result, Seen
from vcache.logs.fields import getter_of
from vcache.logs.record import Record
from vcache.logs.search.decided import decided, timed
from vcache.logs.search.masks import mask_of, rows_of
from vcache.logs.search.rows import in_order, last_of
from vcache.logs.search.sums import add_block, add_counted
from vcache.logs.segment.reading import OpenBlock, Segment
from vcache.query.printing import unparse
from vcache.query.rows import compiled
from vcache.query.shapes import SHAPES
from vcache.query.stages import run
from vcache.query.syntax import Aggregate, Everything, Expression, Last, Query, Value
from vcache.query.totals import Totals

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
_WORTH: Final = 4  # blocks: for fewer no thread is started


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
        for part in self._parts:
            whole.merge(self._totals_of(part, aggregate))
        yield from whole.rows()

    def _totals_of(self, part: _Part, aggregate: Aggregate) -> Totals:
        name = f"{_VERSION}.{SHAPES} {unparse(Query(part.where, (aggregate,)))}"
        digest, known = part.segment.info.digest, None
        kept = self._kept if digest else None  # one without a name would share its answers
        if kept is not None:
            known = kept.get(name, digest)
        if isinstance(known, list):
            try:
                found = Totals.of_plain(aggregate, known)
            except _FOREIGN:
                pass  # of another program
            else:
                self.seen.segments_kept += 1
                return found
        found, n_gaps = Totals(aggregate), len(self.gaps)
        try:
            if add_counted(found, part.where, part.segment):
                return found
        except DecodeError:
            pass  # the blocks themselves may be sound
        for block, mine in _ahead(part.blocks, lambda block: self._summed(block, part, aggregate)):
            if mine is not None:
                found.merge(mine[0])
                self.seen.blocks_read += mine[1]
            block.forget()
        if kept is not None and len(self.gaps) == n_gaps and not part.segment.gaps:
            kept.put(name, digest, found.plain())
        return found

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
        blocks = [(block, part) for part in self._parts for block in part.blocks]
        blocks = [pair for pair in blocks if decided(pair[1].where, pair[0]) is not False]
        blocks.sort(key=lambda pair: pair[0].about.first_ns)
        following = [*(pair[0].about.first_ns for pair in blocks[1:]), 1 << 63][: len(blocks)]
        looked = ((pair[0], rows) for pair, rows in _ahead(blocks, lambda pair: self._look(*pair)))
        return in_order(looked, following, self._meant_of_tail(), self._fetch)

    def last(self, count: int) -> Iterator[Record]:
        """The last so many, the oldest first."""
        parts = {block: part for part in self._parts for block in part.blocks}
        blocks = [block for block, part in parts.items() if decided(part.where, block) is not False]
        yield from last_of(
            blocks, lambda block: self._look(block, parts[block]), self._meant_of_tail(), self._fetch, count
        )

    def _look(self, block: OpenBlock, part: _Part) -> NDArray[np.int64]:
        """The rows of a block that are meant."""
        with self._lock:
            self.seen.blocks_read += 1
        try:
            rows = rows_of(mask_of(part.where, block), block.about.rows)
            if len(rows):
                block.core("@time"), block.core("@seq")  # what order needs, too
        except DecodeError as error:
            self._lose(block, error)
            rows = rows_of(False, 0)
        if not len(rows):
            block.forget()
        return rows

    def _fetch(self, block: OpenBlock, rows: NDArray[np.int64]) -> Sequence[Record]:
        try:
            return block.records(rows)
        except DecodeError as error:
            self._lose(block, error)
            return ()

    def _meant_of_tail(self) -> list[Record]:
        test = compiled(self._where, getter_of)
        return sorted(filter(test, self._tail), key=lambda record: (record.at_ns, record.id))


def _ahead(items: Iterable[T], work: Callable[[T], U]) -> Iterator[tuple[T, U]]:
    """What the work makes of each, in their order; some threads are ahead of who asks.

    Decompressing and NumPy leave the interpreter to others meanwhile.
    """
    waiting = list(items)
    n_threads = min(4, os.cpu_count() or 1)
    if len(waiting) < _WORTH or n_threads < 2:
        for item in waiting:
            yield item, work(item)
        return
    from concurrent.futures import ThreadPoolExecutor  # 5 ms

    with ThreadPoolExecutor(n_threads, "vcache-search") as pool:
        running: deque[tuple[T, Any]] = deque()
        try:
            for item in waiting:
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
