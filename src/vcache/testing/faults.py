"""Faults on demand: flipped bits behind a store's back, and a store that fails as told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from vcache.entry import Key, Record
from vcache.errors import UsageError
from vcache.store.base import Store, StoreCounters, StoreInfo

__all__ = ["FaultyStore", "flip_bit", "flip_stored"]


def flip_bit(path: Path, bit: int) -> None:
    """Invert one bit of a file in place; bit 0 is the lowest of the first byte.

    Raises:
        UsageError: the file has no such bit.
    """
    mode = path.stat().st_mode
    if not 0 <= bit < path.stat().st_size * 8:
        raise UsageError(f"{path} has {path.stat().st_size * 8} bits, so none numbered {bit}")
    path.chmod(mode | 0o200)  # stores keep their files read-only
    try:
        with open(path, "r+b", buffering=0) as file:
            file.seek(bit // 8)
            byte = file.read(1)[0]
            file.seek(bit // 8)
            file.write(bytes((byte ^ 1 << bit % 8,)))
    finally:
        path.chmod(mode)


def flip_stored(directory: Path, content: bytes, *, bit: int = 0) -> int:
    """Invert one bit in every place where files below a directory hold some content.

    Args:
        directory: where to search.
        content: what to search for; at least a few bytes, or other data would match.
        bit: which bit of the content.

    Returns:
        The number of places.
    """
    count = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            for start, data in _written(path):
                at = data.find(content)
                while at >= 0:
                    flip_bit(path, (start + at) * 8 + bit)
                    count += 1
                    at = data.find(content, at + 1)
    return count


def _written(path: Path) -> Iterator[tuple[int, bytes]]:
    """The parts of a file that are not holes, with their offsets. A store may reserve much and write little."""
    with open(path, "rb", buffering=0) as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole follows
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, os.pread(file.fileno(), end - start, start)


class FaultyStore:
    """A store around another one, with the required operations only, that fails when told to.

    Args:
        inner: what does the work while nothing fails.
        name: for `info`.
        is_trusted, is_shared, is_persistent, is_read_only: what `info` says, instead of what the
            inner store's does. Nothing is enforced by them.

    Attributes:
        calls: how often each operation was called, also when it failed.
        tamper: when set, given what `get` found; what it returns is handed out instead.
    """

    def __init__(
        self,
        inner: Store,
        *,
        name: str = "faulty",
        is_trusted: bool | None = None,
        is_shared: bool | None = None,
        is_persistent: bool | None = None,
        is_read_only: bool | None = None,
    ) -> None:
        own = inner.info
        self.info: StoreInfo = own._replace(
            name=name,
            url=f"{name}:",
            is_trusted=own.is_trusted if is_trusted is None else is_trusted,
            is_shared=own.is_shared if is_shared is None else is_shared,
            is_persistent=own.is_persistent if is_persistent is None else is_persistent,
            is_read_only=own.is_read_only if is_read_only is None else is_read_only,
        )
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.tamper: Callable[[Key, Record], Record | None] | None = None
        self._faults: dict[str, tuple[Exception, int | None]] = {}

    def fail(self, operation: str, error: Exception, *, times: int | None = None) -> None:
        """Let an operation raise an error, always or so many times."""
        self._faults[operation] = (error, times)

    def heal(self) -> None:
        """Let every operation work again."""
        self._faults.clear()
        self.tamper = None

    def get(self, key: Key) -> Record | None:
        self._enter("get")
        record = self.inner.get(key)
        return record if record is None or self.tamper is None else self.tamper(key, record)

    def put(self, key: Key, record: Record) -> None:
        self._enter("put")
        self.inner.put(key, record)

    def delete(self, key: Key) -> bool:
        self._enter("delete")
        return self.inner.delete(key)

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        self._enter("scan")
        return self.inner.scan(prefix)

    def counters(self) -> StoreCounters:
        self._enter("counters")
        return self.inner.counters()

    def close(self) -> None:
        self._enter("close")
        self.inner.close()

    def _enter(self, operation: str) -> None:
        self.calls[operation] += 1
        error, times = self._faults.get(operation, (None, None))
        if error is None:
            return
        if times is not None:
            if times <= 1:
                del self._faults[operation]
            else:
                self._faults[operation] = (error, times - 1)
        raise error
