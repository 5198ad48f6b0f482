"""A connection that has left HTTP behind: bytes both ways, as a protocol of another kind needs them.

It must not know which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["Duplex", "Peer", "Wire"]

_AHEAD_BYTES: Final = 1 << 20


class Wire(Protocol):
    """The connection below."""

    def write_body(self, body: bytes) -> None: ...

    async def drain(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


class Peer(Protocol):
    """Who asks, as far as an answer without an end has to do with it."""

    @property
    def is_lost(self) -> bool:
        """Whether the client is seen to be gone."""

    @property
    def lost_calls(self) -> list[Callable[[], object]]:
        """Called when it is; whoever adds one takes it away again."""

    def switch(self, head: bytes) -> Duplex:
        """Take its offer of another protocol, with these lines of a head."""


class Duplex:
    """Bytes both ways.

    Args:
        wire: below it.
        held: what came before.
    """

    def __init__(self, wire: Wire, held: bytes) -> None:
        self._wire = wire
        self._chunks = [held] if held else []
        self._size_bytes = len(held)
        self._is_over = False
        self._waiter: asyncio.Future[None] | None = None

    def take(self, data: bytes) -> None:
        """Bytes came."""
        self._chunks.append(data)
        self._size_bytes += len(data)
        if self._size_bytes > _AHEAD_BYTES:
            self._wire.pause()
        self._wake()

    def lose(self) -> None:
        """The other side is gone."""
        self._is_over = True
        self._wake()

    async def read(self) -> bytes:
        """What came; empty when the other side is gone."""
        if not self._chunks and not self._is_over:
            self._wire.resume()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = b"".join(self._chunks)
        self._chunks, self._size_bytes = [], 0
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as they are taken."""
        if not self._is_over:
            self._wire.write_body(data)
            await self._wire.drain()

    def close(self) -> None:
        """Send what was written, and end."""
        self._wire.close()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
