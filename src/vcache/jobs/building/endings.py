"""Waits for the ends of many jobs in one thread. It knows a queue, and not who asked for what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreError
from vcache.jobs.states import ENDED
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from vcache.jobs.base import Queue
    from vcache.jobs.models import Job

__all__ = ["Endings", "OnEnd"]

OnEnd = Callable[["Job | None"], None]
"""Told of a job that has ended; None for one that the queue does not know (any more)."""

_SOON_S: Final = 0.001
_MOST_S: Final = 0.03
_SLOWER: Final = 1.4
_TROUBLE_S: Final = 0.5
_AT_ONCE: Final = 250
_log: Final = logger("vcache.jobs")


class Endings:
    """Watches jobs until they end.

    A queue tells workers that there is something to do, and nobody that something is done: it is asked,
    often while jobs come and go, less often while they take long.

    Args:
        queue: stays its caller's.

    Threads: any number. Who waits is told in a thread of this one's, and holds the others up meanwhile.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._lock = threading.Condition()  # guards all below
        self._waiting: dict[str, list[OnEnd]] = {}
        self._pause_s = _SOON_S
        self._is_closed = False
        self._trouble_since = 0.0
        self._thread: threading.Thread | None = None

    def watch(self, job_id: str, on_end: OnEnd) -> None:
        """Tell of a job's end, once."""
        with self._lock:
            self._waiting.setdefault(job_id, []).append(on_end)
            self._pause_s = _SOON_S
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vcache-endings", daemon=True)
                self._thread.start()
            self._lock.notify_all()

    def forget(self, job_id: str, on_end: OnEnd) -> bool:
        """Tell no more of a job; whether it had not been told of."""
        with self._lock:
            callers = self._waiting.get(job_id, [])
            if on_end not in callers:
                return False
            callers.remove(on_end)
            if not callers:
                del self._waiting[job_id]
            return True

    @property
    def trouble_s(self) -> float:
        """For how long the queue has not answered; 0 while it does."""
        with self._lock:
            return time.monotonic() - self._trouble_since if self._trouble_since else 0.0

    def close(self) -> None:
        """Tell nobody any more."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
            thread = self._thread
            self._lock.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                ids = list(self._waiting)
            found = self._look(ids)
            with self._lock:
                self._pause_s = _SOON_S if found else min(self._pause_s * _SLOWER, _MOST_S)
                pause_s = _TROUBLE_S if self._trouble_since else self._pause_s
                self._lock.wait_for(partial(self._is_news, len(self._waiting)), timeout=pause_s)

    def _is_news(self, known: int) -> bool:
        return self._is_closed or len(self._waiting) > known

    def _look(self, ids: list[str]) -> int:
        """Ask for these once; how many have ended."""
        count, rest = 0, iter(ids)
        while some := list(islice(rest, _AT_ONCE)):
            try:
                jobs = self._queue.get(some)
            except StoreError as error:
                self._note_trouble(error)
                return count
            self._note_trouble(None)
            for job_id, job in zip(some, jobs, strict=True):
                if job is None or job.state in ENDED:
                    count += 1
                    self._tell(job_id, job)
        return count

    def _note_trouble(self, error: StoreError | None) -> None:
        with self._lock:
            is_new = error is not None and not self._trouble_since
            self._trouble_since = 0.0 if error is None else self._trouble_since or time.monotonic()
        if is_new:
            _log.warning("the queue does not answer, it is asked again: %s", error)

    def _tell(self, job_id: str, job: Job | None) -> None:
        with self._lock:
            callers = self._waiting.pop(job_id, [])
        for on_end in callers:
            try:
                on_end(job)
            except Exception:  # the others wait
                _log.exception("who waited for job %s took its end badly", job_id)
