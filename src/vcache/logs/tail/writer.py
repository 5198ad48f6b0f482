"""Writes tail files: appends of any number of threads, made durable together (group commit).

One writer, one file at a time, which it holds with flock. It must not know who reads it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vcache.errors import StoreClosed, StoreError
from vcache.kit.clock import Clock
from vcache.kit.data import NamedTuple
from vcache.kit.fs_atomic import sync_dir
from vcache.logs.ids import MOST_SEQUENCES, next_stream, stream_name
from vcache.logs.record import Record
from vcache.logs.tail.frames import Packed, file_header, frame, pack

__all__ = ["DAMAGED", "SUFFIX", "TAIL_BYTES", "TAIL_RECORDS", "TailWriter", "Written"]

SUFFIX: Final = ".tail"
DAMAGED: Final = ".damaged"
"""Of a tail that was sealed but for what could not be read."""
TAIL_BYTES: Final = 16 << 20
TAIL_RECORDS: Final = 65_536
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Written(NamedTuple):
    """Where an append went."""

    stream: int
    first_seq: int


class TailWriter:
    """Appends to a tail file of its own, in `DIRECTORY/tail`, and goes on with a new one when that is full.

    Args:
        directory: of the store; `tail` and `tmp` in it exist.
        on_new: called, by an appending thread, when a file was begun: whether another one was full.
        file_bytes, file_records: when a file is full.
        clock: what records are seen by.

    Threads: any. A fork's child goes on with files of its own.
    """

    def __init__(
        self,
        directory: Path,
        *,
        on_new: Callable[[bool], object] | None = None,
        file_bytes: int = TAIL_BYTES,
        file_records: int = TAIL_RECORDS,
        clock: Clock = time.time_ns,
    ) -> None:
        self._directory = directory
        self._on_new = on_new
        self._file_bytes = file_bytes
        self._file_records = file_records
        self._clock = clock
        self._is_closed = False
        self._begin()
        _writers.add(self)

    def _begin(self) -> None:
        self._turn = threading.Condition()  # guards the file and all that is noted of it
        self._file: _File | None = None

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Written:
        """Keep records, in this order; where they went.

        Raises:
            StoreError: they were not kept: no space, no permission, a failed write or sync.
            EncodeError: a record holds what none can.
        """
        packed = pack(records, now_ns=self._clock())
        with self._turn:
            file, is_new, was_full = self._ready(sum(piece.records for piece in packed))
            written = self._write(file, packed, is_acknowledged=not sync)
            end = file.size
            if sync:
                file.users += 1
        if is_new and self._on_new is not None:
            self._on_new(was_full)
        if sync:
            self._wait(file, end)
        return written

    def sync(self) -> None:
        """Make durable all that was appended.

        Raises:
            StoreError: the sync failed.
        """
        with self._turn:
            file = self._file
            if file is None or file.synced == file.size:
                return
            file.users += 1
            end = file.size
        self._wait(file, end)

    def rotate(self) -> None:
        """Leave the file to whoever seals; the next append begins another one."""
        with self._turn:
            self._retire()

    def held(self) -> str | None:
        """The name of the file that is being written; None between two."""
        with self._turn:
            return self._file.path.name if self._file is not None else None

    def close(self) -> None:
        """Let go of the file. What was appended without a sync is as durable as before."""
        with self._turn:
            self._is_closed = True
            self._retire()

    def _ready(self, records: int) -> tuple[_File, bool, bool]:
        """The file to write to, whether it is a new one, and whether another one was full."""
        if self._is_closed:
            raise StoreClosed(f"{self._directory}: the log store is closed")
        file, was_full = self._file, False
        if file is not None and self._is_full(file, records):
            self._retire()
            file, was_full = None, True
        if file is not None:
            return file, False, False
        self._file = self._create()
        return self._file, True, was_full

    def _is_full(self, file: _File, records: int) -> bool:
        if not file.next_seq:
            return False
        is_long = file.size >= self._file_bytes or file.next_seq >= self._file_records
        return is_long or file.next_seq + records > MOST_SEQUENCES

    def _create(self) -> _File:
        """A new file, held before it has the name by which sealers find it."""
        stream = next_stream(self._clock)
        name = stream_name(stream) + SUFFIX
        temporary = self._directory / "tmp" / name
        try:
            fd = os.open(temporary, _NEW, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = _write_all(fd, file_header(stream))
                path = self._directory / "tail" / name
                os.rename(temporary, path)
            except BaseException:
                os.close(fd)
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise _translated(error, temporary) from error
        return _File(path, stream, fd, size)

    def _write(self, file: _File, packed: list[Packed], *, is_acknowledged: bool) -> Written:
        first_seq, seen_ns = file.next_seq, self._clock()
        seq, pieces = first_seq, []
        for number, piece in enumerate(packed, 1):
            is_part = number < len(packed)
            pieces.append(frame(file.stream, seq, piece, seen_ns=seen_ns, is_part=is_part))
            seq += piece.records
        try:
            size = file.size + _write_all(file.fd, b"".join(pieces))
        except BaseException as error:
            # Whoever waits for a sync of what lies before goes on with it.
            self._cut(file, file.size)
            self._retire()
            if isinstance(error, OSError):
                raise _translated(error, file.path) from error
            raise
        file.size, file.next_seq = size, seq
        if is_acknowledged:
            file.acknowledged = size
        return Written(file.stream, first_seq)

    def _wait(self, file: _File, end: int) -> None:
        """Return when all of a file up to there is durable; one of those who wait makes it so for all."""
        try:
            while True:
                with self._turn:
                    while file.is_syncing and file.synced < end and file.failure is None:
                        self._turn.wait()
                    if file.synced >= end:
                        return
                    if file.failure is not None:
                        raise _translated(file.failure, file.path) from file.failure
                    file.is_syncing = True
                    upto = file.size
                self._sync(file, upto)
        finally:
            with self._turn:
                file.users -= 1
                file.close_if_done()

    def _sync(self, file: _File, upto: int) -> None:
        synced, failure = 0, None  # both stay so where a signal ends it
        try:
            os.fdatasync(file.fd)
            if not file.is_named:
                sync_dir(self._directory / "tail")
            synced = upto
        except OSError as error:
            failure = error
        finally:
            with self._turn:
                file.is_syncing = False
                if failure is not None:
                    self._fail(file, failure)
                elif synced:
                    file.is_named, file.synced = True, synced
                self._turn.notify_all()

    def _fail(self, file: _File, failure: OSError) -> None:
        """Forget what a failed sync leaves in doubt: the kernel drops such pages, and says so once."""
        file.failure = failure
        self._cut(file, max(file.synced, file.acknowledged))
        if self._file is file:
            self._retire()

    def _cut(self, file: _File, size: int) -> None:
        try:
            os.ftruncate(file.fd, size)
        except OSError as error:
            _warn(f"{file.path}: {error}; what was not acknowledged in it may be shown nevertheless")
        file.size = size

    def _retire(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.is_retired = True
            file.close_if_done()

    def _after_fork_in_child(self) -> None:
        self._begin()


class _File:
    """A tail file that is written to. All but `path` and `stream` under the writer's lock."""

    def __init__(self, path: Path, stream: int, fd: int, size: int) -> None:
        self.path = path
        self.stream = stream
        self.fd = fd
        self.size = size
        self.synced = 0
        self.acknowledged = size  # without a sync
        self.next_seq = 0
        self.users = 0  # who waits for a sync
        self.is_syncing = False
        self.is_named = False  # for good: the directory was synced
        self.is_retired = False
        self.failure: OSError | None = None
        _files.add(self)

    def close_if_done(self) -> None:
        if self.is_retired and not self.users and self.fd >= 0:
            fd, self.fd = self.fd, -1
            if not self.next_seq:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)  # nothing was ever written to it
            os.close(fd)


def _write_all(fd: int, data: bytes) -> int:
    rest = memoryview(data)
    while rest.nbytes:
        rest = rest[os.write(fd, rest) :]
    return len(data)


def _translated(error: OSError, path: Path) -> StoreError:
    from vcache.store.disk.trouble import translate  # what writes well has no need of a store's engine

    return translate(error, path)


def _warn(text: str) -> None:
    from vcache.kit.logs import logger

    logger("vcache.logs").warning(text)


_writers: weakref.WeakSet[TailWriter] = weakref.WeakSet()
_files: weakref.WeakSet[_File] = weakref.WeakSet()


def _after_fork() -> None:
    # The parent goes on with its files. Their locks belong to both, until these copies are closed.
    for file in list(_files):
        if file.fd >= 0:
            os.close(file.fd)
            file.fd = -1
    for writer in list(_writers):
        writer._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
