"""The log store of a directory: appends to a tail, sealed segments, and one answer over both.

Any number of processes may use one directory. Formats: docs/design/logs.md. It must not know who sends
records, and how answers are shown.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vcache.errors import StoreClosed, StoreError
from vcache.kit.clock import Clock
from vcache.logs.base import Appended, Follower, Gap, LogStats, Result
from vcache.logs.census import Census
from vcache.logs.following import Watch
from vcache.logs.ids import id_of, parse_id
from vcache.logs.opening import open_directory
from vcache.logs.record import Record
from vcache.logs.scan import scan
from vcache.logs.sealed import Sealed
from vcache.logs.tail.files import KEPT_RECORDS, Tail, Tails
from vcache.logs.tail.follower import Followers
from vcache.logs.tail.writer import TailWriter
from vcache.query.syntax import Query

if TYPE_CHECKING:
    from vcache.logs.segment import Segment

__all__ = ["DiskLogs"]


class DiskLogs:
    """A `LogStore` in a directory.

    Args:
        directory: made when missing.
        clock: what records are seen by.
        kept_records: decoded ones of the tail that are kept in memory between queries.

    Raises:
        FormatError: the directory holds something else, or a newer format.
        StoreError: it cannot be made or read.

    Threads: any; processes: any. A fork's child may go on with it; who followed it hears nothing there.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        clock: Clock = time.time_ns,
        kept_records: int = KEPT_RECORDS,
    ) -> None:
        self.directory = Path(directory)
        open_directory(self.directory)
        self._clock = clock
        self._is_closed = False
        self._writer = TailWriter(self.directory, clock=clock)
        self._sealed = Sealed(self.directory / "segments")
        self._followers = Followers()
        self._tails = Tails(self.directory / "tail", tell=self._heard, kept_records=kept_records)
        self._watch = Watch(self._look, is_wanted=lambda: bool(self._followers))
        _stores.add(self)

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Appended:
        """See `LogStore`.

        Raises:
            StoreError: they were not kept.
            EncodeError: a record holds what none can.
        """
        if not records:
            return Appended("", 0)
        stream, first_seq = self._writer.append(records, sync=sync)
        self._watch.wake()
        return Appended(id_of(stream, first_seq), len(records))

    def search(self, query: Query) -> Result:
        """See `LogStore`.

        Raises:
            ConfigError: what reads segments is not installed.
            StoreError: the directory cannot be read.
        """
        tails, segments = self._all()
        records = [record for tail in tails for record in tail.records]
        if segments:
            from vcache.logs.search import search  # NumPy, which who appends only has no need of

            result = search(query, segments, records)
        else:
            result = scan(query, records)
        result.gaps += [gap for tail in tails for gap in tail.gaps]
        return result

    def find(self, record_id: str) -> Record | None:
        """See `LogStore`.

        Raises:
            UsageError: that is no id.
            StoreError: the directory cannot be read.
        """
        stream, seq = parse_id(record_id)
        tails, segments = self._all()
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
        tails, segments = self._all()
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
            gaps=self._gaps(tails),
        )

    def gaps(self) -> list[Gap]:
        """What was there and cannot be read."""
        return self._gaps(self._all()[0])

    def _gaps(self, tails: Sequence[Tail]) -> list[Gap]:
        return [*self._sealed.gaps(), *(gap for tail in tails for gap in tail.gaps)]

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
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"DiskLogs({str(self.directory)!r})"

    def _all(self) -> tuple[list[Tail], list[Segment]]:
        """All records there are, each once: tails, and segments.

        Tails first: whatever leaves them meanwhile is in a segment before.
        """
        self._require_open()
        try:
            tails = self._tails.current()
            segments = self._sealed.current()
        except OSError as error:
            raise _translated(error, self.directory) from error
        sealed = {run[0] for segment in segments for run in segment.info.streams}
        return [tail for tail in tails if tail.stream not in sealed], segments

    def _look(self) -> None:
        self._tails.refresh()

    def _heard(self, _stream: int, records: Sequence[Record]) -> None:
        self._followers.tell(records)

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"{self.directory}: the log store is closed")

    def _after_fork_in_child(self) -> None:
        self._followers.lose()
        self._tails.begin()
        self._sealed.begin()
        self._watch.begin()


def _translated(error: OSError, path: Path) -> StoreError:
    from vcache.store.disk.trouble import translate  # what goes well has no need of a store's engine

    return translate(error, path)


_stores: weakref.WeakSet[DiskLogs] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
