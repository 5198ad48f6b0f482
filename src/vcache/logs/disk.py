"""The log store of a directory: appends to a tail, sealed segments, and one answer over both.

Any number of processes may use one directory. Formats: docs/design/logs.md. It must not know who sends
records, and how answers are shown.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from vcache.errors import StoreClosed, StoreError
from vcache.kit.clock import Clock
from vcache.logs.base import Appended, Follower, Gap, LogStats, Result
from vcache.logs.census import Census
from vcache.logs.dropping import Dropped
from vcache.logs.following import Watch
from vcache.logs.ids import id_of, next_stream, parse_id
from vcache.logs.news import News
from vcache.logs.opening import open_directory
from vcache.logs.record import Record
from vcache.logs.retention import Rules
from vcache.logs.scan import scan
from vcache.logs.sealed import Sealed
from vcache.logs.sealing import SealReport
from vcache.logs.shipping import Answers, Shelf, Shipping
from vcache.logs.tail.files import KEPT_RECORDS, Tail, Tails
from vcache.logs.tail.follower import Followers
from vcache.logs.tail.writer import TAIL_BYTES, TailWriter
from vcache.logs.upkeep import Upkeep, translated
from vcache.query.syntax import Query

if TYPE_CHECKING:
    from vcache.logs.segment import Segment

__all__ = ["BULK_RECORDS", "DiskLogs"]

BULK_RECORDS: Final = 16_384
"""An append of so many goes into a segment of its own: one write instead of two."""
_PIECE_RECORDS: Final = 4_096
_MANY_TAILS: Final = 32  # that other processes left
_MANY_BYTES: Final = 2 * TAIL_BYTES


class DiskLogs:
    """A `LogStore` in a directory.

    Args:
        directory: made when missing.
        cache: keeps answers about the past, and has its network tiers keep copies of segments.
        clock: what records are seen by.
        kept_records: decoded ones of the tail that are kept in memory between queries.
        seals: make segments of full tails, in a thread, while records are appended.

    Raises:
        FormatError: the directory holds something else, or a newer format.
        StoreError: it cannot be made or read.

    Threads: any; processes: any. A fork's child may go on with it; who followed it hears nothing there.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        cache: Shelf | None = None,
        clock: Clock = time.time_ns,
        kept_records: int = KEPT_RECORDS,
        seals: bool = True,
    ) -> None:
        self.directory = Path(directory)
        open_directory(self.directory)
        self._clock = clock
        self._is_closed = False
        self._writer = TailWriter(self.directory, on_new=self._begun, clock=clock)
        self._answers = None if cache is None else Answers(cache)
        shipping = None if cache is None else Shipping(cache)
        self._sealed = Sealed(self.directory / "segments", mend=self._mend)
        self._upkeep = Upkeep(self.directory, self._sealed, self._writer, shipping=shipping, clock=clock)
        self._seals = seals
        self._followers = Followers()
        self._tails = Tails(self.directory / "tail", tell=self._heard, kept_records=kept_records)
        self._watch = Watch(self._look, is_wanted=lambda: bool(self._followers))
        self._begin()
        _stores.add(self)
        self.adopt_rings()

    def _begin(self) -> None:
        self._looking = threading.Lock()  # guards what was told
        self._news = News(self._followers)

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Appended:
        """See `LogStore`. `BULK_RECORDS` and more go straight into a segment.

        Raises:
            StoreError: they were not kept.
            EncodeError: a record holds what none can.
        """
        if len(records) >= BULK_RECORDS:
            return self.append_bulk(records)
        if not records:
            return Appended("", 0)
        stream, first_seq = self._writer.append(records, sync=sync)
        self._watch.wake()
        return Appended(id_of(stream, first_seq), len(records))

    def sync(self) -> None:
        """Make durable (D2) what was appended without it.

        Raises:
            StoreError: the sync failed.
        """
        self._writer.sync()

    def rotate(self) -> None:
        """Leave what was appended to whoever seals: of a tail that is being written nothing is dropped."""
        self._writer.rotate()

    def adopt_rings(self) -> int:
        """Keep what the loggers of programs that are gone left behind; how many records. Done when it is opened, too.

        What cannot be kept stays where it is, for the next one that asks.
        """
        rings = self.directory / "rings"
        try:
            if not os.listdir(rings):
                return 0
            from vcache.logs.front.drain import drain_abandoned  # rare

            found = drain_abandoned(rings, lambda records, is_sync: self.append(records, sync=is_sync))
        except (OSError, StoreError):
            return 0
        return found.records

    def append_bulk(self, records: Iterable[Record]) -> Appended:
        """Keep any number of records, made as they are taken: one append, which survives a power loss.

        Raises:
            StoreError: they were not kept, none of them.
            EncodeError: a record holds what none can.
            ConfigError: what writes segments is not installed.
        """
        self._require_open()
        source = iter(records)
        begin = list(islice(source, BULK_RECORDS))
        if len(begin) < BULK_RECORDS:
            return self.append(begin)
        stream = next_stream(self._clock)
        count = self._upkeep.write(stream, chain((begin,), _pieces(source)))
        self._watch.wake()
        return Appended(id_of(stream, 0), count)

    def seal(self, *, timeout_s: float | None = None) -> SealReport:
        """Make segments of what is in the tail, this store's own included, and merge small ones.

        Raises:
            StoreBusy: another process seals, and did not end in time.
            StoreError: it could not be done; nothing is lost.
            ConfigError: what writes segments is not installed.
        """
        self._require_open()
        return self._upkeep.seal(timeout_s=timeout_s)

    def retain(self, rules: Rules, *, timeout_s: float | None = None) -> Dropped:
        """Seal, then drop what rules ask for.

        Raises:
            StoreBusy: another process seals, and did not end in time.
            StoreError: it could not be done; nothing else is lost.
        """
        self._require_open()
        return self._upkeep.retain(rules, timeout_s=timeout_s)

    def purge(
        self, *, source: str | None = None, before_ns: int | None = None, timeout_s: float | None = None
    ) -> Dropped:
        """Seal, then drop exactly the records of sources that a pattern fits, and of before a time.

        What other processes append meanwhile, and hold in their tails, is left.

        Raises:
            UsageError: neither a source nor a time is given.
            StoreBusy: another process seals, and did not end in time.
            StoreError: it could not be done, as where a segment is damaged; nothing else is lost.
        """
        self._require_open()
        return self._upkeep.purge(source, before_ns, timeout_s=timeout_s)

    def verify(self, *, repair: bool = False) -> Iterator[tuple[str, str | None]]:
        """Each segment, with what is wrong with it, or None. Every byte is read.

        Args:
            repair: fetch what is damaged from the network tiers of the cache, where they have it.
        """
        self._require_open()
        return self._upkeep.verify(repair=repair)

    def search(self, query: Query) -> Result:
        """See `LogStore`.

        Raises:
            ConfigError: what reads segments is not installed.
            StoreError: the directory cannot be read.
        """
        tails, segments, gaps = self.contents()
        records = [record for tail in tails for record in tail.records]
        if segments:
            from vcache.logs.search import search  # NumPy, which who appends only has no need of

            result = search(query, segments, records, kept=self._answers)
        else:
            result = scan(query, records)
        result.gaps += [*gaps, *self._sealed.unreadable()]
        return result

    def find(self, record_id: str) -> Record | None:
        """See `LogStore`.

        Raises:
            UsageError: that is no id.
            StoreError: the directory cannot be read.
        """
        stream, seq = parse_id(record_id)
        tails, segments, _ = self.contents()
        for tail in tails:
            if tail.stream == stream:
                return next((record for record in tail.records if record.id == id_of(stream, seq)), None)
        for segment in segments:
            if any(first <= seq <= last for of, first, last in segment.info.streams if of == stream):
                found = segment.find(stream, seq)
                if found is not None:
                    return found
        return None

    def follow(self) -> Follower:
        """See `LogStore`."""
        self._require_open()
        # First of all what was there before, which is no news to who comes only now.
        self._look()
        follower = self._followers.add()
        self._watch.start()
        return follower

    def stats(self) -> LogStats:
        """See `LogStore`."""
        tails, segments, gaps = self.contents()
        census = Census()
        for tail in tails:
            census.count(tail.records)
        tail_records = census.records
        for segment in segments:
            census.add(segment.info.sources)
        return census.stats(
            tail_records=tail_records,
            segments=len(segments),
            size_bytes=self._size_bytes(),
            gaps=[*self._sealed.gaps(), *gaps],
        )

    def gaps(self) -> list[Gap]:
        """What was there and cannot be read."""
        return [*self._sealed.gaps(), *self.contents()[2]]

    def _size_bytes(self) -> int:
        total = 0
        for place in ("segments", "tail"):
            with os.scandir(self.directory / place) as found:
                for entry in found:
                    with contextlib.suppress(FileNotFoundError):
                        total += entry.stat(follow_symlinks=False).st_size
        return total

    def close(self) -> None:
        """See `LogStore`."""
        if self._followers and not self._is_closed:
            with contextlib.suppress(OSError):
                self._look()  # what came last
        self._is_closed = True
        self._followers.end()
        self._watch.stop()
        self._upkeep.background.stop()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"DiskLogs({str(self.directory)!r})"

    def contents(self) -> tuple[list[Tail], list[Segment], list[Gap]]:
        """All records there are, each once: tails, and segments; and what cannot be read of tails.

        Tails first: whatever leaves them meanwhile is in a segment before.
        """
        self._require_open()
        try:
            tails = self._tails.current()
            segments = self._sealed.current()
        except OSError as error:
            raise translated(error, self.directory) from error
        sealed = {run.stream for segment in segments for run in segment.info.streams}
        gaps = [gap for tail in tails for gap in tail.gaps]
        return [tail for tail in tails if tail.stream not in sealed], segments, gaps

    def _look(self) -> None:
        """Let followers hear of what came. Tails first, as in `contents`."""
        with self._looking:
            self._tails.refresh()
            self._news.of_segments(self._sealed.current())

    def _heard(self, stream: int, records: Sequence[Record]) -> None:
        self._news.of_tail(stream, records)

    def _begun(self, was_full: bool) -> None:
        """A tail was begun: perhaps there is enough to be sealed."""
        if self._seals and (was_full or self._has_many_tails()):
            self._upkeep.background.start()

    def _has_many_tails(self) -> bool:
        sizes = self._tails.sizes()
        return len(sizes) > _MANY_TAILS or sum(sizes) > _MANY_BYTES

    def _mend(self, digest: bytes) -> bool:
        return self._upkeep.mend(digest)

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"{self.directory}: the log store is closed")

    def _after_fork_in_child(self) -> None:
        self._followers.lose()
        self._tails.begin()
        self._sealed.begin()
        self._watch.begin()
        self._upkeep.background.begin()
        self._begin()


def _pieces(records: Iterator[Record]) -> Iterator[list[Record]]:
    while piece := list(islice(records, _PIECE_RECORDS)):
        yield piece


_stores: weakref.WeakSet[DiskLogs] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
