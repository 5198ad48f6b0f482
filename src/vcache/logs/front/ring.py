"""The file that loggers write to: a ring of frames in shared memory, which outlives its process.

A frame is written by one copy, without a system call and without a lock: docs/design/logs-rings.md says why
that holds. It must not know stores, and does not read what it wrote: that is the drain's.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from vcache.errors import StoreError, UsageError
from vcache.hash import placement
from vcache.kit.ids import uuid7
from vcache.logs.front.frames import FRAME_BYTES, frame

__all__ = [
    "DATA_AT",
    "DRAINED_AT",
    "DROPPED_AT",
    "IS_LOCKED",
    "MAGIC",
    "SUFFIX",
    "Cursor",
    "Ring",
    "head_says",
]

MAGIC: Final = b"vcacheR1"
SUFFIX: Final = ".ring"
DATA_AT: Final = 4096
DRAINED_AT: Final = 64
DROPPED_AT: Final = 80
_HEAD_BYTES: Final = 56
_LEAST_BYTES: Final = 4096
_MOST_BYTES: Final = 1 << 30
# An interpreter without a GIL: there, to keep a place takes a lock.
IS_LOCKED: Final = not getattr(sys, "_is_gil_enabled", lambda: True)()


class Cursor:
    """Where the next frame goes. Attributes alone, since each call of a logger changes them.

    Attributes:
        at: the position of the next frame; counts on for ever.
        limit: up to where there is room.
    """

    __slots__ = ("at", "limit")

    def __init__(self, limit: int) -> None:
        self.at = 0
        self.limit = limit


class Ring:
    """A ring, written by this process.

    Args:
        directory: where its file is made; None for one in memory, which ends with the process.
        size_bytes: a power of two.

    Threads: all operations. A fork is to make its own, see `leave_to_parent`.

    Raises:
        StoreError: the file cannot be made.
        UsageError: the size is none.
    """

    def __init__(self, directory: Path | None, *, size_bytes: int = 4 << 20) -> None:
        if not _LEAST_BYTES <= size_bytes <= _MOST_BYTES or size_bytes & size_bytes - 1:
            raise UsageError(f"ring_bytes={size_bytes!r}: give a power of two from 4 KiB to 1 GiB")
        self.size_bytes: Final = size_bytes
        self.path: Path | None = None
        self._is_sealed = False
        self._lock_descriptor = -1
        self._map = mmap.mmap(-1, DATA_AT + size_bytes) if directory is None else self._file_in(directory)
        self._view: Final = memoryview(self._map)
        self.data: Final = self._view[DATA_AT:]
        self.cursor: Final = Cursor(size_bytes)
        self.most_bytes: Final = size_bytes // 4 - FRAME_BYTES
        """The longest payload: a longer one is handed to the store past the ring."""
        self.lock: Final = threading.RLock()  # guards the cursor where no GIL does, and the count below
        self.dropped = 0

    def put(self, payload: bytes) -> bool:
        """Write one; whether there was room."""
        size = FRAME_BYTES + len(payload)
        cursor = self.cursor
        if IS_LOCKED:
            with self.lock:
                end = cursor.at + size
                if end > cursor.limit:
                    return False
                at, cursor.at = cursor.at, end
        else:
            # One line, without a call in it: nothing else of this process runs within.
            cursor.at = end = at + size if (at := cursor.at) + size <= cursor.limit else at
            if end == at:
                return False
        self.place(frame(payload, at), at)
        return True

    def place(self, data: bytes, at: int) -> None:
        """Copy a frame to where its place is kept."""
        start = at & self.size_bytes - 1
        stop = start + len(data)
        if stop <= self.size_bytes:
            self.data[start:stop] = data
        else:
            here = self.size_bytes - start
            self.data[start:] = data[:here]
            self.data[: stop - self.size_bytes] = data[here:]

    def drop(self, count: int = 1) -> None:
        """Count what there was no room for; kept in the file, so that it is said in any case."""
        with self.lock:
            self.dropped += count
            self._view[DROPPED_AT : DROPPED_AT + 8] = self.dropped.to_bytes(8, "little")

    def take_dropped(self) -> int:
        """How many were dropped since this was asked."""
        with self.lock:
            count, self.dropped = self.dropped, 0
            self._view[DROPPED_AT : DROPPED_AT + 8] = bytes(8)
        return count

    def release(self, drained: int) -> None:
        """Make room: what stands before that position is kept elsewhere."""
        self._view[DRAINED_AT : DRAINED_AT + 16] = drained.to_bytes(8, "little") + (
            ~drained % (1 << 64)
        ).to_bytes(8, "little")
        if not self._is_sealed:
            self.cursor.limit = drained + self.size_bytes

    def seal(self) -> None:
        """Take nothing more."""
        self._is_sealed = True
        self.cursor.limit = -1

    def close(self) -> None:
        """Remove the file: the ring is empty."""
        if self.path is not None:
            with suppress(OSError):
                os.unlink(self.path)
            self.path = None
        self.leave_to_parent()

    def leave_to_parent(self) -> None:
        """Let go of the file, and leave it to whoever has it as well."""
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    def _file_in(self, directory: Path) -> mmap.mmap:
        stream = uuid7()
        head = MAGIC + stream.bytes + self.size_bytes.to_bytes(8, "little")
        head += time.time_ns().to_bytes(8, "little") + os.getpid().to_bytes(8, "little")
        head += placement(head).to_bytes(8, "little")
        made = directory / f"{os.getpid()}-{stream.hex}{SUFFIX}"
        partial = made.with_suffix(".new")
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"no ring in {directory}: {error}") from error
        try:
            # Room is had now: a page that a full disk has no room for later would end the process (SIGBUS).
            os.posix_fallocate(descriptor, 0, DATA_AT + self.size_bytes)
            os.pwrite(descriptor, head, 0)
            os.pwrite(descriptor, bytes(8) + b"\xff" * 8, DRAINED_AT)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A map keeps a descriptor of its own. Of another opening: a fork's would hold the lock.
            with open(partial, "r+b", buffering=0) as other:
                mapped = mmap.mmap(other.fileno(), DATA_AT + self.size_bytes)
            os.rename(partial, made)
        except OSError as error:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(partial)
            raise StoreError(f"no ring in {directory}: {error}") from error
        self.path, self._lock_descriptor = made, descriptor
        return mapped


def head_says(data: bytes) -> int | None:
    """The size of the ring that a file's first bytes belong to; None where they are not sound."""
    head = data[:_HEAD_BYTES]
    is_sound = head[:8] == MAGIC and placement(head[:48]).to_bytes(8, "little") == head[48:56]
    size_bytes = int.from_bytes(head[24:32], "little")
    return size_bytes if is_sound and size_bytes and not size_bytes & size_bytes - 1 else None
