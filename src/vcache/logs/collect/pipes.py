"""A pipe, a terminal or a file as records: `make 2>&1 | vcache logs ingest --source make`.

One thread reads, passes on and hands in; when the store is slow, whoever writes into the pipe waits. It
must not know whose standard input it is.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from vcache.errors import StoreUnavailable
from vcache.kit.data import NamedTuple
from vcache.logs.collect.collector import Collector
from vcache.logs.collect.parcels import Parcel, Ticket
from vcache.logs.collect.reading import with_fields
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Record
from vcache.query.syntax import Value

__all__ = ["Ingested", "ingest_stream"]

_PIECE_BYTES: Final = 256 << 10
_QUIET_S: Final = 0.05  # then what may have gone on is whole: who follows live waits no longer than that
_FOLLOW_S: Final = 0.1  # how often a file is looked at that has come to its end
PATIENCE_S: Final = 60.0  # so long a build waits for a store that takes nothing, once
_LOST: Final = "the store took nothing for too long"


class Ingested(NamedTuple):
    """What came of a stream.

    Attributes:
        records: that are kept.
        size_bytes: that were read.
        is_whole: it came to its end; False when it was stopped, or could not be passed on.
    """

    records: int
    size_bytes: int
    is_whole: bool


def ingest_stream(
    collector: Collector,
    fd: int,
    *,
    format: str = "auto",  # noqa: A002 - as everywhere
    source: str = "",
    fields: Mapping[str, Value] | None = None,
    pass_on: Callable[[bytes], object] | None = None,
    is_followed: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
    patience_s: float = PATIENCE_S,
) -> Ingested:
    """All that a descriptor gives until its end, as records that are kept when this returns.

    Args:
        format: a name that `vcache.logs.receive.by_name` takes.
        fd: read from where it is; a pipe, a socket, a terminal or a regular file.
        fields: which every record gets.
        pass_on: gets every piece as it comes, before anything else is done with it. A BrokenPipeError of
            it ends the stream, as SIGPIPE would: what was read is kept.
        is_followed: a regular file is waited for beyond its end, and begun again when it was cut.
        is_stopped: asked several times a second; what was read is kept. A KeyboardInterrupt does the same,
            and is raised afterwards.
        patience_s: for how long whoever writes into a pipe waits for a store that takes nothing. After that
            what comes is read, passed on, dropped and counted, until the store takes some again: no build
            hangs for its logs.

    Raises:
        UsageError: there is no such format, or it has no streams.
        ConfigError: what the format needs is not installed.
        StoreError: not everything is kept.
        OSError: it cannot be read.
    """
    ingest = _Ingest(collector, fd, format, source or "stdin", source, fields or {}, patience_s)
    try:
        is_whole = ingest.run(pass_on, is_followed=is_followed, is_stopped=is_stopped)
    finally:
        ingest.finish()
    return Ingested(ingest.records, ingest.size_bytes, is_whole)


class _Ingest:
    def __init__(
        self,
        collector: Collector,
        fd: int,
        format_name: str,
        origin: str,
        source: str,
        fields: Mapping[str, Value],
        patience_s: float,
    ) -> None:
        self._patience_s = self._left_s = patience_s
        self._collector, self._fd, self._origin, self._fields = collector, fd, f"stream:{origin}", fields
        self._stream = by_name(format_name).stream(source=source)
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        self._error: Exception | None = None
        self._is_flushed = True
        self.records = self.size_bytes = 0

    def run(
        self, pass_on: Callable[[bytes], object] | None, *, is_followed: bool, is_stopped: Callable[[], bool]
    ) -> bool:
        """Whether it came to its end."""
        while not is_stopped() and self._error is None:
            if not self._is_ready():
                self._flush()
                continue
            data = os.read(self._fd, _PIECE_BYTES)
            if data:
                try:
                    if pass_on is not None and not _passed(pass_on, data):
                        return False
                finally:  # whatever ends us
                    self._hand_in(data)
            elif self._is_file and is_followed:
                self._flush()
                self._begin_again_if_cut()
                time.sleep(_FOLLOW_S)
            else:
                return True
        return False

    def finish(self) -> None:
        """The rest, and wait until all is kept.

        Raises:
            StoreError: it is not.
        """
        ticket = Ticket()
        if not self._put((), self._end, ticket):
            raise StoreUnavailable(f"the end of a stream of logs is lost: {_LOST}, or was closed")
        # The committer tries a store that fails again and again; whoever closes the collector ends that.
        ticket.wait(None if self._is_file else self._patience_s)
        if self._error is not None:
            raise self._error

    def _is_ready(self) -> bool:
        if self._is_file:
            return True
        wait_s = 0.25 if self._is_flushed else _QUIET_S
        return bool(select.select([self._fd], [], [], wait_s)[0])

    def _begin_again_if_cut(self) -> None:
        if os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)

    def _hand_in(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self._is_flushed = False
        self._put((data,), self._read, Ticket(self._on_done))

    def _flush(self) -> None:
        if not self._is_flushed:
            self._is_flushed = True
            self._put((), self._flushed, Ticket(self._on_done))

    def _put(
        self,
        pieces: Sequence[bytes],
        decode: Callable[[Sequence[bytes], int, Mapping[str, Value]], list[Record]],
        ticket: Ticket,
    ) -> bool:
        lines = sum(piece.count(b"\n") or 1 for piece in pieces)
        size_bytes = sum(map(len, pieces)) + 64 * lines
        parcel = Parcel(
            self._origin, pieces, size_bytes=size_bytes, count=lines, decode=decode, fields=self._fields,
            ticket=ticket,
        )  # fmt: skip
        wait_s = None if self._is_file else self._left_s
        if self._collector.queue.put(parcel, wait_s):
            self._left_s = self._patience_s
            return True
        self._left_s = 0.0
        self._collector.counts.drop(self._origin, _LOST, lines)
        return False

    def _on_done(self, ticket: Ticket) -> None:
        self.records += ticket.count
        self._error = self._error or ticket.error

    # The parser is used by the thread that commits only, in the order in which parcels were put.

    def _read(self, pieces: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        return with_fields(self._stream.feed(pieces[0], now_ns=now_ns), fields)

    def _flushed(self, _: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        return with_fields(self._stream.flush(now_ns=now_ns), fields)

    def _end(self, _: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        found = with_fields(self._stream.end(now_ns=now_ns), fields)
        self.records += len(found)
        return found


def _passed(pass_on: Callable[[bytes], object], data: bytes) -> bool:
    try:
        pass_on(data)
    except BrokenPipeError:
        return False
    return True
