"""Files, pipes and commands ▷ records in a store. What is counted as kept survives a power loss."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from vcache.errors import VcacheError
from vcache.kit.data import dataclass, replace
from vcache.logs.collect.collector import Collector
from vcache.logs.collect.pipes import ingest_stream
from vcache.logs.collect.reading import with_fields
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Record

if TYPE_CHECKING:
    from vcache.logs.base import Appended, LogStore

__all__ = ["Ingested", "Input", "read_fd", "run_command"]

_BULK_READ_BYTES: Final = 1 << 20
_BULK_RECORDS: Final = 1 << 20  # what a segment begun for a file holds at most
_TAIL_RECORDS: Final = 4096  # fewer are no segment of their own
_AFTER_S: Final = 2.0  # how long a pipe is still read after Ctrl-C, which its writer got as well
_CLOSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came of it.

    Attributes:
        status: of a command, as a shell has it.
        reason: why some were lost.
    """

    kept: int = 0
    lost: int = 0
    status: int = 0
    is_interrupted: bool = False
    reason: str = ""

    def plus(self, other: Ingested) -> Ingested:
        """Both together."""
        return Ingested(
            self.kept + other.kept, self.lost + other.lost, self.status or other.status,
            self.is_interrupted or other.is_interrupted, other.reason or self.reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Input:
    """Where bytes come from, and what is made of them.

    Attributes:
        format: a name that `vcache.logs.receive.formats` has, and that has streams.
        fields: what every record has besides.
        tee: the descriptor that the bytes are passed on to, as they are.
        is_followed: a file is waited for beyond its end.
    """

    source: str
    format: str
    fields: Mapping[str, str]
    tee: int | None = None
    is_followed: bool = False


def read_fd(store: LogStore, fd: int, given: Input) -> Ingested:
    """Keep all that a descriptor gives, until its end or Ctrl-C."""
    if stat.S_ISREG(os.fstat(fd).st_mode) and not given.is_followed:
        return _read_file(store, fd, given)
    return _collected(store, {fd: given}, heeds_interrupt=True)


def run_command(store: LogStore, command: Sequence[str], streams: Sequence[Input]) -> Ingested:
    """Run a command and keep what it says.

    Args:
        streams: of its standard output, and of its standard error.

    Raises:
        OSError: it cannot be started: as the system says.
    """
    import signal

    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    # Ctrl-C is for the command, which is in our group: what it says when it ends is kept too.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fds = (process.stdout.fileno(), process.stderr.fileno())
        done = _collected(store, dict(zip(fds, streams, strict=True)), heeds_interrupt=False)
        for pipe in (process.stdout, process.stderr):
            pipe.close()  # whoever still writes though nobody reads shall hear of it
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return replace(done, status=status if status >= 0 else 128 - status)


def _read_file(store: LogStore, fd: int, given: Input) -> Ingested:
    """A file: what is long goes into segments as it is read, if the store has any."""
    records = _records_of(fd, given)
    bulk: Callable[[Iterable[Record]], Appended] = getattr(store, "append_bulk", None) or (
        lambda rest: store.append(list(rest))
    )
    kept = 0
    while first := list(islice(records, _TAIL_RECORDS)):
        if len(first) < _TAIL_RECORDS:
            kept += store.append(first).count
        else:
            kept += bulk(chain(first, islice(records, _BULK_RECORDS))).count
    return Ingested(kept)


def _records_of(fd: int, given: Input) -> Iterator[Record]:
    stream = by_name(given.format).stream(source=given.source)
    while data := os.read(fd, _BULK_READ_BYTES):
        if given.tee is not None:
            _write_all(given.tee, data)
        yield from with_fields(stream.feed(data, now_ns=time.time_ns()), given.fields)
    yield from with_fields(stream.end(now_ns=time.time_ns()), given.fields)


def _collected(store: LogStore, inputs: Mapping[int, Input], *, heeds_interrupt: bool) -> Ingested:
    """What pipes give, each read by a thread. Who writes to them waits when the store is slower."""
    collector = Collector(store)
    stopping = _Stopping()
    errors: list[Exception] = []
    is_interrupted = False
    ends = [threading.Event() for _ in inputs]
    threads = [
        threading.Thread(
            target=_read_pipe, args=(collector, fd, given, stopping, errors, end), name=f"vcache-{fd}"
        )
        for (fd, given), end in zip(inputs.items(), ends, strict=True)
    ]
    try:
        for thread in threads:
            thread.start()
        is_interrupted = _wait(ends, stopping, heeds_interrupt=heeds_interrupt)
    finally:
        collector.close(_CLOSE_S)
    counters = collector.counters()
    why = "; ".join({what.reason for what in counters.dropped} | {str(error) for error in errors})
    lost = counters.dropped_total or len(errors)
    return Ingested(counters.kept, lost, is_interrupted=is_interrupted, reason=why)


class _Stopping:
    """Whether to go on reading: for a while after Ctrl-C, as the writer may have something to say."""

    def __init__(self) -> None:
        self._end_s: float | None = None

    def __call__(self) -> bool:
        return self._end_s is not None and time.monotonic() >= self._end_s

    def after(self, wait_s: float) -> None:
        """Stop in a while; at once when that was said before."""
        self._end_s = time.monotonic() + (wait_s if self._end_s is None else 0)


def _wait(ends: Sequence[threading.Event], stopping: _Stopping, *, heeds_interrupt: bool) -> bool:
    """Wait for the readers; whether Ctrl-C came.

    By events: CPython 3.11 takes a thread whose `join` was interrupted for one that has ended (bpo-45274).
    """
    is_interrupted = False
    while not all(end.is_set() for end in ends):
        try:
            for end in ends:
                if not end.wait(_AFTER_S + 1 if is_interrupted and heeds_interrupt else None):
                    return (
                        True  # it waits for a store that takes nothing: whoever closes the collector ends it
                    )
        except KeyboardInterrupt:
            is_interrupted = True
            if heeds_interrupt:
                stopping.after(_AFTER_S)
    return is_interrupted


def _read_pipe(
    collector: Collector,
    fd: int,
    given: Input,
    is_stopped: Callable[[], bool],
    errors: list[Exception],
    end: threading.Event,
) -> None:
    tee = given.tee
    try:
        ingest_stream(
            collector, fd, format=given.format, source=given.source, fields=given.fields,
            pass_on=None if tee is None else lambda data: _write_all(tee, data),
            is_followed=given.is_followed, is_stopped=is_stopped,
        )  # fmt: skip
    except (OSError, VcacheError) as error:
        errors.append(error)
    finally:
        end.set()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
