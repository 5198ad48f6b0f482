"""What all connections of a server share: the application, limits, the time, and who is there.

A sweep once a second has each connection look whether it is idle for too long, sends a head or a body too
slowly, or does not take its answer. It knows ASGI and no dialect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Protocol

from vcache.kit.data import dataclass
from vcache.server.door import Door

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.server.exchange import Receive, Scope, Send

__all__ = ["Gate", "Guest", "Limits", "Quick", "Reply"]

_log: Final = logging.getLogger("vcache.server")

Reply = tuple[int, bytes, bytes, "Buffer"]
"""Status, header lines (each ended by CRLF, Content-Length among them), body in two parts."""


class Quick(Protocol):
    """What can be answered without waiting for anything."""

    def __call__(self, scope: Scope) -> Reply | None:
        """The answer to a request without a body; None for one that takes longer."""


class Guest(Protocol):
    """A connection, as far as the gate looks after it."""

    def look(self) -> None:
        """Close what takes too long."""

    def end(self) -> None:
        """End now."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take.

    Attributes:
        connections: how many there may be; beyond, the one that is idle for longest is closed.
        idle_s: how long one may be without a request.
        head_s: how long the head of a request may take.
        rate_bytes, stall_s: a body that is slower, measured over so long, ends its connection; so
            does an answer of which nothing was taken for so long.
    """

    connections: int = 10_000
    idle_s: float = 120.0
    head_s: float = 10.0
    rate_bytes: int = 1_000
    stall_s: float = 20.0


class Gate:
    """All connections of a server.

    Args:
        app: the ASGI application.
        quick: see `Quick`.
        limits: may be replaced at any time.
        server: the value of the `Server` header.
        door: says whom not to let in.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        quick: Quick,
        limits: Limits,
        *,
        server: str,
        door: Door,
    ) -> None:
        self.door = door
        self.app, self.quick, self.limits = app, quick, limits
        self.idle: dict[Guest, None] = {}  # by since when, the longest first
        self.all: set[Guest] = set()
        self.refused = 0
        self._server = server.encode("latin-1")
        self.lines = b""
        self.now_s = 0.0
        self._tick()

    def admit(self, connection: Guest) -> bool:
        """Make room for a new connection; whether there is any."""
        if len(self.all) >= self.limits.connections:
            oldest = next(iter(self.idle), None)
            self.refused += 1
            if oldest is None:
                return False
            oldest.end()
        self.all.add(connection)
        self.idle[connection] = None
        return True

    async def sweep(self) -> None:
        """Look after all connections once a second, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._tick()
            for connection in list(self.all):
                try:
                    connection.look()
                except Exception:
                    _log.exception("a connection cannot be looked after")
                    connection.end()

    def _tick(self) -> None:
        self.now_s = time.monotonic()
        self.lines = b"server: %b\r\ndate: %b\r\n" % (self._server, formatdate(usegmt=True).encode())
