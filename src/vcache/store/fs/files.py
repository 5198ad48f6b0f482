"""Files of any file system that fsspec reaches: whole ones in and out, by name, for many threads.

Its errors are those of stores. It must not know what a file holds.

An instance of fsspec for a synchronous file system, such as one connection of SFTP, serves one thread at a time;
one for an asynchronous file system serves all, from a loop that does not live on in a forked child.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any, Final, TypeVar
from uuid import uuid4

from vcache.errors import StoreError, StoreFull, StoreUnavailable, UsageError
from vcache.kit.pool import Pool
from vcache.store.fs.address import Mount

__all__ = ["LIMIT_BYTES", "Files", "Publishing"]

A = TypeVar("A")
T = TypeVar("T")

LIMIT_BYTES: Final = 1_000_000_000
"""The longest file that is read, where nothing else is said."""

_INSTANCES: Final = 8
_WAIT_S: Final = 60.0
_FEW: Final = 4
_TRIES: Final = 5
# A PUT makes an object visible as a whole, and there is no rename that is not a copy.
_OBJECT_STORES: Final = frozenset(
    "abfs abfss adl az gcs gs memory oci ocilake oss r2 s3 s3a tos wasb wasbs".split()
)
_LOCAL: Final = frozenset(("file", "local", "memory"))
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_UNSUITABLE: Final = (errno.EISDIR, errno.ENOTDIR, errno.EROFS, errno.ENAMETOOLONG)
# Of libraries that are not imported here: what trying again does not help.
_REFUSALS: Final = frozenset(
    "AuthenticationException BadAuthenticationType BadHostKeyException HostKeyNotVerifiable ClientAuthenticationError "
    "DefaultCredentialsError NoCredentialsError PasswordRequiredException RefreshError".split()
)


class Publishing(StrEnum):
    """How a file comes into sight under its name."""

    RENAME = "rename"
    """Written under another name and renamed: whole or not at all."""

    PUT = "put"
    """Written at once by a file system that shows it whole or not at all."""

    COPY = "copy"
    """Written under another name and copied: a reader may meet half of it, and takes it for damaged."""


class Files:
    """The files below one directory.

    Threads: all operations.

    Attributes:
        publishing: how they come into sight.
    """

    def __init__(self, mount: Mount, kind: type[Any], *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._mount = mount
        self._kind = kind
        self._is_async = bool(getattr(kind, "async_impl", False))
        self._shared: tuple[int, Any] | None = None
        self._pool: Pool[Any] = Pool(self._made, limit=_INSTANCES, close=_end)
        self.publishing: Final = _publishing(mount.protocol, kind)

    def read(self, path: str) -> bytes | None:
        """The content of a file, of one that is too long for a record its beginning; None if there is none."""
        return self._with(lambda fs: _absent(lambda: _content(fs, path, self._limit_bytes)))

    def read_many(self, paths: Sequence[str]) -> list[bytes | None]:
        """The contents of files, fetched together where the file system can do that."""
        if self._is_async and len(paths) > 1:
            return self._with(lambda fs: _cat(fs, paths, self._limit_bytes))
        return self._each(self.read, paths)

    def read_start(self, path: str, size_bytes: int) -> bytes | None:
        """At least the first bytes of a file; None if there is none."""
        return self._with(lambda fs: _absent(lambda: bytes(fs.cat_file(path, start=0, end=size_bytes))))

    def are_there(self, paths: Sequence[str]) -> list[bool]:
        """Which of some files there are."""
        return self._each(lambda path: self._with(lambda fs: _is_there(fs, path)), paths)

    def write(self, path: str, content: bytes) -> None:
        """Make a file, in place of an older one."""
        self._with(lambda fs: self._written(fs, path, content))

    def write_many(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Make files, in place of older ones, several at a time where that is faster."""
        self._each(lambda pair: self.write(*pair), list(contents))

    def remove(self, path: str) -> bool:
        """Remove a file; whether there was one."""

        def removed(fs: Any) -> bool:
            # An object store does not say whether there was anything.
            if self.publishing is Publishing.PUT and not _is_there(fs, path):
                return False
            return _absent(lambda: fs.rm_file(path) or True) is not None

        return self._with(removed)

    def names(self) -> Iterable[str]:
        """The paths of all files."""
        return self._with(lambda fs: _absent(lambda: fs.find(self._mount.root)) or [])

    def close(self) -> None:
        """End all connections. May be called again."""
        self._pool.close()
        self._shared = None  # an asynchronous one ends what it has in its own loop, when it is collected

    def _written(self, fs: Any, path: str, content: bytes) -> None:
        if self.publishing is Publishing.PUT:
            self._fill(fs, path, content)
            return
        directory, _, name = path.rpartition("/")
        aside = f"{directory}/.{name[:40]}-{uuid4().hex}"
        try:
            self._fill(fs, aside, content)
            _moved(fs, aside, path)
        except BaseException:
            _dropped(fs, aside)
            raise

    def _fill(self, fs: Any, path: str, content: bytes) -> None:
        """Write a file; its directory is made when that turns out to be absent."""
        directory = path.rpartition("/")[0]
        for number in range(_TRIES):
            try:
                return _put(fs, path, content)
            except FileNotFoundError:
                # Who makes the same directories at the same time makes this fail half way.
                with suppress(OSError):
                    if number == 0:  # mostly it is the last one only, for which to look at all takes longer
                        fs.mkdir(directory, create_parents=False)
                    else:
                        fs.makedirs(directory, exist_ok=True)
        return _put(fs, path, content)

    def _each(self, work: Callable[[A], T], things: Sequence[A]) -> list[T]:
        if len(things) <= _FEW or self._mount.protocol in _LOCAL:
            return [work(thing) for thing in things]
        with ThreadPoolExecutor(_INSTANCES, thread_name_prefix="vcache-fs") as pool:
            return list(pool.map(work, things))

    def _with(self, work: Callable[[Any], T]) -> T:
        with self._lent() as fs:
            return work(fs)

    @contextmanager
    def _lent(self) -> Iterator[Any]:
        """An instance for one operation. One that failed is not used again."""
        where = f"store {self._mount.text!r}"
        fs = None
        is_sound = False
        try:
            fs = self._one() if self._is_async else self._pool.take(_WAIT_S)
            fs.invalidate_cache()  # listings that are kept would hide what others wrote
            yield fs
            is_sound = True
        except (StoreError, UsageError):
            raise
        except Exception as error:
            raise _translated(where, error) from error
        finally:
            if fs is not None:
                self._give(fs, is_sound=is_sound)

    def _give(self, fs: Any, *, is_sound: bool) -> None:
        if not self._is_async:
            self._pool.give(fs, is_sound=is_sound)
        elif not is_sound:
            shared = self._shared
            if shared is not None and shared[1] is fs:
                self._shared = None

    def _one(self) -> Any:
        shared = self._shared
        if shared is None or shared[0] != os.getpid():
            shared = self._shared = (os.getpid(), self._made())
        return shared[1]

    def _made(self) -> Any:
        # Not out of fsspec's own table: that keeps instances for each thread that ever was.
        return self._kind(**self._mount.arguments, skip_instance_cache=True)


