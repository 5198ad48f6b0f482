"""What a program says once about its logs: where they go, from which level on, what is a secret.

It must not know loggers: they ask here.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

from vcache.errors import UsageError
from vcache.logs.front.lanes import Lane, Sink
from vcache.logs.front.leveling import number_of
from vcache.logs.front.process import PROCESS
from vcache.logs.front.secrets import Redactor
from vcache.logs.front.sinks import TextSink
from vcache.query.levels import INFO

__all__ = ["close", "configure", "flush", "lanes_of", "process_lanes", "set_level"]

# A sink has one lane, whoever uses it: its lock, and what is folded, are of the sink.
_lanes: Final[WeakKeyDictionary[Sink, Lane]] = WeakKeyDictionary()
_used: Final[WeakSet[Lane]] = WeakSet()
PROCESS.level = INFO


def configure(
    *,
    sinks: Sequence[Sink] | None = None,
    level: int | str | None = None,
    redactor: Redactor | None = None,
) -> None:
    """Say where the records of this process go, from here on and for all loggers. What is left out stays.

    Args:
        sinks: instead of lines on stderr, or of those given before, which are closed unless given again.
        level: what is below is left out, by loggers that have no level of their own.
        redactor: what takes secrets out; the usual ones, when never said.

    Raises:
        UsageError: a level, a sink or a redactor that is none.
    """
    number = None if level is None else number_of(level)
    if redactor is not None and not isinstance(redactor, Redactor):
        raise UsageError(f"redactor={redactor!r:.80}: give a vcache.logs.Redactor")
    with PROCESS.lock:
        before = PROCESS.lanes or ()
        if number is not None:
            PROCESS.level = number
        if redactor is not None:
            PROCESS.redactor = redactor
        if sinks is not None:
            PROCESS.lanes = lanes_of(sinks)
        after = PROCESS.lanes or ()
        PROCESS.changed()
    for each in before:
        if each not in after:
            each.close()


def set_level(level: int | str) -> None:
    """Leave out what is below, in all loggers that have no level of their own.

    Raises:
        UsageError: a level that is none.
    """
    configure(level=level)


def flush() -> None:
    """Hand on what sinks hold back: folded lines, and what is in rings."""
    for each in list(_used):
        each.flush()
        also = getattr(each.sink, "flush", None)
        if also is not None:
            also()


def close() -> None:
    """Hand on what is held back, and close all sinks. Done when the program ends, too."""
    for each in list(_used):
        each.close()


def lanes_of(sinks: Sequence[Sink]) -> tuple[Lane, ...]:
    """The sinks as loggers use them.

    Raises:
        UsageError: one that is none.
    """
    with PROCESS.lock:
        found = []
        for sink in sinks:
            if isinstance(sink, type) or not hasattr(sink, "write") or not hasattr(sink, "folds"):
                raise UsageError(f"sink {sink!r:.80}: give one, such as TextSink() or StoreSink(store)")
            lane = _lanes.get(sink)
            if lane is None:
                lane = _lanes[sink] = Lane(sink)
                _used.add(lane)
            found.append(lane)
        return tuple(found)


def process_lanes() -> tuple[Lane, ...]:
    """Those of loggers that have none of their own."""
    with PROCESS.lock:
        if PROCESS.lanes is None:
            PROCESS.lanes = lanes_of([TextSink()])
        return PROCESS.lanes


def _after_fork_in_child() -> None:
    PROCESS.after_fork_in_child()
    for each in list(_used):
        each.after_fork_in_child()
    PROCESS.changed()


atexit.register(close)
os.register_at_fork(after_in_child=_after_fork_in_child)
