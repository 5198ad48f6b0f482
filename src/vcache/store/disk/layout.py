"""The directory of a disk store: making it, recognising it, leaving foreign ones alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

from vcache.errors import FormatError, StoreUnavailable
from vcache.hash import placement
from vcache.store.disk.index import DamagedIndex, Table, Word
from vcache.store.disk.lock import WriterLock
from vcache.store.disk.segments import PREFIX, PREFIX_BYTES, segment_numbers

__all__ = ["FOREIGN", "FORMAT", "VERSION", "boot_stamp", "keep_aside", "prepare", "replace_index"]

_STAMP_MOST: Final = 4096
FORMAT: Final = "vcache-disk"
VERSION: Final = 1
FOREIGN: Final = "foreign"
"""A file of this name says that others' bytes may be in here."""
_STAMP: Final = f"{FORMAT} {VERSION}\n"
# https://bford.info/cachedir/: backup programs pass such a directory over.
_CACHEDIR_TAG: Final = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory is a cache made by vcache. It can be deleted at any time.\n"
)
_KEPT_ASIDE: Final = 64
_EVIDENCE_BYTES: Final = 64 << 20
_EVIDENCE_S: Final = 7 * 86400.0


def prepare(directory: Path, lock: WriterLock, *, read_only: bool) -> bool:
    """Make or recognise a store's directory; whether it can be written to.

    Raises:
        FormatError: it holds something else, or a newer format.
        StoreUnavailable: it does not exist and may not or cannot be made.
    """
    if _is_ours(directory):
        return not read_only and _can_write(directory)
    if read_only:
        raise StoreUnavailable(f"{directory} holds no cache yet, and read_only asks not to make one")
    _create(directory, lock)
    return True


def _is_ours(directory: Path) -> bool:
    """Whether a directory holds a whole store of this format; False if it holds none."""
    try:
        fd = os.open(f"{directory}/format", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise StoreUnavailable(f"{directory} is a file, not a directory: name another one") from None
    try:
        text = os.read(fd, _STAMP_MOST).decode("ascii", "replace")
    finally:
        os.close(fd)
    if not text.strip("\0 \n"):
        return False  # a power loss took its content: what is there is completed
    name, _, version = text.strip().partition(" ")
    if name != FORMAT or not version.isdigit():
        raise FormatError(
            f"{directory} holds the format {text.strip()[:60]!r}, not {FORMAT}: name another one"
        )
    if int(version) != VERSION:
        raise FormatError(
            f"{directory} has format version {version}, this program knows {VERSION}: "
            f"use a newer vcache, or name another directory"
        )
    return True


def _can_write(directory: Path) -> bool:
    index = f"{directory}/index"
    if os.access(directory, os.W_OK) and os.access(index, os.W_OK):
        return True
    return not os.path.exists(index)


def _create(directory: Path, lock: WriterLock) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        strangers = sorted({*os.listdir(directory)} - _OWN_NAMES)
    except (FileExistsError, NotADirectoryError):
        raise StoreUnavailable(f"{directory} is a file, not a directory: name another one") from None
    if strangers:
        raise FormatError(
            f"{directory} is no cache and not empty (it holds {strangers[0]!r}): name an empty directory"
        )
    with lock:
        if _is_ours(directory):
            return  # somebody was faster
        (directory / "CACHEDIR.TAG").write_text(_CACHEDIR_TAG)
        for name in ("segments", "blobs", "tmp"):
            (directory / name).mkdir(exist_ok=True)
        replace_index(directory)
        # Last, and whole: what has this file is complete.
        stamp = directory / "tmp" / "format"
        stamp.write_text(_STAMP)
        os.rename(stamp, directory / "format")


_OWN_NAMES = frozenset(
    {
        "CACHEDIR.TAG", "format", "lock", "janitor.lock", "index", "index.new",
        "segments", "blobs", "tmp", "locks", "quarantine", FOREIGN,
        "logs",  # of log stores: see docs/design/logs.md
        "jobs",  # of the queue: see docs/design/jobs.md
        "remotes",  # of network tiers, which may be used first: see docs/design/network.md
    }
)  # fmt: skip


def replace_index(directory: Path) -> None:
    """An empty index in place of a missing or damaged one. What the old one knew is garbage."""
    path = directory / "index"
    with contextlib.suppress(FileNotFoundError, DamagedIndex):
        Table.open(path, read_only=False).close()
        return  # somebody was faster
    fresh = directory / "index.new"
    fresh.unlink(missing_ok=True)
    Table.write_new(fresh)
    # Segment numbers are never used again: a process may still have the old ones open.
    numbers = segment_numbers(directory / "segments")
    table = Table.open(fresh, read_only=False)
    table.words[Word.TAIL] = max(numbers, default=0) << 32
    table.close()
    _supersede(path)
    os.rename(fresh, path)
    _clear_out(directory)


def _clear_out(directory: Path) -> None:
    """Remove what no row knows any more: at once, or it would fill a budget that nothing can use.

    A put that is under way finds its file gone and writes it again. A file that somebody holds stays,
    and is swept as an orphan later.
    """
    for place in ("segments", "blobs"):
        for folder, _, names in os.walk(directory / place):
            for name in names:
                with contextlib.suppress(OSError):
                    _remove_unless_held(os.path.join(folder, name))


def _remove_unless_held(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(fd)


def _supersede(index: Path) -> None:
    """Send those who have a damaged index mapped to the new one, lest they go on filling the old."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(index, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, b"\1", Word.STATE * 8)
        finally:
            os.close(fd)


def boot_stamp() -> int:
    """A number that changes with every boot of the machine; 1 where there is none to be had."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 1
    try:
        return placement(os.read(fd, 64)) | 1
    finally:
        os.close(fd)


def keep_aside(directory: Path, place: int, view: memoryview, offset: int) -> None:
    """Copy a damaged record's bytes into the quarantine, as evidence."""
    aside = directory / "quarantine"
    with contextlib.suppress(OSError):
        aside.mkdir(exist_ok=True)
        if len(os.listdir(aside)) >= _KEPT_ASIDE:
            return
        length = PREFIX.unpack_from(view, offset)[1] if offset + PREFIX_BYTES <= len(view) else 0
        (aside / f"{place:016x}").write_bytes(view[offset : min(offset + length, offset + (1 << 20))])


def sweep_evidence(directory: Path, target_bytes: int | None) -> None:
    """Keep of the quarantine the latest files only, for a week, and little of a budget."""
    limit_bytes = _EVIDENCE_BYTES if target_bytes is None else min(_EVIDENCE_BYTES, target_bytes // 32)
    with contextlib.suppress(OSError):
        found = sorted(
            ((entry.stat(), entry.path) for entry in os.scandir(directory / "quarantine")), key=_mtime
        )
        total = sum(stat.st_blocks * 512 for stat, _ in found)
        for number, (stat, path) in enumerate(found):
            is_old = stat.st_mtime < time.time() - _EVIDENCE_S
            if is_old or total > limit_bytes or number < len(found) - _KEPT_ASIDE:
                os.unlink(path)
                total -= stat.st_blocks * 512


def _mtime(found: tuple[os.stat_result, str]) -> float:
    return found[0].st_mtime
