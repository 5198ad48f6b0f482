"""Where a worker process makes its trees, where nobody gives it a place: a directory that goes with it.

One that was killed leaves its directory behind; the next that starts removes it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import Final

from vcache.errors import StoreBusy
from vcache.kit.fs_atomic import LockFile

__all__ = ["workplace"]

_PREFIX: Final = "vcache-worker-"
_HELD: Final[list[LockFile]] = []  # as long as this process lives


def workplace() -> str:
    """A new directory of this process's own.

    Raises:
        OSError: none can be made.
    """
    above = tempfile.gettempdir()
    _sweep(above)
    while True:
        place = tempfile.mkdtemp(prefix=_PREFIX, dir=above)
        lock = LockFile(place, is_found=True)
        try:
            lock.acquire(0)
        except (StoreBusy, FileNotFoundError):  # another worker took it for an abandoned one just now
            continue
        _HELD.append(lock)
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        return place


def _sweep(above: str) -> None:
    """Remove what workers of ours left that are no more."""
    with os.scandir(above) as found:
        places = [each.path for each in found if each.name.startswith(_PREFIX)]
    for place in places:
        try:
            if os.lstat(place).st_uid != os.geteuid():
                continue
            lock = LockFile(place, is_found=True)
            if not lock.try_acquire():
                continue
            try:
                shutil.rmtree(place, ignore_errors=True)
            finally:
                lock.release()
        except OSError:  # gone, or not to be opened
            continue
