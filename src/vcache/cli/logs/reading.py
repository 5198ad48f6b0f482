"""Bytes of files, pipes and commands ▷ records in a store. What is counted as kept survives a power loss."""

from __future__ import annotations

import os
import re
import selectors
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreBusy, VcacheError
from vcache.kit.data import dataclass, replace
from vcache.logs.collect.collector import Collector
from vcache.logs.collect.reading import with_fields
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Record

if TYPE_CHECKING:
    from vcache.logs.base import LogStore
    from vcache.logs.receive.base import Stream

__all__ = ["Ingested", "Input", "read_fd", "run_command"]

_READ_BYTES: Final = 1 << 16
_BULK_READ_BYTES: Final = 4 << 20
_BULK_RECORDS: Final = 1 << 16
_BULK_BYTES: Final = 32 << 20
_IDLE_S: Final = 0.25  # after which the line that a prompt is counts as whole
_AFTER_S: Final = 2.0  # how long a pipe is still read after Ctrl-C, which its writer got as well
_CLOSE_S: Final = 30.0
# A severity as syslog has it, perhaps behind the count of octets (RFC 6587): a line of a compiler begins
# with neither.
_SYSLOG: Final = re.compile(rb"\s*(?:[1-9][0-9]{0,6} )?<[0-9]{1,3}>")


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
        format: a name of `vcache.logs.receive.formats`, or "auto".
        fields: what every record has besides.
        tee: the descriptor that the bytes are passed on to, as they are.
    """

    source: str
    format: str
    fields: Mapping[str, str]
    tee: int | None = None


class _Reader:
    """Makes records of pieces."""

    def __init__(self, given: Input) -> None:
        self._given = given
        self._stream: Stream | None = None
        if given.format != "auto":
            self._stream = by_name(given.format).stream(source=given.source)

    def feed(self, data: bytes) -> Sequence[Record]:
        if self._given.tee is not None:
            _write_all(self._given.tee, data)
        if self._stream is None:
            self._stream = by_name(_guessed(data)).stream(source=self._given.source)
        return self._with_fields(self._stream.feed(data, now_ns=time.time_ns()))

    def flush(self) -> Sequence[Record]:
        return [] if self._stream is None else self._with_fields(self._stream.flush(now_ns=time.time_ns()))

    def end(self) -> Sequence[Record]:
        return [] if self._stream is None else self._with_fields(self._stream.end(now_ns=time.time_ns()))

    def _with_fields(self, records: list[Record]) -> Sequence[Record]:
        return with_fields(records, self._given.fields)


def read_fd(store: LogStore, fd: int, given: Input) -> Ingested:
    """Keep all that a descriptor gives, until its end."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return _read_file(store, fd, _Reader(given))
    return _collected(store, {fd: _Reader(given)})


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
        done = _collected(store, {fd: _Reader(given) for fd, given in zip(fds, streams, strict=True)})
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        process.stdout.close()
        process.stderr.close()
    return replace(done, status=status if status >= 0 else 128 - status)


def _read_file(store: LogStore, fd: int, reader: _Reader) -> Ingested:
    """In large appends, each a segment of its own where that pays."""
    held: list[Record] = []
    kept, n_bytes = 0, 0
    while data := os.read(fd, _BULK_READ_BYTES):
        held += reader.feed(data)
        n_bytes += len(data)
        if len(held) >= _BULK_RECORDS or n_bytes >= _BULK_BYTES:
            kept += store.append(held).count
            held, n_bytes = [], 0
    held += reader.end()
    if held:
        kept += store.append(held).count
    return Ingested(kept)


def _collected(store: LogStore, readers: Mapping[int, _Reader]) -> Ingested:
    """What pipes give. Whoever writes to them waits when the store is slower, and not for each sync."""
    collector = Collector(store)
    is_interrupted, reason = False, ""
    try:
        with selectors.DefaultSelector() as selector:
            for fd, reader in readers.items():
                selector.register(fd, selectors.EVENT_READ, reader)
            is_interrupted = _pump(collector, selector)
        for reader in readers.values():
            _submit(collector, reader.end())
    except VcacheError as error:
        reason = str(error)
    finally:
        collector.close(_CLOSE_S)
    counters = collector.counters()
    lost = counters.dropped_total
    return Ingested(
        counters.accepted - lost, lost, is_interrupted=is_interrupted, reason=reason or _why(counters.dropped)
    )


def _why(dropped: object) -> str:
    return (
        "; ".join(str(getattr(each, "reason", each)) for each in dropped)
        if isinstance(dropped, Mapping)
        else ""
    )


def _pump(collector: Collector, selector: selectors.BaseSelector) -> bool:
    """Read until all ended; whether that was Ctrl-C's doing."""
    end_s: float | None = None
    while selector.get_map() and (end_s is None or time.monotonic() < end_s):
        try:
            ready = selector.select(_IDLE_S)
            if not ready:
                for key in selector.get_map().values():
                    _submit(collector, key.data.flush())
            for key, _ in ready:
                data = os.read(key.fd, _READ_BYTES)
                if not data:
                    selector.unregister(key.fd)
                else:
                    _submit(collector, key.data.feed(data))
        except KeyboardInterrupt:
            if end_s is not None:
                break
            end_s = time.monotonic() + _AFTER_S
    return end_s is not None


def _submit(collector: Collector, records: Sequence[Record]) -> None:
    if not records:
        return
    try:
        collector.submit(records, wait=False, origin="ingest")
    except StoreBusy:
        collector.submit(records, wait=True, origin="ingest")


def _guessed(start: bytes) -> str:
    """The format that the first bytes look like."""
    if start.lstrip()[:1] == b"{":
        return "json"
    return "syslog" if _SYSLOG.match(start) else "lines"


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
