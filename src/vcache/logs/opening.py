"""The directory of a log store: making it, recognising it, leaving foreign ones alone (docs/design/logs.md)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vcache.errors import FormatError, StoreUnavailable
from vcache.kit.fs_atomic import TEMP_PREFIX, sync_dir, write_atomic

__all__ = ["FORMAT", "PLACES", "open_directory"]

FORMAT: Final = "vcache-logs 1\n"
PLACES: Final = ("tail", "segments", "rings", "tmp")
_OWN: Final = frozenset((*PLACES, "format", "seal.lock"))
_STAMP_MOST: Final = 256


def open_directory(directory: Path) -> None:
    """Make or recognise a log store's directory.

    Raises:
        FormatError: it holds something else, or a newer format.
        StoreReadOnly, StoreUnavailable, StoreFull: it cannot be made or read.
    """
    try:
        if not _is_ours(directory):
            _make(directory)
    except (FileExistsError, NotADirectoryError):
        raise StoreUnavailable(f"{directory} is a file, not a directory: name another one") from None
    except OSError as error:
        from vcache.store.disk.trouble import translate

        raise translate(error, directory) from error


def _is_ours(directory: Path) -> bool:
    """Whether a directory holds a whole store of this format; False if it holds none."""
    try:
        fd = os.open(directory / "format", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        text = os.read(fd, _STAMP_MOST).decode("ascii", "replace")
    finally:
        os.close(fd)
    if text == FORMAT:
        # An empty directory is lost by tools that copy files only.
        return all((directory / place).is_dir() for place in PLACES)
    if not text.strip("\0 \n"):
        return False  # a power loss took its content: what is there is completed
    name, _, version = text.strip().partition(" ")
    if name != FORMAT.split()[0] or not version.isdigit():
        raise FormatError(
            f"{directory} holds the format {text.strip()[:60]!r}, not {FORMAT.split()[0]}: name another one"
        )
    raise FormatError(
        f"{directory} has format version {version}, this program knows {FORMAT.split()[1]}: "
        f"use a newer vcache, or name another directory"
    )


def _make(directory: Path) -> None:
    _make_parents(directory)
    strangers = sorted(
        name for name in os.listdir(directory) if name not in _OWN and not name.startswith(TEMP_PREFIX)
    )
    if strangers:
        raise FormatError(
            f"{directory} is no log store and not empty (it holds {strangers[0]!r}): name an empty directory"
        )
    for place in PLACES:
        (directory / place).mkdir(exist_ok=True)
    # Last, and whole: what has this file is complete. Who is as fast writes the same.
    write_atomic(directory / "format", FORMAT.encode(), durable=True)


def _make_parents(directory: Path) -> None:
    """A directory whose name survives a power loss, as what will be in it has to."""
    if directory.is_dir():
        return
    _make_parents(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_dir(directory.parent)
