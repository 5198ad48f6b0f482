"""OSError ▷ StoreError: what went wrong, and whether trying again helps."""

from __future__ import annotations

import errno
from pathlib import Path

from vcache.errors import StoreError, StoreFull, StoreReadOnly, StoreUnavailable

__all__ = ["Translated", "translate"]


class Translated:
    """Turns an OSError into the StoreError that says whether a retry helps."""

    __slots__ = ("_where",)

    def __init__(self, where: Path) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise translate(error, self._where) from error


def translate(error: OSError, where: Path) -> StoreError:
    """The StoreError that says whether a retry helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return StoreFull(f"{where}: {error.strerror}")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreReadOnly(f"{where}: {error.strerror}")
    return StoreUnavailable(f"{where}: {error}")
