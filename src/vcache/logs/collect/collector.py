"""The collector: what receivers hand in to, and the listeners that it runs itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from vcache.errors import StoreBusy, StoreClosed, StoreUnavailable
from vcache.kit.clock import Clock, system_clock
from vcache.logs.base import LogStore
from vcache.logs.collect.committer import Committer
from vcache.logs.collect.counts import Counters, Counts
from vcache.logs.collect.limits import Limits
from vcache.logs.collect.parcels import Parcel, Ticket, size_of
from vcache.logs.collect.queue import ParcelQueue
from vcache.logs.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from vcache.logs.collect.addresses import ListenAddress
    from vcache.logs.collect.hub import Hub
    from vcache.logs.collect.journal import JournalReading
    from vcache.logs.collect.listening import Listening, Room
    from vcache.logs.collect.packets import DatagramListener
    from vcache.logs.collect.streams import StreamListener

__all__ = ["Collector"]


class Collector:
    """Takes records from many, and gives them to a store in few appends. A context manager.

    Acknowledged is what is durable (D2). The store stays open when the collector closes.

    Args:
        limits: bounds of memory, lines and peers.
        clock: the time at which lines are read.

    Threads: all operations.
    """

    def __init__(self, store: LogStore, *, limits: Limits | None = None, clock: Clock = system_clock) -> None:
        self.limits = limits or Limits()
        self.counts = Counts()
        self.queue = ParcelQueue(self.limits)
        self._committer = Committer(store, self.queue, self.counts, limits=self.limits, clock=clock)
        self._clock = clock
        self._hub: Hub | None = None
        self._readings: list[JournalReading] = []
        self._is_closed = False

    def submit(
        self,
        records: Sequence[Record],
        *,
        wait: bool = True,
        origin: str = "submit",
        size_bytes: int | None = None,
        timeout_s: float | None = None,
        on_done: Callable[[Ticket], object] | None = None,
    ) -> Ticket:
        """The ticket of records that were handed in: kept together, in their order.

        Args:
            wait: until there is room, and then until they are kept. Without it this never waits.
            origin: who brings them, by which they count: of a small set.
            size_bytes: what they take, where that is known, such as from the body of a request.
            timeout_s: how long each of the two waits is.
            on_done: called once, by the thread that commits, when the ticket ends: it must not wait. (A
                server of asyncio passes `lambda ticket: loop.call_soon_threadsafe(…)`.)

        Raises:
            StoreBusy: there is no room: try again later.
            StoreError: with `wait`: they are not kept.
        """
        ticket = Ticket(on_done)
        parcel = Parcel(
            origin, records, size_bytes=size_of(records) if size_bytes is None else size_bytes, ticket=ticket
        )
        if self._is_closed:
            raise StoreClosed("the collector of logs was closed")
        if not (self.queue.put(parcel, timeout_s) if wait else self.queue.offer(parcel)):
            if self._is_closed:
                raise StoreClosed("the collector of logs was closed")
            waiting, _ = self.queue.waiting
            raise StoreBusy(f"{waiting} records wait for the store, there is no room for {len(records)} more")
        if wait:
            ticket.wait(timeout_s)
        return ticket

    def listen(self, spec: str, *, is_exposed: bool = False) -> Listening:
        """Take what comes in at an address, until the collector closes.

        Args:
            spec: such as `syslog+udp://127.0.0.1:5514`: see `vcache.logs.collect.addresses`.
            is_exposed: it may be one that other machines can reach.

        Raises:
            ConfigError: no such address, or one beyond loopback without `is_exposed`.
            StoreUnavailable: nobody can listen there, such as since somebody else does.
        """
        from vcache.logs.collect.addresses import parse_address  # who only submits needs no sockets
        from vcache.logs.collect.hub import Hub
        from vcache.logs.collect.listening import Room

        address = parse_address(spec)
        address.check(is_exposed=is_exposed)
        if self._is_closed:
            raise StoreClosed("the collector of logs was closed")
        if self._hub is None:
            self._hub = Hub()
        try:
            return _opened(address, Room(self.queue, self.counts, self.limits), self._hub)
        except OSError as error:
            raise StoreUnavailable(f"cannot listen at {spec}: {error.strerror or error}") from error

    def follow_journal(self, *, state: Path | None = None, arguments: Sequence[str] = ()) -> JournalReading:
        """Take what systemd's journal says, until the collector closes: see `JournalReading`.

        Raises:
            ConfigError: there is no journalctl, or the state file cannot be read.
        """
        from vcache.logs.collect.journal import JournalReading  # needs subprocess, which takes 9 ms

        if self._is_closed:
            raise StoreClosed("the collector of logs was closed")
        reading = JournalReading(self, state=state, arguments=arguments)
        self._readings.append(reading)
        return reading

    def counters(self) -> Counters:
        """What came of what was handed in."""
        if self._hub is not None:
            self._hub.refresh()
        waiting, waiting_bytes = self.queue.waiting
        return self.counts.counters(waiting, waiting_bytes, self._committer.failing_since_ns)

    def close(self, deadline_s: float = 10.0) -> None:
        """Listen no more, and keep what was taken. May be called again.

        Args:
            deadline_s: for how long a store that fails is tried; what it has not taken then is dropped,
                counted, and its tickets say so.
        """
        if self._is_closed:
            return
        for reading in self._readings:
            reading.close()
        if self._hub is not None:
            self._hub.close(deadline_s / 2)
        self._is_closed = True
        self._committer.close(deadline_s)
        if self._hub is not None:
            self._hub.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(address: ListenAddress, room: Room, hub: Hub) -> Listening:
    """Listen at an address.

    Raises:
        OSError: nobody can.
        ConfigError: a certificate that cannot be used, or a format whose extra is not installed.
    """
    if address.format == "json":
        from vcache.logs.receive.jsonlines import loads

        loads()  # an extra that is missing is said here, not with the first line
    from vcache.logs.collect.listening import Listening

    server: DatagramListener | StreamListener
    if address.scheme in {"syslog+udp", "unixgram"}:
        from vcache.logs.collect.packets import DatagramListener

        server = DatagramListener(address, room, hub)
    else:
        from vcache.logs.collect.streams import StreamListener  # needs ssl, which takes 10 ms to load

        server = StreamListener(address, room, hub)
    return Listening(server.address, hub, server)
