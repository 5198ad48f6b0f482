"""The contract of a log store: it takes records, keeps them in order of arrival, and answers queries.

1. When `append` returned with `sync`, the records survive a power loss (D2). An append is kept whole or
   not at all, and nothing that was not appended is ever answered.
2. What cannot be read any more is a `Gap`: said, counted, and never a reason not to answer the rest.
3. `search` sees every record whose `append` returned before it was called.
4. Everything may be called from any thread, and several processes may use one directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from vcache.kit.data import NamedTuple, dataclass, field
from vcache.logs.record import Record
from vcache.query.syntax import Query, Value

__all__ = ["Appended", "Follower", "Gap", "LogStats", "LogStore", "Result", "Seen", "SourceStats"]


class Appended(NamedTuple):
    """What an append was given: the ids rise by one from `first_id`, see `vcache.logs.ids`."""

    first_id: str
    count: int  # type: ignore[assignment]  # instead of the method of a tuple


class Gap(NamedTuple):
    """Records that were there and cannot be read.

    Attributes:
        place: the file, and where in it.
        reason: what is wrong.
        records: how many; -1 when that is not known.
        first_ns, last_ns: their times; 0 when not known.
    """

    place: str
    reason: str
    records: int = -1
    first_ns: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class Seen:
    """What an answer took. Complete when the rows are exhausted.

    Attributes:
        segments, blocks: that there are; `segments_kept` of them were answered from the cache, and of
            `blocks_read` a part was decompressed.
        records: how many were looked at, or are in blocks that were counted without a look.
        took_ns: wall time.
    """

    segments: int = 0
    segments_kept: int = 0
    blocks: int = 0
    blocks_read: int = 0
    records: int = 0
    took_ns: int = 0


@dataclass(slots=True)
class Result:
    """An answer.

    Attributes:
        columns: names of the columns of `rows`; None where the rows are records.
        rows: records, or tuples as long as `columns`; consumed once.
        gaps: what could not be read; complete when the rows are exhausted.
    """

    columns: tuple[str, ...] | None
    rows: Iterator[Record] | Iterator[tuple[Value, ...]]
    gaps: list[Gap] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)


class SourceStats(NamedTuple):
    """What a store holds of one source."""

    records: int
    by_level: Mapping[int, int]
    first_ns: int
    last_ns: int


class LogStats(NamedTuple):
    """What a store holds. Bytes are those of files; `tail_records` of the records are not yet sealed."""

    records: int
    tail_records: int
    segments: int
    size_bytes: int
    first_ns: int
    last_ns: int
    sources: Mapping[str, SourceStats]
    gaps: Sequence[Gap]


class Follower(Protocol):
    """Hears of records as they come. One thread at a time."""

    @property
    def dropped(self) -> int:
        """How many it was not told of since it did not ask in time."""

    def wait(self, timeout_s: float) -> Sequence[Record]:
        """What came since the last call, in order of arrival; waits so long for the first of it."""

    def close(self) -> None: ...


@runtime_checkable
class LogStore(Protocol):
    """See the module."""

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Appended:
        """Keep records, in this order. Their `seen_ns` and `id` are the store's.

        Args:
            sync: return when they would survive a power loss (D2); otherwise a crash of the process (D1).

        Raises:
            StoreError: they were not kept.
        """

    def search(self, query: Query) -> Result:
        """The answer to a query. Lazy: what is not consumed is not read."""

    def find(self, record_id: str) -> Record | None:
        """The record of an id.

        Raises:
            UsageError: that is no id.
        """

    def follow(self) -> Follower:
        """Whoever asks hears of all that is appended from here on, by this process and by others."""

    def stats(self) -> LogStats: ...

    def close(self) -> None:
        """Release everything; nothing that was appended is lost. May be called again."""
