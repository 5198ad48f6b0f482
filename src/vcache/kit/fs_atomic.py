"""Files that appear whole or not at all, and a lock file that outlives nobody.

It must not know what the files hold. Errors of the operating system pass through as `OSError`:
only the caller knows whether a full disk is a failed put or a failed export.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import stat
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreBusy, UsageError
from vcache.kit.clock import Deadline, Monotonic, Sleep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import BinaryIO, Self

    from typing_extensions import Buffer

__all__ = [
    "TEMP_PREFIX",
    "LockFile",
    "atomic_file",
    "replace_file",
    "sweep_temporaries",
    "sync_dir",
    "write_atomic",
]

TEMP_PREFIX: Final = ".vcache-tmp-"
"""What the name of an unfinished file starts with. A crash may leave one behind."""

# pid and counter keep processes and threads apart; the random part, machines on a shared directory.
_temp_numbers: Final = itertools.count()
_LOCK_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_FOUND_FILE: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def write_atomic(
    path: str | os.PathLike[str],
    data: Buffer | Iterable[Buffer],
    *,
    mode: int = 0o644,
    durable: bool = False,
) -> None:
    """Give a file new content: every reader sees the old or the new, never a part.

    Args:
        path: the file; its directory must exist. A link is replaced, not followed.
        data: bytes, or pieces of them.
        mode: permission bits, less the umask, as with any new file.
        durable: return only when content and name would survive a power loss.

    Raises:
        OSError: no space, no permission, no directory. The old content is in place and no
            temporary file is left; only a failed sync of the directory comes after the change.
    """
    descriptor, temporary = _open_temporary(os.path.dirname(os.fspath(path)), mode)
    try:
        try:
            for piece in _pieces(data):
                _write_all(descriptor, piece)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    if durable:
        sync_dir(os.path.dirname(os.fspath(path)))


@contextlib.contextmanager
def atomic_file(
    path: str | os.PathLike[str], *, mode: int = 0o644, durable: bool = False
) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file when the block ends, and vanishes if it raises.

    Args and Raises are those of `write_atomic`.
    """
    descriptor, temporary = _open_temporary(os.path.dirname(os.fspath(path)), mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    if durable:
        sync_dir(os.path.dirname(os.fspath(path)))


def replace_file(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, durable: bool = False
) -> None:
    """Move a finished file over another one of the same file system, in one step.

    Args:
        durable: return only when the content and both directories would survive a power loss.

    Raises:
        OSError: no such file, another file system, no permission.
    """
    if durable:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    os.replace(source, target)
    if durable:
        directories = {os.path.dirname(os.path.abspath(path)) for path in (source, target)}
        for directory in sorted(directories):
            sync_dir(directory)


def sync_dir(path: str | os.PathLike[str]) -> None:
    """Make the names in a directory survive a power loss.

    Raises:
        OSError: the directory cannot be opened or synced.
    """
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporaries(directory: str | os.PathLike[str], *, older_than_s: float, now_ns: int) -> int:
    """Remove what crashed writers left in a directory; how many files.

    Args:
        older_than_s: longer than any write takes: a file of a living writer must not be hit.
    """
    removed = 0
    with os.scandir(directory) as found:
        for entry in found:
            if not entry.name.startswith(TEMP_PREFIX):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # its writer finished meanwhile
            if stat.S_ISREG(status.st_mode) and now_ns - status.st_mtime_ns > older_than_s * 1e9:
                removed += _remove(entry.path)
    return removed


class LockFile:
    """A lock between processes and threads, by `flock` on a file.

    The kernel releases it when the holder dies, however it dies. A forked child does not hold
    what its parent held. Two objects on one path exclude each other, also in one process. The
    file may be unlinked by its holder (`release_and_unlink`): who waited for it starts anew on
    the file that then has the name. Not for NFS of before Linux 2.6.12.

    Args:
        path: the lock file; created when missing, in a directory that exists.
        is_found: it is there already, and only opened for reading: also what may not be written, and
            a directory.
        monotonic, sleep: what waiting with a deadline is done by.

    Threads: one object may be shared; it is held by one thread at a time, and not reentrant.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        is_found: bool = False,
        monotonic: Monotonic = time.monotonic,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.path = os.fspath(path)
        self._flags = _FOUND_FILE if is_found else _LOCK_FILE
        self._monotonic = monotonic
        self._sleep = sleep
        self._descriptor: int | None = None  # kept open between uses: opening costs 5 µs
        self._turn = threading.Lock()  # whose turn it is in this process; guards what follows
        self._owner: int | None = None  # ident of the thread that holds the lock
        self._is_lost_to_fork = False
        _locks.add(self)

    @property
    def is_held(self) -> bool:
        """Whether the calling thread holds the lock."""
        return self._owner == threading.get_ident()

    def acquire(self, timeout_s: float | None = None) -> None:
        """Hold the lock, after waiting for it at most that long.

        Args:
            timeout_s: None waits for ever, 0 tries once.

        Raises:
            StoreBusy: not had in time.
            UsageError: this thread holds it already.
            OSError: the file cannot be created or opened.
        """
        if self.is_held:
            raise UsageError(f"lock {self.path} is already held by this thread: it is not reentrant")
        deadline = Deadline(timeout_s, monotonic=self._monotonic)
        # threading wants -1 for "for ever"
        if not self._turn.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise self._busy(timeout_s)
        try:
            is_had = self._lock_current_file(deadline)
        except BaseException:
            # Also an interrupt right after the flock was had: closing gives it back.
            self._drop()
            self._turn.release()
            raise
        if not is_had:
            self._turn.release()
            raise self._busy(timeout_s)
        self._owner = threading.get_ident()

    def try_acquire(self) -> bool:
        """Hold the lock if it is free; whether it was."""
        try:
            self.acquire(0)
        except StoreBusy:
            return False
        return True

    def release(self) -> None:
        """Let the next one have it. In a child forked while it was held: nothing.

        Raises:
            UsageError: this thread does not hold it.
        """
        if self._take_back():
            assert self._descriptor is not None
            # Explicit, not by closing: a copy of the descriptor in a child would keep the lock.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._turn.release()

    def release_and_unlink(self) -> None:
        """Remove the lock file, then let the next one start on a new file.

        Raises:
            UsageError: this thread does not hold it.
        """
        if self.is_held:
            # Before the release: afterwards the name might be another holder's file.
            _remove(self.path)
        self.release()

    @contextlib.contextmanager
    def held(self, timeout_s: float | None = None) -> Iterator[Self]:
        """Hold the lock within a block; raises what `acquire` does."""
        self.acquire(timeout_s)
        try:
            yield self
        finally:
            self.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def close(self) -> None:
        """Give the descriptor back, and with it the lock if it is held. May be called again."""
        if self.is_held:
            self.release()
        with self._turn:
            self._drop()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self._drop()

    def __repr__(self) -> str:
        return f"LockFile({self.path!r}, {'held' if self.is_held else 'not held'} by this thread)"

    def _lock_current_file(self, deadline: Deadline) -> bool:
        """Flock the file that has the name; False when it was not had in time."""
        while True:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, self._flags, 0o644)
            if not self._flock(self._descriptor, deadline):
                return False
            if _is_file_at(self._descriptor, self.path):
                return True
            self._drop()  # the holder before us unlinked it: whoever comes next locks another file

    def _flock(self, descriptor: int, deadline: Deadline) -> bool:
        if deadline.is_never:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return True
        pause_s = 0.000_5
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Polling, as flock knows no deadline and an alarm would belong to the whole process.
                if deadline.is_past:
                    return False
                # Jitter, or the waiters would come back in step; `random` costs 4 ms to import.
                jittered_s = pause_s * (0.5 + os.urandom(1)[0] / 512)
                self._sleep(deadline.remaining_s(jittered_s))
                pause_s = min(pause_s * 2, 0.05)
            else:
                return True

    def _take_back(self) -> bool:
        """End this thread's hold; False where a fork ended it before."""
        if self._is_lost_to_fork:
            self._is_lost_to_fork = False
            return False
        if not self.is_held:
            raise UsageError(f"lock {self.path} is not held by this thread: acquire it first")
        self._owner = None
        return True

    def _drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _after_fork_in_child(self) -> None:
        # Closing this copy leaves the parent's lock alone; keeping it would keep the lock held
        # after the parent's death. The other threads, and whatever they held, are gone here.
        self._is_lost_to_fork = self.is_held
        self._owner = None
        self._turn = threading.Lock()
        self._drop()

    def _busy(self, timeout_s: float | None) -> StoreBusy:
        return StoreBusy(
            f"lock {self.path} was not had within {timeout_s} s: another process or thread holds it"
        )


_locks: weakref.WeakSet[LockFile] = weakref.WeakSet()


def _reset_locks_in_child() -> None:
    for lock in list(_locks):
        lock._after_fork_in_child()


os.register_at_fork(after_in_child=_reset_locks_in_child)


def _is_file_at(descriptor: int, path: str) -> bool:
    """Whether an open file still has its name."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def _open_temporary(directory: str, mode: int) -> tuple[int, str]:
    name = f"{TEMP_PREFIX}{os.getpid():x}-{next(_temp_numbers):x}-{os.urandom(4).hex()}"
    path = os.path.join(directory, name)
    return os.open(path, _NEW_FILE, mode), path


def _pieces(data: Buffer | Iterable[Buffer]) -> Iterable[Buffer]:
    try:
        return (memoryview(data),)  # type: ignore[arg-type]  # what else it is, the except tells
    except TypeError:
        return data  # type: ignore[return-value]


def _write_all(descriptor: int, data: Buffer) -> None:
    """All of a buffer: one write takes at most 2 GiB, and less near a full disk."""
    view = memoryview(data)
    if not view.c_contiguous:
        view = memoryview(view.tobytes())
    rest = view.cast("B")
    while rest.nbytes:
        rest = rest[os.write(descriptor, rest) :]


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
