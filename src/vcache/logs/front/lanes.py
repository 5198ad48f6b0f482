"""A sink as loggers use it: it never raises into the program, and repeated lines are folded on their way.

It must not know what a sink does.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import Final, Protocol

from vcache.logs.front.fold import HELD_NS, Folder
from vcache.logs.record import Record

__all__ = ["Lane", "Sink"]

_S: Final = 1e9


class Sink(Protocol):
    """Where records go. One thread at a time calls it; what it raises is counted, and said once."""

    @property
    def level(self) -> int:
        """It is not told of records below."""

    @property
    def folds(self) -> bool:
        """Whether repeated records come as one with a count."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None:
        """Write what is held back, and release everything. May be called again."""


class Lane:
    """One sink. Threads: all operations."""

    def __init__(self, sink: Sink) -> None:
        self.sink: Final = sink
        self.failures = 0
        self._lock = threading.RLock()  # guards the sink and what follows
        self._folder = Folder() if sink.folds else None
        self._waiting: Final[deque[Record]] = deque()
        self._is_within = False
        self._timer: threading.Timer | None = None

    def write(self, record: Record) -> None:
        """Hand a record on. When a sink logs itself, that comes behind what it is told just now."""
        with self._lock:
            self._waiting.append(record)
            if self._is_within:
                if len(self._waiting) > 100:  # a sink that logs each record that it is told
                    self._waiting.clear()
                return
            self._is_within = True
            try:
                while self._waiting:
                    self._fold(self._waiting.popleft())
            finally:
                self._is_within = False

    def flush(self, now_ns: int | None = None) -> None:
        """Hand on what folding holds back, or what it held for a second at that time."""
        with self._lock:
            if self._folder is not None:
                for each in self._folder.flush(now_ns):
                    self._hand_on(each)

    def close(self) -> None:
        """Hand on what is held back, and close the sink."""
        with self._lock:
            self.flush()
            try:
                self.sink.close()
            except Exception as error:  # as below
                self._failed(error)

    def after_fork_in_child(self) -> None:
        """Forget locks that threads may hold that are not here, and what is held: the parent says it."""
        self._lock = threading.RLock()
        self._is_within, self._timer = False, None
        self._waiting.clear()
        if self._folder is not None:
            self._folder = Folder()

    def _fold(self, record: Record) -> None:
        folder = self._folder
        if folder is None:
            self._hand_on(record)
            return
        for each in folder.add(record):
            self._hand_on(each)
        if folder.is_holding and self._timer is None:
            timer = threading.Timer(HELD_NS / _S, self._is_time)
            timer.daemon = True
            try:
                timer.start()
            except (
                RuntimeError
            ):  # no more threads, or the interpreter ends: nothing waits for who may not come
                self.flush()
            else:
                self._timer = timer

    def _is_time(self) -> None:
        with self._lock:
            self._timer = None
            self.flush(time.time_ns())
            if self._folder is not None and self._folder.is_holding:
                self.flush()

    def _hand_on(self, record: Record) -> None:
        try:
            self.sink.write(record)
        except Exception as error:  # a program must not fail for its logs
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            name = type(self.sink).__name__
            complain(f"vcache: the log sink {name} failed, and is tried again with each record: {error!r}")


def complain(text: str) -> None:
    """Say something on stderr, where there is one."""
    try:
        sys.stderr.write(f"{text}\n")
    except Exception:  # closed, or full: there is nobody left to tell
        return
