"""What the cache does for a log store: it keeps answers, and copies of segments in its network tiers.

It must not know queries and directories; whatever it fails to keep is made again, or read where it is.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vcache.entry import Key, make_key
from vcache.errors import StoreError
from vcache.hash import digest, file_digest
from vcache.kit.fs_atomic import sync_dir

if TYPE_CHECKING:
    from vcache.store.base import Store

__all__ = ["ANSWERS", "SEGMENTS", "Answers", "Shelf", "Shipping"]

ANSWERS: Final = ".log-answers"
SEGMENTS: Final = ".log-segments"


class Shelf(Protocol):
    """What is asked of a cache. Threads: any."""

    @property
    def store(self) -> Store:
        """The store, or its tiers."""

    def get_key(self, key: Key, /) -> object:
        """The value of a key, else None."""

    def put_key(self, key: Key, value: object, /) -> bool:
        """Keep a value; whether it was kept."""

    def put_file_key(self, key: Key, source: Path, /) -> bool:
        """Keep a file's content as bytes; whether it was kept."""


class Answers:
    """Answers of segments, as entries of a cache. Threads: any. It is a `vcache.logs.search.Kept`."""

    def __init__(self, cache: Shelf) -> None:
        self._cache = cache

    def get(self, query: str, digest: bytes) -> object | None:
        """What was kept; None for nothing."""
        return self._cache.get_key(_answer_key(query, digest))

    def put(self, query: str, digest: bytes, plain: object) -> None:
        """Keep an answer. Where that fails it is counted, as with every put."""
        self._cache.put_key(_answer_key(query, digest), plain)


class Shipping:
    """Segments as entries of a cache, so that its network tiers have them. Threads: any."""

    def __init__(self, cache: Shelf) -> None:
        self._cache = cache

    def keep(self, name: bytes, path: Path) -> bool:
        """Put a segment into the tiers, where one of them is on another machine."""
        # The file is the truth here: a copy in a tier of this machine would be no use.
        tiers = getattr(self._cache.store, "tiers", (self._cache.store,))
        if all(tier.info.is_trusted for tier in tiers):
            return False
        with contextlib.suppress(OSError):
            return self._cache.put_file_key(_segment_key(name), path)
        return False

    def fetch(self, name: bytes, path: Path, *, temporary: Path) -> bool:
        """Bring a segment back in place of a damaged or missing one; whether it is sound there."""
        body = self._cache.get_key(_segment_key(name))
        if not isinstance(body, bytes) or digest(body) != name:
            return False
        try:
            temporary.write_bytes(body)
            temporary.chmod(0o444)
            descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
            sync_dir(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            return False
        return True


def is_sound(name: bytes, path: Path) -> bool:
    """Whether a segment's file is what its name says.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return file_digest(path, size_bytes=path.stat().st_size) == name
    except OSError as error:
        raise StoreError(f"segment {path}: {error}") from error


def _answer_key(query: str, name: bytes) -> Key:
    # Of a query only its digest: a key is no place for a long one.
    return make_key(name + digest(query.encode("utf-8", "surrogatepass")), namespace=ANSWERS)


def _segment_key(name: bytes) -> Key:
    return make_key(name, namespace=SEGMENTS)
