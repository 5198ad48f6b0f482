"""Listeners: sockets at an address, and what they do with what comes. One hub's thread runs them all."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError
from vcache.kit.data import NamedTuple
from vcache.kit.ratelimit import TokenBucket
from vcache.logs.collect.addresses import ListenAddress
from vcache.logs.collect.counts import Counts
from vcache.logs.collect.datagrams import credentials_of, datagrams_of, host_of, kernel_drops
from vcache.logs.collect.hub import READ, Hub
from vcache.logs.collect.limits import Limits
from vcache.logs.collect.parcels import Parcel
from vcache.logs.collect.queue import ParcelQueue
from vcache.logs.collect.reading import datagram_decode
from vcache.query.syntax import Value

if TYPE_CHECKING:
    from vcache.logs.collect.collector import Collector

__all__ = ["Buckets", "DatagramListener", "Listening", "Room", "bound", "is_loopback", "opened", "unlinked"]

_BUSY_LINES: Final = 16
_ROUNDS: Final = 8
_PEERS: Final = 4_096
_DRAIN_ROUNDS: Final = 256  # more than a kernel's buffer holds
_REFRESH_S: Final = 1.0
_FORCED_RECEIVE: Final = 33  # SO_RCVBUFFORCE, for who may


class Room(NamedTuple):
    """What listeners share: where lines go, and how they count."""

    queue: ParcelQueue
    counts: Counts
    limits: Limits


class Listening:
    """Something that listens.

    Attributes:
        address: where; of a port 0 the one that was found.
    """

    def __init__(self, address: ListenAddress, hub: Hub, server: object) -> None:
        self.address, self._hub, self._server = address, hub, server

    @property
    def port(self) -> int:
        """Of a network's address."""
        return self.address.port

    def close(self) -> None:
        """Listen no more; what came is handed in. The collector does so as well when it closes."""
        self._hub.dismiss(self._server)  # type: ignore[arg-type]


def opened(address: ListenAddress, collector: Collector, hub: Hub) -> Listening:
    """Listen at an address.

    Raises:
        OSError: nobody can.
        ConfigError: a certificate that cannot be used, or a format whose extra is not installed.
    """
    if address.format == "json":
        from vcache.logs.receive.jsonlines import loads

        loads()  # an extra that is missing is said here, not with the first line
    room = Room(collector.queue, collector.counts, collector.limits)
    server: object
    if address.scheme in {"syslog+udp", "unixgram"}:
        server = DatagramListener(address, room, hub)
    else:
        from vcache.logs.collect.streams import StreamListener  # needs ssl, which takes 10 ms to load

        server = StreamListener(address, room, hub)
    return Listening(server.address, hub, server)


