"""What SQLite says went wrong ▷ StoreError, with what to do. It must not know what was being done."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from vcache.errors import (
    FormatError,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from vcache.jobs.sqlite.library import apsw

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Trouble"]

_SHARED_MEMORY: Final = (
    "SQLITE_IOERR_SHMOPEN",
    "SQLITE_IOERR_SHMSIZE",
    "SQLITE_IOERR_SHMLOCK",
    "SQLITE_IOERR_SHMMAP",
)


class Trouble:
    """Turns errors of SQLite and of the system into the StoreError that says whether a retry helps."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error, OSError | apsw().Error | MemoryError):
            raise self.said(error) from error

    def said(self, error: BaseException) -> StoreError:
        """The error to raise for one of SQLite's or of the system's."""
        if isinstance(error, OSError):
            return self._of_system(error)
        sqlite, path = apsw(), self._path
        if isinstance(error, sqlite.FullError):
            return StoreFull(
                f"{path}: no space is left. What was acknowledged is kept; make room and try again"
            )
        if isinstance(error, sqlite.BusyError | sqlite.LockedError | sqlite.ProtocolError):
            return StoreBusy(f"{path}: another program holds its lock: {error}")
        if isinstance(error, sqlite.ReadOnlyError | sqlite.PermissionsError):
            return self._read_only(str(error))
        if isinstance(error, sqlite.NotADBError):
            return FormatError(
                f"{path} is no queue's file, or its beginning is damaged. It is left as it is: move it aside with its "
                "-wal and -shm files, or put back a copy"
            )
        if isinstance(error, sqlite.CorruptError):
            return self._damaged(str(error))
        return self._of_files(error)

    def _read_only(self, said: str) -> StoreReadOnly:
        return StoreReadOnly(
            f"{self._path} takes no writes ({said}), and a queue needs them also to be read: make it and its directory "
            "writable"
        )

    def _damaged(self, said: str) -> StoreError:
        return StoreError(
            f"{self._path} is damaged: {said}. It is left as it is. Stop all workers and move it aside together with "
            "its -wal and -shm files; `sqlite3 FILE .recover` saves what can be read"
        )

    def _of_files(self, error: BaseException) -> StoreError:
        extended = apsw().mapping_extended_result_codes.get(getattr(error, "extendedresult", 0), "")
        if extended in _SHARED_MEMORY:
            return StoreError(
                f"{self._path}: its file system has no memory shared between processes, or no locks ({extended}), and "
                "a queue needs both: keep it on a local disk, or use redis:// for several machines"
            )
        if isinstance(error, apsw().CantOpenError):
            directory = os.path.dirname(self._path)
            if os.path.isdir(directory) and not os.access(directory, os.W_OK):
                return self._read_only("its directory takes no new files")
            return StoreUnavailable(
                f"{self._path} cannot be opened: {error}. Is its directory there, and writable?"
            )
        if isinstance(error, MemoryError | apsw().NoMemError):
            return StoreUnavailable(f"{self._path}: no memory is left")
        return StoreUnavailable(f"{self._path}: {error} {extended}".rstrip())

    def _of_system(self, error: OSError) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
            return StoreFull(f"{self._path}: {error.strerror}")
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return self._read_only(error.strerror or str(error))
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            return StoreError(
                f"{self._path} cannot be made: a file is where its directory would be ({error.filename}). Name another "
                "directory, or move the file away"
            )
        return StoreUnavailable(f"{self._path}: {error}")
