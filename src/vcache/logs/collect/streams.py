"""Listeners of streams: TCP, TLS and unix sockets. They stop reading when there is no room.

A peer that ends its stream and waits for ours to end knows by that: what it sent is kept.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from vcache.errors import ConfigError
from vcache.logs.collect.addresses import ListenAddress
from vcache.logs.collect.connection import Connection, Peer
from vcache.logs.collect.datagrams import credentials_of
from vcache.logs.collect.hub import READ, Hub
from vcache.logs.collect.listening import Buckets, Room
from vcache.logs.collect.sockets import bound, is_loopback, unlinked

__all__ = ["StreamListener"]

_AT_ONCE: Final = 64
_BACKLOG: Final = 256
_PEERCRED_BYTES: Final = 12


class StreamListener:
    """Takes connections, up to a number, and looks after them."""

    def __init__(self, address: ListenAddress, room: Room, hub: Hub) -> None:
        self._tls = _context(address) if address.scheme == "syslog+tls" else None
        self._sock, self.address = bound(address, socket.SOCK_STREAM)
        self._sock.listen(_BACKLOG)
        self._room, self._hub = room, hub
        self._connections: set[Connection] = set()
        self._by_host: Counter[str] = Counter()
        self._buckets = Buckets(room.limits)
        self._origin = f"{address.scheme}:{address.path or self.address.port}"
        self._is_stopped = False
        room.queue.call_on_room(lambda: hub.call(self._on_room))
        hub.call(lambda: hub.watch(self._sock, READ, self._on_ready))
        hub.serve(self)

    @property
    def has_stopped(self) -> bool:
        return self._is_stopped and all(each.is_handed_in for each in list(self._connections))

    @property
    def is_done(self) -> bool:
        return self._is_stopped and not self._connections

    def refresh(self) -> None:
        pass

    def tick(self, now_s: float) -> None:
        for connection in list(self._connections):
            connection.tick(now_s)
        partial = sum([each.partial_bytes for each in self._connections])
        if partial > self._room.limits.partial_bytes:
            worst = max(self._connections, key=lambda each: each.partial_bytes)
            worst.finish("lines without an end took too much memory")

    def stop(self) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        while self._accept():
            pass
        self._hub.watch(self._sock, 0, self._on_ready)
        self._sock.close()
        if self.address.path:
            unlinked(self.address.path)
        for connection in list(self._connections):
            connection.drain()

    def release(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        self._sock.close()

    def _on_room(self) -> None:
        for connection in list(self._connections):
            connection.resume()

    def _on_ready(self, _: int) -> bool:
        for _each in range(_AT_ONCE):
            if not self._accept():
                break
        return False

    def _accept(self) -> bool:
        try:
            sock, where = self._sock.accept()
        except (BlockingIOError, ConnectionError):
            return False
        except OSError:  # no descriptors are left: those who wait are taken when some are
            time.sleep(0.01)
            return False
        host = where[0] if isinstance(where, tuple) else ""
        limits = self._room.limits
        if len(self._connections) >= limits.connections or self._by_host[host] >= limits.peer_connections:
            self._room.counts.add("refused")
            sock.close()
            return True
        sock.setblocking(False)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        peer = self._peer(sock, host)
        self._by_host[host] += 1
        self._connections.add(Connection(sock, peer, self.address, self._room, self._hub, self._gone(host)))
        return True

    def _gone(self, host: str) -> Callable[[Connection], object]:
        def gone(connection: Connection) -> None:
            self._connections.discard(connection)
            self._by_host[host] -= 1
            if self._by_host[host] <= 0:
                del self._by_host[host]

        return gone

    def _peer(self, sock: socket.socket, host: str) -> Peer:
        if self.address.path:
            return Peer(self._origin, _credentials(sock), self._buckets.of(object()))
        if is_loopback(host):
            return Peer(self._origin, {}, self._buckets.of(host))
        return Peer(f"{self._origin} {host}", {"peer.host": host}, self._buckets.of(host))


def _credentials(sock: socket.socket) -> dict[str, int]:
    option = getattr(socket, "SO_PEERCRED", None)
    found = option and credentials_of(sock.getsockopt(socket.SOL_SOCKET, option, _PEERCRED_BYTES))
    return {"peer.pid": found[0], "peer.uid": found[1]} if found else {}


def _context(address: ListenAddress) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(str(address.cert), str(address.key))
        if address.ca is not None:
            context.load_verify_locations(str(address.ca))
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{address.spec}: its certificate or key cannot be used: {error}") from error
    return context
