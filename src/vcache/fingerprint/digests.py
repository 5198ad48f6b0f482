"""The digest of a file's content, read only when its stat signature says it may have changed.

Knows paths and bytes; knows no spec, no entry and no cache. What lives across processes goes
through a `Backing` that the caller brings.

A signature is size, mtime, ctime, inode and device. It is trusted only when the file was older
than `WINDOW_NS` when its reading began: a later change then has another ctime. That is git's
answer to racy timestamps (Documentation/technical/racy-git). What no signature can show is a
change through a mapping that was already dirty, and a clock of a file server that lags by more
than the window.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from vcache.errors import FingerprintError, StoreError
from vcache.hash import DIGEST_BYTES, Hasher, digest, threads_for
from vcache.kit.data import NamedTuple

__all__ = [
    "WINDOW_NS",
    "Backing",
    "FileDigests",
    "FileState",
    "cannot_read",
    "is_settled",
    "refuse_irregular",
    "signature",
]

WINDOW_NS: Final = 2_000_000_000
"""FAT keeps times in steps of 2 s: the coarsest of the file systems in use."""

_SIGNATURE: Final = struct.Struct("<QqqQQ")
_BACKING_KEY: Final = struct.Struct("<QQ")
_BACKING_PREFIX: Final = b"file-digest\x01"
_ATTEMPTS: Final = 3
_MEMO_MAX: Final = 1 << 20
# Measured on 64 MB in the page cache: 13 ms by 1 MiB, 9 ms by 8 MiB with threads, 8 ms mapped. A
# mapping is not used: a file truncated while it is hashed would kill the process with SIGBUS.
_CHUNK_BYTES: Final = 1 << 20
_THREADED_BYTES: Final = 8 << 20


class Backing(Protocol):
    """Where digests live across processes. May forget anything at any time."""

    def get(self, key: bytes) -> bytes | None: ...

    def put(self, key: bytes, value: bytes) -> None: ...


class FileState(NamedTuple):
    """What a file held when it was looked at.

    Attributes:
        digest: BLAKE3 of its content.
        hint: its stat signature, if a file with the same one is sure to be unchanged; else empty.
        is_stable: False when it changed during each attempt at reading it.
    """

    digest: bytes
    hint: bytes
    is_stable: bool = True


def signature(st: os.stat_result) -> bytes:
    """Size, mtime_ns, ctime_ns, inode and device, packed."""
    return _SIGNATURE.pack(st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, st.st_dev)


def is_settled(st: os.stat_result, now_ns: int) -> bool:
    """Whether any change from now on must give another signature.

    A ctime in the future means a clock that is not ours, so that it is never trusted. An mtime
    in the far future was set by hand and is harmless: a change would bring it back to the present.
    """
    return st.st_ctime_ns < now_ns - WINDOW_NS and abs(st.st_mtime_ns - now_ns) > WINDOW_NS


def cannot_read(path: str, error: OSError) -> FingerprintError:
    """The error for a path that exists but cannot be looked at."""
    return FingerprintError(
        f"cannot read {path!r}: {error.strerror or error}: make it readable, or leave it out"
    )


def refuse_irregular(path: str, st: os.stat_result) -> None:
    """Let regular files pass.

    Raises:
        FingerprintError: anything else, with what it is and the remedy.
    """
    if stat.S_ISREG(st.st_mode):
        return
    if stat.S_ISDIR(st.st_mode):
        raise FingerprintError(f"{path!r} is a directory: use Dir({path!r}) or Glob({path + '/**'!r})")
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a character device"}
    kind = kinds.get(stat.S_IFMT(st.st_mode), "a device")
    raise FingerprintError(f"{path!r} is {kind}, which has no content to identify: leave it out")


class FileDigests:
    """Digests of files, remembered by stat signature.

    Args:
        root: where relative paths start.
        backing: remembers digests across processes, by device and inode.
        clock: the time of file systems, in epoch nanoseconds.

    Threads: any number; two that ask for one new file may both read it.
    """

    __slots__ = ("_backing", "_memo", "_prefix", "clock")

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        backing: Backing | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._prefix = os.path.join(os.path.abspath(root), "")
        self._backing = backing
        self.clock = clock
        self._memo: dict[str, tuple[bytes, FileState]] = {}

    def look(self, path: str) -> FileState | None:
        """What a file holds; None when there is none.

        Raises:
            FingerprintError: a directory, a FIFO, socket or device (which are never opened), a
                loop of links, or a file that cannot be read.
        """
        if path[:1] != "/":
            path = self._prefix + path
        try:
            st = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise cannot_read(path, error) from error
        known = self._memo.get(path)
        if known is not None and known[0] == signature(st):
            return known[1]
        return self._look_closely(path, st)

    def forget(self) -> None:
        """Drop what is remembered in memory."""
        self._memo.clear()

    def _look_closely(self, path: str, st: os.stat_result) -> FileState | None:
        refuse_irregular(path, st)
        state = self._recall(st)
        if state is None:
            try:
                state, st = self._read(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise cannot_read(path, error) from error
            self._remember(st, state)
        if state.hint:
            if len(self._memo) >= _MEMO_MAX:
                self._memo.clear()  # a bound on memory, not a policy: a million files are a million stats
            self._memo[path] = state.hint, state
        return state

    def _read(self, path: str) -> tuple[FileState, os.stat_result]:
        """Hash a file; the state and the stat that belongs to it."""
        attempts = _ATTEMPTS
        while True:
            with _opened(path) as fd:
                before = os.fstat(fd)
                refuse_irregular(path, before)
                # The clock is read before the content: what changes later has a later ctime.
                now_ns = self.clock()
                found = _hash(fd, before.st_size)
                after = os.fstat(fd)
            if signature(before) == signature(after):
                hint = signature(after) if is_settled(after, now_ns) else b""
                return FileState(found, hint), after
            attempts -= 1
            if not attempts:
                return FileState(found, b"", is_stable=False), after

    def _recall(self, st: os.stat_result) -> FileState | None:
        if self._backing is None:
            return None
        try:
            stored = self._backing.get(_backing_key(st))
        except StoreError:
            return None  # a fault of the backing costs a read of the file, never the build
        hint = signature(st)
        if stored is None or len(stored) != len(hint) + DIGEST_BYTES or not stored.startswith(hint):
            return None
        return FileState(stored[len(hint) :], hint)

    def _remember(self, st: os.stat_result, state: FileState) -> None:
        if self._backing is None or not state.hint:
            return
        try:
            self._backing.put(_backing_key(st), state.hint + state.digest)
        except StoreError:
            return


def _backing_key(st: os.stat_result) -> bytes:
    """Device and inode: a renamed file or a moved checkout keeps its digests."""
    return _BACKING_PREFIX + _BACKING_KEY.pack(st.st_dev, st.st_ino)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor that opening cannot block on, should the file have become a FIFO."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _hash(fd: int, size_bytes: int) -> bytes:
    """The digest of what a descriptor gives until its end, which may differ from its size."""
    if size_bytes < _CHUNK_BYTES:
        data = os.read(fd, size_bytes + 1)
        if len(data) == size_bytes:
            return digest(data)
        hasher = Hasher(data)
    else:
        hasher = Hasher(max_threads=threads_for(size_bytes, least_bytes=_THREADED_BYTES))
    chunk = memoryview(bytearray(_THREADED_BYTES if size_bytes >= _THREADED_BYTES else _CHUNK_BYTES))
    while count := os.readv(fd, [chunk]):
        hasher.update(chunk[:count])
    return hasher.digest()
