"""How much is being sent to a server at once: beyond a bound, more is turned away. On the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vcache.server.refused import Refusal, Refused

__all__ = ["UnderWay"]


class UnderWay:
    """Counts bodies that are held in memory.

    Args:
        most_bytes: all of them together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    @contextmanager
    def room(self, size_bytes: int) -> Iterator[None]:
        """Room for one more, for as long as it is there. One alone always has some.

        Raises:
            Refused: there is none.
        """
        if self._held_bytes and self._held_bytes + size_bytes > self._most_bytes:
            raise Refused(Refusal.CROWDED, "too much is being sent at once")
        self._held_bytes += size_bytes
        try:
            yield
        finally:
            self._held_bytes -= size_bytes
