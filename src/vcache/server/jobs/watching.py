"""Who wants to see a job change: all jobs that are watched are read in one call, now and then.

On the event loop. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from vcache.errors import StoreClosed, VcacheError
from vcache.jobs.models import Job
from vcache.server.refused import Refusal, Refused

__all__ = ["Watch"]

_log: Final = logging.getLogger("vcache.server")

_LEAST_S: Final = 0.05
_MOST_S: Final = 1.0
_SLOWER: Final = 1.5
_AT_ONCE: Final = 100
_MOST_WATCHERS: Final = 4096

Read = Callable[[Sequence[str]], Awaitable[Sequence[Job | None]]]


class _Box:
    """What one watcher has yet to see: the last is all that counts."""

    __slots__ = ("is_over", "job", "news")

    def __init__(self, job: Job | None) -> None:
        self.job = job
        self.is_over = False
        self.news = asyncio.Event()

    def put(self, job: Job | None) -> bool:
        """Have a job seen; whether it changed."""
        if job == self.job:
            return False
        self.job = job
        self.news.set()
        return True

    def end(self) -> None:
        """Nothing more comes."""
        self.is_over = True
        self.news.set()


class Watch:
    """Watches jobs of one queue.

    Args:
        read: gets jobs by their ids.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._boxes: dict[str, list[_Box]] = {}
        self._count = 0
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def nudge(self) -> None:
        """Look soon: something has changed."""
        self._nudged.set()

    async def follow(self, job_id: str) -> AsyncGenerator[Job | None]:
        """A job as it is, and again whenever it was seen to have changed; None once it is not known.

        Raises:
            Refused: too many watch, or the server is shutting down.
        """
        if self._is_over:
            raise Refused(Refusal.BUSY, "the server is shutting down")
        if self._count >= _MOST_WATCHERS:
            raise Refused(Refusal.CROWDED, "too many watch jobs at once")
        (job,) = await self._read([job_id])
        box = _Box(job)
        self._boxes.setdefault(job_id, []).append(box)
        self._count += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look())
        self.nudge()  # it may have changed since it was read
        try:
            yield job
            while True:
                await box.news.wait()
                box.news.clear()
                if box.is_over:
                    return
                yield box.job
        finally:
            self._count -= 1
            boxes = self._boxes[job_id]
            boxes.remove(box)
            if not boxes:
                del self._boxes[job_id]

    def end(self) -> None:
        """End all, and begin no more."""
        self._is_over = True
        self._end_boxes()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _end_boxes(self) -> None:
        for boxes in self._boxes.values():
            for box in boxes:
                box.end()

    async def _look(self) -> None:
        pause_s = _LEAST_S
        try:
            while self._boxes:
                pause_s = _LEAST_S if await self._seen() else min(pause_s * _SLOWER, _MOST_S)
                await asyncio.sleep(_LEAST_S)  # however often it is nudged
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s - _LEAST_S):
                        await self._nudged.wait()
                        pause_s = _LEAST_S
                self._nudged.clear()
        finally:
            self._task = None

    async def _seen(self) -> bool:
        """Read all that is watched; whether anything changed."""
        ids = list(self._boxes)
        changed = False
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            try:
                jobs = await self._read(some)
            except (StoreClosed, Refused):
                self._end_boxes()
                return False
            except (VcacheError, OSError) as error:
                _log.warning("watched jobs cannot be read: %s", error)
                return False
            for job_id, job in zip(some, jobs, strict=True):
                for box in self._boxes.get(job_id, ()):
                    changed |= box.put(job)
        return changed
