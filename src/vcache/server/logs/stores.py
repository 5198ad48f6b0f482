"""The log stores of a server, one a namespace: opened when somebody first asks, closed with the server.

What blocks is called on a thread. It must not know HTTP.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreBusy, VcacheError
from vcache.logs.disk import DiskLogs
from vcache.logs.retention import Rules
from vcache.logs.sealed import digest_of
from vcache.logs.shipping import Shipping
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.base import LogStore
    from vcache.logs.collect.collector import Collector
    from vcache.logs.collect.sealing import SealProcess
    from vcache.server.logs.shelf import Shelf

__all__ = ["Stores"]

_log: Final = logging.getLogger("vcache.server")

_CLOSE_S: Final = 10.0
_KEPT_RECORDS: Final = 16_384  # 1 KB each: a server has many tails to keep, and little memory for each
_SEAL_PROCESSES: Final = 4  # a thread that seals has those wait who are shown what comes
_MANY_TAILS: Final = 3
_RETAIN_S: Final = 600.0  # where nothing comes in
_OPEN: Final = "default"  # of a server without tokens, and of local commands (docs/design/logs.md)


class Stores:
    """The log stores of all namespaces.

    Args:
        directory: where they are, one directory each; None where a server has no directory.
        shelf: of a namespace: what its store asks of the cache.
        is_read_only: nothing is made, and nothing is taken.

    Threads: all operations.
    """

    def __init__(
        self,
        directory: Path | None,
        shelf: Callable[[str], Shelf],
        *,
        rules: Rules | None = None,
        is_read_only: bool = False,
    ) -> None:
        self._directory, self._shelf = directory, shelf
        self._rules = rules or Rules()
        self._retained_s = -_RETAIN_S
        self._is_read_only = is_read_only
        self._lock = threading.Lock()  # guards all below; held while one is opened, that none is twice
        self._stores: dict[str, LogStore] = {}
        self._shelves: dict[str, Shelf] = {}
        self._collectors: dict[str, Collector] = {}
        self._sealing: dict[str, SealProcess] = {}
        self._is_closed = False

    def of(self, namespace: str) -> LogStore:
        """The store of a namespace, empty where nothing was kept. Blocks.

        Raises:
            Refused: there can be none.
            StoreError: it cannot be opened.
        """
        store = self._stores.get(namespace)
        if store is not None:
            return store
        if self._directory is None:
            raise Refused(Refusal.ABSENT, "this server keeps no logs: its store has no directory")
        with self._lock:
            if self._is_closed:
                raise Refused(Refusal.BUSY, "the server is shutting down")
            store = self._stores.get(namespace)
            if store is None:
                shelf = None if self._is_read_only else self._shelf(namespace)
                # Who seals: `seal`.
                store = DiskLogs(self.place(namespace), cache=shelf, seals=False, kept_records=_KEPT_RECORDS)
                self._stores[namespace] = store
                if shelf is not None:
                    self._shelves[namespace] = shelf
            return store

    def collector(self, namespace: str) -> Collector:
        """What takes a namespace's records; raises as `of`. Blocks."""
        from vcache.logs.collect.collector import Collector
        from vcache.logs.collect.sealing import SealProcess

        found = self._collectors.get(namespace)
        if found is not None:
            return found
        store = self.of(namespace)
        with self._lock:
            if self._is_closed:
                raise Refused(Refusal.BUSY, "the server is shutting down")
            found = self._collectors.get(namespace)
            if found is None:
                found = self._collectors[namespace] = Collector(store)
                if len(self._sealing) < _SEAL_PROCESSES:
                    self._sealing[namespace] = SealProcess(self.place(namespace), rules=self._rules)
            return found

    def keep(self, rules: Rules) -> None:
        """Let other rules of retention hold, for each namespace."""
        with self._lock:
            self._rules, self._retained_s = rules, -_RETAIN_S
            processes = list(self._sealing.values())
        for process in processes:
            process.keep(rules)

    def upkeep(self) -> None:
        """Seal full tails of namespaces for which no process does, and drop what is due. Blocks."""
        if self._directory is None or self._is_read_only:
            return
        for namespace, store in self.opened().items():
            if namespace not in self._sealing and isinstance(store, DiskLogs):
                self._seal(namespace, store)
        for namespace, shelf in list(self._shelves.items()):
            shelf.ship(Shipping(shelf), _segments(self.place(namespace)))
        if self._rules.is_bounded and time.monotonic() - self._retained_s > _RETAIN_S:
            self._retained_s = time.monotonic()
            self._retain()

    def _seal(self, namespace: str, store: DiskLogs) -> None:
        try:
            if sum(1 for _ in (store.directory / "tail").iterdir()) >= _MANY_TAILS:
                store.seal(timeout_s=0)
        except StoreBusy:
            pass  # somebody else does it
        except (VcacheError, OSError) as error:
            _log.warning("the logs of %r are not sealed: %s", namespace, error)

    def _retain(self) -> None:
        """Drop what is due, in namespaces that nobody asked for as well: those one after the other."""
        from vcache.logs.collect.sealing import SealProcess

        assert self._directory is not None
        for store in self.opened().values():
            if isinstance(store, DiskLogs):
                store.rotate()
        for process in list(self._sealing.values()):
            process.keep(self._rules)
        busy = {self.place(namespace) for namespace in list(self._sealing)}
        with contextlib.suppress(FileNotFoundError):
            for place in sorted((self._directory / "logs").iterdir()):
                if place not in busy and (place / "format").is_file():
                    SealProcess(place, rules=self._rules).close()

    def require_write(self) -> None:
        """Nothing, where records are taken.

        Raises:
            Refused: the server is read-only.
        """
        if self._is_read_only:
            raise Refused(Refusal.FORBIDDEN, "this server is read-only")

    def place(self, namespace: str) -> Path:
        """The directory of a namespace's logs: no namespace of local commands has an `@`, nor has `default`."""
        assert self._directory is not None
        return self._directory / "logs" / (f"@{namespace}" if namespace else _OPEN)

    def size_bytes(self, namespace: str) -> int:
        """What a namespace's logs take on the disk."""
        if self._directory is None:
            return 0
        return sum(_sizes(self.place(namespace))) + self._shelf(namespace).size_bytes()

    def opened(self) -> Mapping[str, LogStore]:
        """Those that somebody asked for, by namespace."""
        return dict(self._stores)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            self._is_closed = True
            stores, self._stores = self._stores, {}
            collectors, self._collectors = self._collectors, {}
            sealing, self._sealing = self._sealing, {}
        for collector in collectors.values():
            collector.close(_CLOSE_S)
        for process in sealing.values():
            process.close()
        for namespace, store in stores.items():
            try:
                store.close()
            except (VcacheError, OSError):
                _log.exception("the logs of %r cannot be closed", namespace)


def _segments(place: Path) -> Iterator[tuple[bytes, Path]]:
    with contextlib.suppress(FileNotFoundError):
        for path in (place / "segments").iterdir():
            name = digest_of(path.name)
            if name is not None:
                yield name, path


def _sizes(place: Path) -> Iterator[int]:
    for part in ("tail", "segments"):
        try:
            files = list((place / part).iterdir())
        except OSError:
            continue
        for file in files:
            try:
                yield file.stat().st_size
            except OSError:
                continue  # sealed or removed meanwhile