def _publishing(protocol: str, kind: type[Any]) -> Publishing:
    if protocol in _OBJECT_STORES:
        return Publishing.PUT
    of_fsspec = ("fsspec.spec", "fsspec.asyn")
    own = (vars(each) for each in kind.__mro__ if each.__module__ not in of_fsspec)
    can_move = any(name in names for names in own for name in ("mv", "mv_file", "_mv_file"))
    return Publishing.RENAME if can_move else Publishing.COPY


def _content(fs: Any, path: str, limit_bytes: int) -> bytes:
    if _is_sftp(fs):
        # One request after the other takes a round trip for each 32 KiB.
        with fs.open(path, "rb") as file:
            if file.stat().st_size <= limit_bytes:
                file.prefetch()
            return bytes(file.read(limit_bytes))
    if "file" in fs.protocol:  # memory is taken for what is asked for, before it is there
        with suppress(FileNotFoundError):
            limit_bytes = min(fs.size(path), limit_bytes)
    return bytes(fs.cat_file(path, start=0, end=limit_bytes))


def _put(fs: Any, path: str, content: bytes) -> None:
    if _is_sftp(fs):
        with fs.open(path, "wb") as file:
            file.set_pipelined(True)
            file.write(content)
        return
    fs.pipe_file(path, content)


def _is_sftp(fs: Any) -> bool:
    return hasattr(fs, "ftp") and hasattr(fs.ftp, "posix_rename")


def _moved(fs: Any, aside: str, path: str) -> None:
    try:
        fs.mv(aside, path)
    except OSError:
        # A server that knows no rename over what is there: a reader may find nothing for a moment.
        if not _is_there(fs, path):
            raise
        fs.rm_file(path)
        if _is_sftp(fs):
            fs.ftp.rename(aside, path)
        else:
            fs.mv(aside, path)


def _dropped(fs: Any, path: str) -> None:
    with suppress(Exception):  # what happened before is what will be told
        fs.rm_file(path)


def _is_there(fs: Any, path: str) -> bool:
    # Not `exists`: it takes every error for an absence.
    return _absent(lambda: fs.info(path)) is not None


def _cat(fs: Any, paths: Sequence[str], limit_bytes: int) -> list[bytes | None]:
    """The contents of files, or their beginnings, by one call that has many under way together."""
    found: list[bytes | None] = []
    # Not `cat`: it takes a star in a path for a pattern.
    for content in fs.cat_ranges(list(paths), 0, limit_bytes, on_error="return"):
        if isinstance(content, FileNotFoundError):
            found.append(None)
        elif isinstance(content, BaseException):
            raise content
        else:
            found.append(bytes(content))
    return found


def _absent(work: Callable[[], T]) -> T | None:
    try:
        return work()
    except FileNotFoundError:
        return None


def _end(fs: Any) -> None:
    """Close the connections that a synchronous file system has; most have none of their own."""
    for name in ("ftp", "client"):
        close = getattr(getattr(fs, name, None), "close", None)
        if close is not None:
            with suppress(Exception):  # it is gone either way
                close()


def _translated(where: str, error: Exception) -> StoreError:
    """The error of a store that one of a foreign file system stands for."""
    said = f"{where}: {type(error).__name__}: {error}"
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return StoreFull(said)
    if isinstance(error, TimeoutError):
        return StoreUnavailable(said)
    is_refusal = any(kind.__name__ in _REFUSALS for kind in type(error).__mro__)
    if is_refusal or isinstance(error, (PermissionError, NotImplementedError, TypeError, ValueError)):
        return StoreError(said)
    return StoreError(said) if number in _UNSUITABLE else StoreUnavailable(said)