def bound(address: ListenAddress, kind: socket.SocketKind) -> tuple[socket.socket, ListenAddress]:
    """A socket at an address that does not block, and where it is."""
    if address.path:
        return _bound_path(address, kind), address
    family, _, _, _, where = socket.getaddrinfo(
        address.host, address.port, type=kind, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    from vcache.kit.data import replace

    return sock, replace(address, port=sock.getsockname()[1])


def _bound_path(address: ListenAddress, kind: socket.SocketKind) -> socket.socket:
    _remove_left_over(address.path, kind)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.setblocking(False)
        try:
            # On Linux the file is made with the mode that the socket has: narrow from the first moment on,
            # without the umask, which is the whole process's.
            os.fchmod(sock.fileno(), 0o600)
        except OSError:
            pass
        sock.bind(address.path)
        os.chmod(address.path, address.mode)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_left_over(path: str, kind: socket.SocketKind) -> None:
    """A socket whose owner was killed is in the way of the next; one that is in use is not touched."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError(f"unix socket {path}: there is a file of that name that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # somebody is there; bind says so


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine."""
    return host in {"::1", ""} or host.startswith(("127.", "::ffff:127."))


class Buckets:
    """A token bucket for each peer, as far as there is a rate at all."""

    def __init__(self, limits: Limits) -> None:
        self._rate, self._burst = limits.rate_per_s, limits.burst or limits.rate_per_s
        self._by_peer: OrderedDict[object, TokenBucket] = OrderedDict()

    def of(self, peer: object) -> TokenBucket | None:
        """Its bucket; None where nobody counts."""
        if not self._rate:
            return None
        bucket = self._by_peer.get(peer)
        if bucket is None:
            bucket = self._by_peer[peer] = TokenBucket(self._rate, self._burst)
            if len(self._by_peer) > _PEERS:
                self._by_peer.popitem(last=False)
        else:
            self._by_peer.move_to_end(peer)
        return bucket


class DatagramListener:
    """UDP, or datagrams of a unix socket: what there is no room for is dropped, and counted."""

    def __init__(self, address: ListenAddress, room: Room, hub: Hub) -> None:
        self._sock, self.address = bound(address, socket.SOCK_DGRAM)
        self._room, self._hub = room, hub
        self._is_unix = bool(address.path)
        self._enlarge()
        self._datagrams = datagrams_of(self._sock)
        self._decode = datagram_decode(address.format, address.source)
        self._buckets = Buckets(room.limits)
        self._origin = f"{address.scheme}:{address.path or self.address.port}"
        self._fields: dict[bytes, tuple[str, Mapping[str, Value]]] = {}
        self._lock = threading.Lock()  # guards the number below
        self._kernel_drops = 0
        self._refreshed_s = 0.0
        self.has_stopped = False
        hub.call(lambda: hub.watch(self._sock, READ, self._on_ready))
        hub.serve(self)

    def tick(self, now_s: float) -> None:
        if now_s - self._refreshed_s >= _REFRESH_S:
            self._refreshed_s = now_s
            self.refresh()

    def refresh(self) -> None:
        if self._is_unix or self._sock.fileno() < 0:
            return
        with self._lock:
            count = kernel_drops(os.fstat(self._sock.fileno()).st_ino)
            more, self._kernel_drops = count - self._kernel_drops, max(count, self._kernel_drops)
        if more > 0:
            self._room.counts.drop(self._origin, "the buffer of the kernel was full", more)

    def stop(self) -> None:
        if self.has_stopped:
            return
        for _ in range(_DRAIN_ROUNDS):  # a sender that goes on and on must not hold us up
            if not self._receive():
                break
        self.refresh()
        self._hub.watch(self._sock, 0, self._on_ready)
        self.has_stopped = True

    def release(self) -> None:
        self._sock.close()
        if self.address.path:
            unlinked(self.address.path)

    def _enlarge(self) -> None:
        wanted = self._room.limits.receive_bytes
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, _FORCED_RECEIVE, wanted)
        except OSError:  # not root: up to net.core.rmem_max then
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        if self._is_unix and hasattr(socket, "SO_PASSCRED"):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def _on_ready(self, _: int) -> bool:
        lines = 0
        for _round in range(_ROUNDS):
            count = self._receive()
            lines += count
            if count < _BUSY_LINES:
                break
        return lines >= _BUSY_LINES

    def _receive(self) -> int:
        """Take what is there, up to a bound: how many."""
        count = 0
        for peer, lines in self._datagrams.receive().items():
            count += len(lines)
            self._take(peer, lines)
        if self._datagrams.cut:
            self._room.counts.drop(
                self._origin, "the end of a datagram that is too long", self._datagrams.cut
            )
            self._datagrams.cut = 0
        return count

    def _take(self, peer: bytes, lines: list[bytes]) -> None:
        origin, fields = self._fields.get(peer) or self._known(peer)
        counts = self._room.counts
        bucket = self._buckets.of(peer)
        if bucket is not None:
            allowed = [line for line in lines if bucket.try_take()]
            if len(allowed) < len(lines):
                counts.drop(origin, "more than its rate", len(lines) - len(allowed))
            lines = allowed
        if not lines:
            return
        size_bytes = sum(map(len, lines)) + 64 * len(lines)
        parcel = Parcel(origin, lines, size_bytes=size_bytes, decode=self._decode, fields=fields)
        if not self._room.queue.offer(parcel):
            counts.drop(origin, "the queue was full", len(lines))

    def _known(self, peer: bytes) -> tuple[str, Mapping[str, Value]]:
        if len(self._fields) >= _PEERS:
            self._fields.clear()
        fields: Mapping[str, Value] = {}
        origin = self._origin
        if self._is_unix:
            if (found := credentials_of(peer)) is not None:
                fields = {"peer.pid": found[0], "peer.uid": found[1]}
        elif not is_loopback(host := host_of(peer)):
            fields = {"peer.host": host}
            origin = f"{origin} {host}"
        self._fields[peer] = origin, fields
        return origin, fields


def unlinked(path: str) -> None:
    """Remove a socket's file."""
    try:
        os.unlink(path)
    except OSError:
        pass  # somebody removed it, or the directory
