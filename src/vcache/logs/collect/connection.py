"""One stream of a peer: read as long as there is room, then left alone until there is."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from vcache.kit.data import NamedTuple
from vcache.kit.ratelimit import TokenBucket
from vcache.logs.collect.addresses import ListenAddress
from vcache.logs.collect.hub import READ, WRITE, Hub
from vcache.logs.collect.listening import Room
from vcache.logs.collect.parcels import Decode, Parcel, Ticket
from vcache.logs.collect.reading import with_fields
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Record
from vcache.query.syntax import Value

__all__ = ["Connection", "Peer"]

_PIECE_BYTES: Final = 256 << 10
_BUSY_BYTES: Final = 8 << 10
_DRAIN_PIECES: Final = 64
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER, of no seconds
_QUIET_S: Final = 0.2  # then a line that may have gone on is whole
_ACK_BYTES: Final = 1 << 16  # acknowledgements that nobody reads


class Peer(NamedTuple):
    """Who sends: by which name it counts, what its records get, and how much it may."""

    origin: str
    fields: Mapping[str, Value]
    bucket: TokenBucket | None


class Connection:
    """Everything happens in the hub's thread, but for what `_Reader` does in the one that commits."""

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        address: ListenAddress,
        room: Room,
        hub: Hub,
        on_close: Callable[[Connection], object],
    ) -> None:
        self._sock, self._peer, self._room, self._hub = sock, peer, room, hub
        self._has_acks, self._on_close = address.has_acks, on_close
        self._reader = _Reader(address)
        self._state: Literal["handshake", "open", "ended", "closed"] = (
            "handshake" if isinstance(sock, ssl.SSLSocket) else "open"
        )
        self._waiting: Parcel | None = None  # was turned away by the queue
        self._resume_at_s = 0.0  # its rate is used up until then
        self._since_s = self._heard_s = time.monotonic()
        self._is_flushed = True
        self._acked = 0
        self._is_lost = False  # something of it is not kept, so that its end may not look like a receipt
        self._answer = b""
        self._watch()

    @property
    def partial_bytes(self) -> int:
        """About what it sent of a line that has no end yet."""
        return self._reader.partial_bytes

    @property
    def is_handed_in(self) -> bool:
        """Whether all that it sent is in the queue, or further."""
        return self._state in {"ended", "closed"} and self._waiting is None

    def tick(self, now_s: float) -> None:
        """Close it when it is idle for too long, and let it go on when it may."""
        limits = self._room.limits
        if self._state == "handshake" and now_s - self._since_s > limits.handshake_s:
            self.close()
        if self._state != "open":
            return
        if self._resume_at_s and now_s >= self._resume_at_s:
            self._resume_at_s = 0.0
            self._watch()
        if self._waiting is not None or self._resume_at_s:
            return  # it is we who are late
        quiet_s = now_s - self._heard_s
        if self.partial_bytes and now_s - self._reader.since_s > limits.stall_s:
            self.finish("it never ended a line that it began")
        elif quiet_s > limits.idle_s:
            self.finish("")
        elif quiet_s > _QUIET_S and not self._is_flushed:
            self._is_flushed = True
            self._hand_in(
                Parcel(
                    self._peer.origin, (), size_bytes=0, decode=self._reader.flush, fields=self._peer.fields
                )
            )

    def resume(self) -> None:
        """There is room again."""
        if self._waiting is not None and self._room.queue.offer(self._waiting):
            self._waiting = None
            if self._state == "ended":
                self._hand_in_end()
            self._watch()

    def drain(self) -> None:
        """Take what is there, and the end of it."""
        for _ in range(_DRAIN_PIECES):  # one that goes on and on must not hold us up
            if self._state != "open" or self._waiting is not None or not self._read():
                break
        if self._state == "handshake":
            self.close()
        self.finish("")

    def finish(self, reason: str) -> None:
        """Read no more: what came is kept, then it is closed.

        Args:
            reason: why, to be counted; "" when all is well.
        """
        if self._state != "open":
            return
        self._state = "ended"
        if reason:
            self._room.counts.drop(self._peer.origin, reason)
        self._watch()
        if self._waiting is None:
            self._hand_in_end()

    def abort(self) -> None:
        """Close it with a reset, so that nobody takes the end for a word that all is kept."""
        if self._state != "closed":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def close(self) -> None:
        """Now, whatever is under way."""
        if self._state == "closed":
            return
        self._hub.watch(self._sock, 0, self._on_ready)
        self._state = "closed"
        self._sock.close()
        self._on_close(self)

    def _watch(self) -> None:
        if self._state == "closed":
            return
        is_reading = self._state == "open" and self._waiting is None and not self._resume_at_s
        events = READ if is_reading or self._state == "handshake" else 0
        self._hub.watch(self._sock, events | (WRITE if self._answer else 0), self._on_ready)

    def _on_ready(self, events: int) -> bool:
        if self._state == "handshake":
            self._shake()
            return False
        if self._answer:
            self._send()
        return bool(events & READ) and self._state == "open" and self._read() >= _BUSY_BYTES

    def _shake(self) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self._hub.watch(self._sock, READ, self._on_ready)
            return
        except ssl.SSLWantWriteError:
            self._hub.watch(self._sock, WRITE, self._on_ready)
            return
        except OSError:  # no TLS, or not a certificate that is known
            self._room.counts.add("refused")
            self.close()
            return
        self._state = "open"
        self._heard_s = time.monotonic()
        self._watch()
        self._read()  # what came with the handshake is in the library's buffer: no selector tells of it

    def _read(self) -> int:
        """Take a piece of what is there: its bytes."""
        try:
            data = self._sock.recv(_PIECE_BYTES)
            while isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
                data += self._sock.recv(self._sock.pending())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError:  # it was reset: what came before counts
            data = b""
        if not data:
            self.finish("")
            return 0
        self._heard_s = time.monotonic()
        self._is_flushed = False
        self._take(data)
        return len(data)

    def _take(self, data: bytes) -> None:
        lines = data.count(b"\n") or 1
        self._hand_in(
            Parcel(
                self._peer.origin, (data,), size_bytes=len(data) + 64 * lines, count=lines, decode=self._reader.read,
                fields=self._peer.fields, ticket=Ticket(self._on_kept),
            )
        )  # fmt: skip
        bucket = self._peer.bucket
        if bucket is not None:
            bucket.spend(lines)
            if (wait_s := bucket.wait_s()) > 0:
                self._resume_at_s = self._heard_s + wait_s
                self._watch()

    def _on_kept(self, ticket: Ticket) -> None:
        """In the thread that commits."""
        if ticket.error is not None:
            self._is_lost = True
        if self._has_acks:
            self._hub.call(lambda: self._acknowledge(ticket))

    def _hand_in(self, parcel: Parcel) -> None:
        if not self._room.queue.offer(parcel):
            self._waiting = parcel
            self._watch()

    def _hand_in_end(self) -> None:
        def on_done(ticket: Ticket) -> None:
            self._hub.call(lambda: self._end(ticket))

        self._hand_in(
            Parcel(
                self._peer.origin, (), size_bytes=0, decode=self._reader.end, fields=self._peer.fields,
                ticket=Ticket(on_done),
            )
        )  # fmt: skip

    def _acknowledge(self, ticket: Ticket) -> None:
        if ticket.error is not None or self._state == "closed":
            self.abort()
            return
        self._acked += ticket.count
        if ticket.count and len(self._answer) < _ACK_BYTES:
            self._answer += b"%d\n" % self._acked
            self._send()

    def _end(self, ticket: Ticket) -> None:
        if self._has_acks:
            self._acknowledge(ticket)
        if ticket.error is not None or self._is_lost:
            self.abort()
        self.close()

    def _send(self) -> None:
        try:
            self._answer = self._answer[self._sock.send(self._answer) :]
        except BlockingIOError:
            pass
        except OSError:
            self._answer = b""  # it does not listen; what it sends is still welcome
        self._watch()


class _Reader:
    """The parser of a connection. It is fed by the thread that commits only, in the order of parcels."""

    def __init__(self, address: ListenAddress) -> None:
        self._stream = by_name(address.format).stream(source=address.source)
        self.partial_bytes = 0
        self.since_s = 0.0
        self.read: Decode = self._read
        self.flush: Decode = self._flush
        self.end: Decode = self._end

    def _read(self, pieces: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        found: list[Record] = []
        for piece in pieces:
            found += self._stream.feed(piece, now_ns=now_ns)
        if found:
            self.partial_bytes = 0
        else:
            # Counted when it is read: what waits in the queue is no fault of the peer's.
            self.since_s = self.since_s if self.partial_bytes else time.monotonic()
            self.partial_bytes += sum(map(len, pieces))
        return with_fields(found, fields)

    def _flush(self, _: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        return with_fields(self._stream.flush(now_ns=now_ns), fields)

    def _end(self, _: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        self.partial_bytes = 0
        return with_fields(self._stream.end(now_ns=now_ns), fields)
