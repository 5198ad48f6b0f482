"""What all that a server does with logs shares: stores, who takes records in, who answers queries."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError
from vcache.logs.disk import DiskLogs
from vcache.server.logs.asking import Queue
from vcache.server.logs.stores import Stores
from vcache.server.logs.tails import Tails
from vcache.server.logs.taking import Taking

if TYPE_CHECKING:
    from vcache.logs.retention import Rules
    from vcache.server.callers import Caller
    from vcache.server.logs.shelf import Shelf

__all__ = ["LogDesk"]

_RUNNING: Final = 4  # queries at once: numpy gives the interpreter up, and two cores are usual
_WAITING: Final = 64
_SEAL_S: Final = 20.0  # for another who seals

Note = Callable[["Caller", str, str], object]
"""Told of a change: the caller, the action, the name."""


class LogDesk:
    """See the module.

    Args:
        directory: of the served store; None where it has none.
        shelf: of a namespace: see `Stores`.
        rules: what is dropped of logs.
        stack: closes what is opened.
        note: told of changes; on any thread.
        grown: told by how many bytes a namespace grew.
    """

    def __init__(
        self,
        directory: Path | None,
        stack: contextlib.ExitStack,
        *,
        shelf: Callable[[str], Shelf],
        rules: Rules,
        note: Note,
        grown: Callable[[str, int], object],
        is_read_only: bool = False,
    ) -> None:
        self._note, self._grown = note, grown
        self._lock = threading.Lock()  # guards what was taken and not noted yet
        self._taken: dict[tuple[Caller, str], int] = {}
        stack.callback(self.flush)
        self.stores = Stores(directory, shelf, rules=rules, is_read_only=is_read_only)
        executor = ThreadPoolExecutor(_RUNNING, "vcache-query")
        stack.callback(executor.shutdown)
        stack.callback(self.stores.close)
        self.queue = Queue(executor, running=_RUNNING, waiting=_WAITING)
        self.tails = Tails(self.queue)
        self.taking = Taking(self.stores, self._count)

    def _count(self, caller: Caller, dialect: str, count: int, size_bytes: int) -> None:
        self._grown(caller.namespace, size_bytes)
        with self._lock:
            key = caller, dialect
            self._taken[key] = self._taken.get(key, 0) + count

    def flush(self) -> None:
        """Note what was taken since the last time: a line of the audit log for each body would be too many."""
        with self._lock:
            taken, self._taken = self._taken, {}
        for (caller, dialect), count in taken.items():
            self._note(caller, "logs", f"{count} records by {dialect}")

    def upkeep(self) -> None:
        """What is due every few seconds. Blocks."""
        self.flush()
        self.stores.upkeep()

    def seal(self, caller: Caller) -> Mapping[str, object]:
        """Seal what a namespace's tail holds. Blocks."""
        store = self.stores.of(caller.namespace)
        if not isinstance(store, DiskLogs):
            raise ConfigError("this log store has nothing to seal")
        self.stores.require_write()
        report = store.seal(timeout_s=_SEAL_S)
        self._note(caller, "seal", f"{report.records} records")
        return report._asdict()
