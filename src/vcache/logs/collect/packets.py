"""Listeners of datagrams: UDP and unix sockets. What there is no room for is dropped, and counted."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from typing import Final

from vcache.logs.collect.addresses import ListenAddress
from vcache.logs.collect.datagrams import credentials_of, datagrams_of, host_of, kernel_drops
from vcache.logs.collect.hub import READ, Hub
from vcache.logs.collect.listening import Buckets, Room
from vcache.logs.collect.parcels import Parcel
from vcache.logs.collect.reading import datagram_decode
from vcache.logs.collect.sockets import bound, is_loopback, unlinked
from vcache.query.syntax import Value

__all__ = ["DatagramListener"]

_BUSY_LINES: Final = 16
_ROUNDS: Final = 8
_DRAIN_ROUNDS: Final = 256  # more than a kernel's buffer holds
_REFRESH_S: Final = 1.0
_PEERS: Final = 4_096
_FORCED_RECEIVE: Final = 33  # SO_RCVBUFFORCE, for who may


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

    @property
    def is_done(self) -> bool:
        return self.has_stopped

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
