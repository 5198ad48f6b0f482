"""The queues of a server, one a namespace: opened when somebody first asks, closed with the server.

What blocks is called on a thread. It must not know HTTP.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from vcache.errors import VcacheError
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.jobs.base import Queue

__all__ = ["Queues"]

_log: Final = logging.getLogger("vcache.server")


class Queues:
    """The queues of all namespaces.

    Args:
        open_queue: of a namespace; None where a server keeps no jobs.
        are_kept: whether a namespace may have jobs, without opening its queue.
        size_bytes: what the jobs of a namespace take.

    Threads: all operations.
    """

    def __init__(
        self,
        open_queue: Callable[[str], Queue] | None,
        *,
        are_kept: Callable[[str], bool] = lambda _: True,
        size_bytes: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._open = open_queue
        self.are_kept, self.size_bytes = are_kept, size_bytes
        self._lock = threading.Lock()  # guards the two below; held while one is opened, that none is twice
        self._queues: dict[str, Queue] = {}
        self._is_closed = False

    def of(self, namespace: str) -> Queue:
        """The queue of a namespace. Blocks.

        Raises:
            Refused: there can be none.
            ConfigError: an extra is not installed.
            StoreError: it cannot be opened.
        """
        found = self._queues.get(namespace)
        if found is not None:
            return found
        if self._open is None:
            raise Refused(
                Refusal.ABSENT,
                "this server keeps no jobs: its store has no directory, and no --queue says where",
            )
        with self._lock:
            if self._is_closed:
                raise Refused(Refusal.BUSY, "the server is shutting down")
            found = self._queues.get(namespace)
            if found is None:
                found = self._queues[namespace] = self._open(namespace)
            return found

    def opened(self) -> Mapping[str, Queue]:
        """Those that somebody asked for, by namespace."""
        return dict(self._queues)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            self._is_closed = True
            queues, self._queues = self._queues, {}
        for namespace, queue in queues.items():
            try:
                queue.close()
            except (VcacheError, OSError):
                _log.exception("the queue of %r cannot be closed", namespace)
