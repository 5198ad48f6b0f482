"""Numbered migrations of an on-disk format: one step per version, under a lock, resumable.

A marker file in the directory holds the name and the number of the format. It must not know
what a format holds: that is what the steps know.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vcache.errors import FormatError, StoreReadOnly, UsageError
from vcache.kit.data import dataclass
from vcache.kit.fs_atomic import TEMP_PREFIX, LockFile, write_atomic

__all__ = ["Migrated", "Migrations", "Step"]

Step = Callable[[Path], None]
"""Takes a directory from one version to the next. After a crash it runs again from its start on
its own half-done work, so it must cope with finding it."""

_LOCK_NAME: Final = ".migrate.lock"


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `Migrations.ensure` found and left. `before` is None where there was nothing."""

    before: int | None
    after: int


class Migrations:
    """The history of one format.

    Args:
        format_name: one word, as it stands in the marker file.
        current: the version that this program reads and writes; the first one is 1.
        marker: the name of the marker file.
    """

    def __init__(self, format_name: str, current: int, *, marker: str = "FORMAT") -> None:
        if current < 1 or not format_name or format_name.split() != [format_name]:
            raise UsageError(f"a format is one word and a version from 1 on, not {format_name!r} {current!r}")
        self.format_name = format_name
        self.current = current
        self.marker = marker
        self._steps: dict[int, Step] = {}

    def step(self, from_version: int) -> Callable[[Step], Step]:
        """Register the function that leads from a version to the next.

        Raises:
            UsageError: there is one already, or the version is not below the current one.
        """
        if from_version in self._steps or not 1 <= from_version < self.current:
            raise UsageError(
                f"{self.format_name}: a step from version {from_version} is double, or not in 1 to {self.current - 1}"
            )

        def register(function: Step) -> Step:
            self._steps[from_version] = function
            return function

        return register

    def version(self, directory: Path) -> int | None:
        """The version that a directory is marked with; None where there is no marker.

        Raises:
            FormatError: the marker is not one of this format.
        """
        path = directory / self.marker
        try:
            text = path.read_bytes()[:200].decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        words = text.split()
        if len(words) != 2 or words[0] != self.format_name or not words[1].isdecimal():
            raise FormatError(
                f"{path} says {text.strip()!r:.60}, not '{self.format_name} {self.current}': this is not ours. "
                "Choose another directory, or remove this one"
            )
        return int(words[1])

    def ensure(self, directory: Path, *, timeout_s: float | None = 60) -> Migrated:
        """Bring a directory to the current version; a new or empty one is marked with it.

        Args:
            timeout_s: how long to wait for another process that is migrating.

        Raises:
            FormatError: a newer or foreign format, or files without a marker. The directory is
                left as it was.
            StoreBusy: another process was migrating for all that time.
            StoreReadOnly: there is work to do, and the directory takes no writes.
            OSError: what a step raised. The next call goes on where this one stopped.
        """
        found = self.version(directory)
        if found == self.current:
            return Migrated(found, found)  # the usual case: one small read, no lock
        self._refuse_newer(directory, found)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = LockFile(directory / _LOCK_NAME)
            lock.acquire(timeout_s)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise self._read_only(directory, found) from error
        try:
            return self._ensure_locked(directory)
        finally:
            lock.release()
            lock.close()

    def _ensure_locked(self, directory: Path) -> Migrated:
        before = self.version(directory)  # another process may have been faster
        self._refuse_newer(directory, before)
        if before is None:
            self._refuse_unmarked(directory)
            self._mark(directory, self.current)
            return Migrated(None, self.current)
        for version in range(before, self.current):
            step = self._steps.get(version)
            if step is None:
                raise FormatError(
                    f"{directory} is {self.format_name} {version}, this program needs {self.current}, and no step leads "
                    f"on from {version}. Remove the directory to start anew"
                )
            step(directory)
            # Only a finished step is marked, durably: a crash before this line repeats the step.
            self._mark(directory, version + 1)
        return Migrated(before, self.current)

    def _mark(self, directory: Path, version: int) -> None:
        write_atomic(directory / self.marker, f"{self.format_name} {version}\n".encode(), durable=True)

    def _refuse_newer(self, directory: Path, found: int | None) -> None:
        if found is not None and found > self.current:
            raise FormatError(
                f"{directory} is {self.format_name} {found}, this program reads up to {self.current}. "
                "Use the newer program, or choose another directory"
            )

    def _refuse_unmarked(self, directory: Path) -> None:
        ignored = (_LOCK_NAME, "CACHEDIR.TAG")
        strange = [
            name for name in os.listdir(directory) if name not in ignored and not name.startswith(TEMP_PREFIX)
        ]
        if strange:
            raise FormatError(
                f"{directory} has no {self.marker} but holds {min(strange)!r}: it is not a directory of ours. "
                "Choose an empty one"
            )

    def _read_only(self, directory: Path, found: int | None) -> StoreReadOnly:
        state = "is new" if found is None else f"is {self.format_name} {found}"
        return StoreReadOnly(
            f"{directory} {state} and has to become {self.format_name} {self.current}, but it takes no writes. "
            "Make it writable, or choose another directory"
        )
