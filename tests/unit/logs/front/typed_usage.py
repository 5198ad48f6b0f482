"""A program that logs, as a type checker sees it: mypy checks it with all tests, and test_types.py runs it.

An `ignore` that is not needed is an error: each states that mypy refuses the line.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

from vcache.logs import (
    CallSink,
    Handler,
    JsonSink,
    Logger,
    Record,
    Redactor,
    Sink,
    StoreSink,
    TextSink,
    context,
    flush,
    set_level,
)
from vcache.logs.base import LogStore


class Mine:
    """A sink of a user's own."""

    level = 13
    folds = True

    def __init__(self) -> None:
        self.count = 0

    def write(self, record: Record) -> None:
        self.count += record.repeats

    def close(self) -> None: ...


class Keeps:
    """What of a store is needed."""

    def append(self, records: Sequence[Record], *, sync: bool = True) -> None: ...


def sinks_of(store: LogStore) -> list[Sink]:
    return [StoreSink(store, level="info"), TextSink(io.StringIO()), JsonSink(io.StringIO()), CallSink(print)]


def say() -> int:
    mine = Mine()
    log = Logger("prog", sinks=[mine, StoreSink(Keeps())], level="debug", run="r1", count=1)
    log.info("message", target="a.o", ms=1.5, flags=["-O2"], error=None)
    log.bind(node="n").limited(10, burst=20).located().warning("again")
    log.log("note", "word")
    log.log(14, "number")
    log.exception("none")  # noqa: LOG004 - nothing is being handled
    with context(job=1):
        log.critical("within", exc_info=ValueError())
    set_level("info")
    flush()
    logging.getLogger("typed").addHandler(Handler("source", sinks=[mine], run="r1"))
    Redactor(names=["pin"], patterns=["x"], also=str.upper)
    return mine.count


def refused(log: Logger) -> None:
    log.inof("message")  # type: ignore[attr-defined]
    log.info()  # type: ignore[call-arg]
    log.info(b"message")  # type: ignore[arg-type]
    log.info("message", "argument")  # type: ignore[call-arg]  # noqa: PLE1205 - it is refused
    Logger("prog", sinks=["stderr"])  # type: ignore[list-item]
    StoreSink("directory")  # type: ignore[arg-type]
