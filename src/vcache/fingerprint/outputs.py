"""Puts named outputs back below a directory, and takes them from there, never outside of it.

A name comes from an entry, and an entry may come from a stranger. Every directory is therefore
walked by descriptor, one part at a time and without following links; a link is read and followed
here, only while it stays below the root. What another process swaps meanwhile changes nothing: a
descriptor goes on meaning the directory that was checked. (openat2 with RESOLVE_BENEATH would do
the same in the kernel, but Python has no way to call it.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final, Self

from vcache.errors import UnsafePath

__all__ = [
    "DIRECTORY",
    "Walk",
    "in_the_way",
    "link_at",
    "open_below",
    "parts_of",
    "restore",
    "safe_place",
    "safe_target",
    "share_at",
    "write_at",
]

_FICLONE: Final = 0x40049409  # linux/fs.h: share the blocks of a whole file
_LINKS_MAX: Final = 40  # as the kernel's MAXSYMLINKS
_COPY_BYTES: Final = 1 << 30
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES})
_CHUNK_BYTES: Final = 1 << 20
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# An entry may come from a stranger: it decides on reading, writing and running, never on set-uid.
_MODE_MASK: Final = 0o777


def safe_target(root: str | os.PathLike[str], name: str) -> Path:
    """The path of an output below a root, checked as it stands now.

    Raises:
        UnsafePath: the name is empty, absolute, holds `.`, `..`, an empty part or a NUL, or a link on the
            way leads out of the root.
    """
    parts = parts_of(name)
    with Walk(root, name) as walk:
        try:
            walk.enter_all_but_last(parts)
        except FileNotFoundError:
            pass  # what does not exist yet leads nowhere
    return Path(root, *parts)


def safe_place(root: str | os.PathLike[str], name: str) -> Path:
    """The path of an output that may itself be a link to anywhere: only the way to it is checked.

    Raises:
        UnsafePath: as `safe_target`.
    """
    parts = parts_of(name)
    with Walk(root, name) as walk:
        try:
            walk.enter(parts[:-1])
        except FileNotFoundError:
            pass
    return Path(root, *parts)


def open_below(root: str | os.PathLike[str], name: str) -> BinaryIO:
    """An output opened for reading; a link is followed while it stays below the root.

    Raises:
        UnsafePath: as `safe_target`, or not a regular file.
        OSError: it is missing or cannot be read.
    """
    parts = parts_of(name)
    with Walk(root, name) as walk:
        last = walk.enter_all_but_last(parts)
        # O_NONBLOCK: a FIFO in the place of an output must not hang the build.
        fd = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=walk.fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnsafePath(f"output {name!r} below {os.fspath(root)!r} is not a regular file")
    return open(fd, "rb")


def restore(
    root: str | os.PathLike[str], name: str, source: Path | bytes | memoryview, *, mode: int, link: bool
) -> None:
    """Write an output below a root, in one step: readers see the old file or the new one, whole.

    Args:
        root: the directory, which exists. Directories between it and the output are made.
        name: the output's path below it, with `/`.
        source: the content, or a file with it.
        mode: permission bits, kept as they are whatever the umask; set-uid and set-gid are dropped.
        link: share the source's blocks where the file system can (reflink). Never a hard link: a
            write to the output would go through to the source.

    Raises:
        UnsafePath: as `safe_target`, or a directory is in the way.
        OSError: the file cannot be written; an older one is intact.
    """
    parts = parts_of(name)
    with Walk(root, name) as walk:
        walk.enter(parts[:-1], make=True)
        try:
            write_at(walk.fd, parts[-1], source, mode=mode, link=link)
        except IsADirectoryError:
            raise in_the_way(root, name) from None


def in_the_way(root: str | os.PathLike[str], name: str) -> UnsafePath:
    """The error for a file that would take the place of a directory."""
    return UnsafePath(f"output {name!r}: a directory is in the way below {os.fspath(root)!r}")


def write_at(dir_fd: int, last: str, source: Path | bytes | memoryview, *, mode: int, link: bool) -> None:
    """Write a file in an open directory, in one step; see `restore`.

    Raises:
        OSError: it cannot be written; an older one is intact.
    """
    temporary = _temporary_name()
    fd = os.open(temporary, _NEW, 0o600, dir_fd=dir_fd)
    try:
        try:
            _fill(fd, source, link=link)
            os.fchmod(fd, mode & _MODE_MASK)
        finally:
            os.close(fd)
        os.replace(temporary, last, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=dir_fd)
        raise


def share_at(dir_fd: int, last: str, source: Path) -> bool:
    """Make a name in an open directory a hard link to a file; False where that cannot be done.

    Whoever writes to the one writes to the other: for read-only files, and for who asked for it.

    Raises:
        OSError: a directory is in its place, or the directory takes no names.
    """
    temporary = _temporary_name()
    try:
        os.link(source, temporary, dst_dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False  # another file system, one without links, or a file with too many
        raise
    try:
        os.replace(temporary, last, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        # Renamed over a link to the same file nothing happens, and both names stay (rename(2)).
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=dir_fd)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=dir_fd)
        raise
    return True


def link_at(dir_fd: int, last: str, target: bytes) -> None:
    """Make a symbolic link in an open directory, in place of whatever file or link is there.

    Raises:
        OSError: it cannot be made, or a directory is in its place.
    """
    temporary = _temporary_name()
    os.symlink(target, temporary, dir_fd=dir_fd)
    try:
        os.replace(temporary, last, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        os.unlink(temporary, dir_fd=dir_fd)
        raise


def _temporary_name() -> str:
    return f".vcache-{os.urandom(8).hex()}.tmp"


_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Walk:
    """A position below a root, held by descriptors."""

    def __init__(self, root: str | os.PathLike[str], name: str) -> None:
        self._root = os.fspath(root)
        self._name = name
        self._links = 0
        # The root is the caller's and may itself be a link.
        self._fds = [os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)

    @property
    def fd(self) -> int:
        """The directory that was reached."""
        return self._fds[-1]

    def enter(self, parts: list[str], *, make: bool = False) -> None:
        """Go down, following links that stay below the root."""
        todo = parts[::-1]
        while todo:
            part = todo.pop()
            if part == "..":
                self._up()
            elif part not in ("", "."):
                todo += self._down(part, make=make)

    def enter_all_but_last(self, parts: list[str]) -> str:
        """Go down to the directory that really holds the last part; its name there."""
        while parts and parts[-1] not in ("", ".", ".."):
            self.enter(parts[:-1])
            target = self._link(parts[-1])
            if target is None:
                return parts[-1]
            parts = self._follow(target)
        self.enter(parts)
        return "."

    def _down(self, part: str, *, make: bool) -> list[str]:
        """Enter one directory; the parts to walk instead if it is a link, last one first."""
        try:
            self._fds.append(os.open(part, DIRECTORY, dir_fd=self.fd))
            return []
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            # A link gives ENOTDIR with O_DIRECTORY on Linux, ELOOP elsewhere.
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            target = self._link(part)
            if target is None:
                raise UnsafePath(f"output {self._name!r}: {part!r} is a file, not a directory") from None
            return self._follow(target)[::-1]
        try:
            os.mkdir(part, dir_fd=self.fd)
        except FileExistsError:
            pass  # another process made it: entered below like any other
        return [part]

    def _up(self) -> None:
        if len(self._fds) == 1:
            raise self._escape("..")
        os.close(self._fds.pop())

    def _link(self, part: str) -> str | None:
        try:
            return os.readlink(part, dir_fd=self.fd)
        except OSError:
            return None  # not a link, or gone: the caller's next look says which

    def _follow(self, target: str) -> list[str]:
        """The parts of a link's target, from here or, for an absolute one below it, from the root."""
        self._links += 1
        if self._links > _LINKS_MAX:
            raise UnsafePath(f"output {self._name!r}: too many links below {self._root!r}")
        if not target.startswith("/"):
            return target.split("/")
        root = os.path.realpath(self._root)
        if root not in ("/", target) and not target.startswith(root + "/"):
            raise self._escape(target)
        while len(self._fds) > 1:
            os.close(self._fds.pop())
        return target[len(root) :].split("/")

    def _escape(self, target: str) -> UnsafePath:
        return UnsafePath(f"output {self._name!r} passes through a link to {target!r}, out of {self._root!r}")


def parts_of(name: str) -> list[str]:
    """The parts of an output name.

    Raises:
        UnsafePath: it is not plainly a path below a directory.
    """
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(f"output {name!r}: a name is relative, without '.', '..', empty parts and NUL")
    return parts


def _fill(fd: int, source: Path | bytes | memoryview, *, link: bool) -> None:
    if not isinstance(source, os.PathLike):
        _write(fd, source)
        return
    with open(source, "rb", buffering=0) as file:
        if not (link and _reflink(fd, file.fileno())):
            _copy(fd, file.fileno())


def _reflink(fd: int, source_fd: int) -> bool:
    try:
        fcntl.ioctl(fd, _FICLONE, source_fd)
    except OSError:
        return False  # another file system, or one without shared blocks: copying finds real faults
    return True


def _copy(fd: int, source_fd: int) -> None:
    """Copy in the kernel where it can, else through memory."""
    if hasattr(os, "copy_file_range"):
        try:
            while os.copy_file_range(source_fd, fd, _COPY_BYTES):
                pass
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
                raise
    # Also after success: some file systems answer 0 at once. Both offsets stand where it stopped.
    while data := os.read(source_fd, _CHUNK_BYTES):
        _write(fd, data)


def _write(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]
