"""The log stores of a server, one a namespace: opened when somebody first asks, closed with the server.

What blocks is called on a thread. It must not know HTTP.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreBusy, VcacheError
from vcache.logs.disk import DiskLogs
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.base import LogStore
    from vcache.logs.collect.collector import Collector
    from vcache.logs.collect.sealing import SealProcess

__all__ = ["Stores"]

_log: Final = logging.getLogger("vcache.server")

_CLOSE_S: Final = 10.0
_SEAL_PROCESSES: Final = 4  # a thread that seals has those wait who are shown what comes
_MANY_TAILS: Final = 3
OPEN_NAME: Final = "default"
"""The namespace of a server without tokens, and of local commands (docs/design/logs.md)."""


class Stores:
    """The log stores of all namespaces.

    Args:
        directory: where they are, one directory each; None where a server has no directory.
        open_store: opens one.
        is_read_only: nothing is made, and nothing is taken.

    Threads: all operations.
    """

    def __init__(
        self, directory: Path | None, open_store: Callable[[Path], LogStore], *, is_read_only: bool = False
    ) -> None:
        self._directory, self._open = directory, open_store
        self._is_read_only = is_read_only
        self._lock = threading.Lock()  # guards all below; held while one is opened, that none is twice
        self._stores: dict[str, LogStore] = {}
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
                store = self._stores[namespace] = self._open(self.place(namespace))
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
                    self._sealing[namespace] = SealProcess(self.place(namespace))
            return found

    def seal(self) -> None:
        """Seal full tails of namespaces for which no process does. Blocks."""
        for namespace, store in self.opened().items():
            tails = self.place(namespace) / "tail"
            if namespace in self._sealing or not isinstance(store, DiskLogs) or self._is_read_only:
                continue
            try:
                if sum(1 for _ in tails.iterdir()) >= _MANY_TAILS:
                    store.seal(timeout_s=0)
            except StoreBusy:
                pass  # somebody else does it
            except (VcacheError, OSError) as error:
                _log.warning("the logs of %r are not sealed: %s", namespace, error)

    def require_write(self) -> None:
        """Nothing, where records are taken.

        Raises:
            Refused: the server is read-only.
        """
        if self._is_read_only:
            raise Refused(Refusal.FORBIDDEN, "this server is read-only")

    def place(self, namespace: str) -> Path:
        """The directory of a namespace's logs."""
        assert self._directory is not None
        return self._directory / "logs" / (namespace or OPEN_NAME)

    def size_bytes(self, namespace: str) -> int:
        """What a namespace's logs take on the disk."""
        return 0 if self._directory is None else sum(_sizes(self.place(namespace)))

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
