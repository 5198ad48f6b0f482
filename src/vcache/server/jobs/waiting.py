"""Workers of other machines that wait for something to claim: a thread waits for all of one sort.

Otherwise each would hold a thread for as long as it waits. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreClosed, VcacheError
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.jobs.base import Queue

__all__ = ["Waiting"]

_log: Final = logging.getLogger("vcache.server")

_LOOK_S: Final = 0.5  # how long one may wait whom nobody waits for any more
_SURELY: Final = 0.9  # of it: who returns before has seen something
_PAUSE_S: Final = 1.0  # after a fault of the queue
_MOST_SORTS: Final = 64  # a thread each


class Waiting:
    """Who waits for jobs of one queue. On the event loop."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._sorts: dict[tuple[str, ...], _Sort] = {}
        self._is_over = False

    async def wait(self, kinds: Sequence[str], timeout_s: float) -> None:
        """Return when there may be something of these kinds to claim, at the latest after that time.

        Raises:
            Refused: too many sorts of workers, or the server is shutting down.
        """
        if self._is_over:
            raise Refused(Refusal.BUSY, "the server is shutting down")
        key = tuple(sorted(set(kinds)))
        sort = self._sorts.get(key)
        if sort is None:
            if len(self._sorts) >= _MOST_SORTS:
                raise Refused(Refusal.CROWDED, "workers for too many different sets of kinds wait at once")
            sort = self._sorts[key] = _Sort(self._queue, key, self._tell)
        sort.count += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await sort.news.wait()
        finally:
            sort.count -= 1

    def end(self) -> None:
        """Let nobody wait any more."""
        self._is_over = True
        for sort in list(self._sorts.values()):
            self._tell(sort)

    def _tell(self, sort: _Sort) -> None:
        if self._sorts.get(sort.kinds) is sort:
            del self._sorts[sort.kinds]
        sort.news.set()


class _Sort:
    """Those who wait for the same kinds, from the first that comes until there is something, or none waits.

    Attributes:
        news: set when there may be something.
        count: how many wait.
    """

    def __init__(self, queue: Queue, kinds: tuple[str, ...], tell: Callable[[_Sort], None]) -> None:
        self.kinds = kinds
        self.news = asyncio.Event()
        self.count = 0
        self._queue, self._tell = queue, tell
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="vcache-jobs-wait", daemon=True).start()

    def _run(self) -> None:
        self._wait()
        with suppress(RuntimeError):  # the loop has ended, and with it whoever would care
            self._loop.call_soon_threadsafe(self._tell, self)

    def _wait(self) -> None:
        is_first = True  # who comes first has not counted itself when this begins
        while is_first or (self.count and not self.news.is_set()):
            is_first = False
            begun_s = time.monotonic()
            try:
                self._queue.wait(self.kinds, _LOOK_S)
            except StoreClosed:
                return
            except (VcacheError, OSError) as error:  # who claims next is told
                _log.warning("a queue cannot be waited at: %s", error)
                time.sleep(_PAUSE_S)
                return
            if time.monotonic() - begun_s < _SURELY * _LOOK_S:
                return
