"""Puts many outputs back below one root: directories stay open between them.

What `outputs.restore` walks for every file, part by part, is walked here once a directory. It
knows names, bytes and links, and nothing of where they come from.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from vcache.fingerprint.outputs import DIRECTORY, Walk, in_the_way, link_at, parts_of, share_at, write_at
from vcache.kit.data import NamedTuple

__all__ = ["Branch", "Restorer", "Spot"]

_OPEN_MOST: Final = 64
_RUN_BITS: Final = 0o111

Branch: TypeAlias = "dict[str, Branch | None]"
"""What a directory is to hold, by name: None for a file or link, else a directory."""


class _Directory:
    """An open directory; closed when nobody refers to it, so that one thread never closes another's."""

    __slots__ = ("fd", "identity")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.identity = _identity(os.fstat(fd))

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.fd)


class Spot(NamedTuple):
    """Where an output goes: an open directory, and the name in it."""

    directory: _Directory
    last: str


class Restorer:
    """Writes outputs below one root, never outside of it.

    A directory on the way may be a link while it stays below the root. An open directory is used
    only while its path leads to it: what was renamed or replaced since is walked to again.

    Args:
        root: the directory, which exists.
        hard_links: files that the store holds as files, and that nobody runs, become links to those:
            read-only, and one with the store's.

    Threads: any number.
    """

    def __init__(self, root: str | os.PathLike[str], *, hard_links: bool = False) -> None:
        self.root = os.fspath(root)
        self._hard_links = hard_links
        self._prefix = os.path.join(self.root, "")
        self._open: dict[str, _Directory] = {}

    def find(self, name: str) -> Spot | None:
        """Where a name goes; None when its directory is not there.

        Raises:
            UnsafePath: the name leads out of the root, or passes through a file.
        """
        try:
            return self._spot(name, make=False)
        except FileNotFoundError:
            return None

    def make(self, name: str) -> Spot:
        """Where a name goes, with the directories on the way made.

        Raises:
            UnsafePath: as `find`.
            OSError: a directory cannot be made.
        """
        return self._spot(name, make=True)

    def write(self, spot: Spot, source: Path | bytes | memoryview, *, mode: int, link: bool) -> None:
        """Write a file, in one step; see `outputs.restore`.

        Raises:
            UnsafePath: a directory is in its place.
            OSError: it cannot be written; an older one is intact.
        """
        fd, last = spot.directory.fd, spot.last
        try:
            is_shared = self._hard_links and isinstance(source, Path) and not mode & _RUN_BITS
            if not (is_shared and isinstance(source, Path) and share_at(fd, last, source)):
                write_at(fd, last, source, mode=mode, link=link)
        except IsADirectoryError:
            raise in_the_way(self.root, spot.last) from None

    def link(self, spot: Spot, target: bytes) -> None:
        """Make a symbolic link, in place of a file or link that is there. It may lead anywhere.

        Raises:
            UnsafePath: a directory is in its place.
            OSError: it cannot be made.
        """
        try:
            link_at(spot.directory.fd, spot.last, target)
        except IsADirectoryError:
            raise in_the_way(self.root, spot.last) from None

    def tree(self, name: str, branch: Branch) -> Iterator[tuple[int, str, list[str], bool]]:
        """Make a directory hold the directories of a branch, and no name that is not in it.

        Nothing below it is entered through a link. What is of another kind is removed.

        Yields:
            for each directory: its descriptor, its name below the root, the names of the files and
            links that the caller writes there, whether something was removed or made.

        Raises:
            UnsafePath: the name leads out of the root.
            OSError: something cannot be made or removed.
        """
        spot = self.make(name)
        yield from _grown(spot.directory.fd, spot.last, name, branch)

    def _spot(self, name: str, *, make: bool) -> Spot:
        path, slash, last = name.rpartition("/")
        known = None if slash and not path else self._open.get(path)
        if known is not None:
            try:
                if _identity(os.stat(self._prefix + path)) == known.identity and _is_plain(last):
                    return Spot(known, last)
            except OSError:
                pass  # gone: walked to, and made, below
            self._open.pop(path, None)
        parts = parts_of(name)
        with Walk(self.root, name) as walk:
            walk.enter(parts[:-1], make=make)
            directory = _Directory(os.dup(walk.fd))
        if len(self._open) >= _OPEN_MOST:
            self._open.clear()
        self._open[path] = directory
        return Spot(directory, last)


def _grown(above: int, last: str, name: str, branch: Branch) -> Iterator[tuple[int, str, list[str], bool]]:
    fd, is_changed = _entered(above, last)
    try:
        is_changed |= _pruned(fd, branch)
        yield fd, name, [leaf for leaf, below in branch.items() if below is None], is_changed
        for part, below in branch.items():
            if below is not None:
                yield from _grown(fd, part, f"{name}/{part}", below)
    finally:
        os.close(fd)


def _entered(above: int, last: str) -> tuple[int, bool]:
    """A directory opened without following links, made where it is none; whether it was made."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.open(last, DIRECTORY, dir_fd=above), False
    with contextlib.suppress(FileNotFoundError):
        os.unlink(last, dir_fd=above)  # a file, or a link: the kernel says ENOTDIR of both
    with contextlib.suppress(FileExistsError):  # another process puts the same back
        os.mkdir(last, dir_fd=above)
    return os.open(last, DIRECTORY, dir_fd=above), True


def _pruned(fd: int, branch: Mapping[str, Branch | None]) -> bool:
    """Remove what a directory holds beside a branch; whether there was anything."""
    with os.scandir(fd) as found:
        held = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    odd = [(name, is_dir) for name, is_dir in held if name not in branch or is_dir == (branch[name] is None)]
    for name, is_dir in odd:
        if is_dir:
            from shutil import rmtree  # rare, and 5 ms with what it brings

            rmtree(name, dir_fd=fd)
        else:
            os.unlink(name, dir_fd=fd)
    return bool(odd)


def _identity(status: os.stat_result) -> tuple[int, int]:
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(status.st_mode)
    return status.st_ino, status.st_dev


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and "\0" not in part
