"""Keys that are known to be absent for a while, so that nobody asks for them again. It must not know a store."""

from __future__ import annotations

import time
from typing import Final

from vcache.entry import Key
from vcache.kit.clock import Monotonic

__all__ = ["Absences"]

_MOST: Final = 100_000


class Absences:
    """What is remembered in this process, of a bounded number of keys.

    Args:
        monotonic: what measures the seconds.

    Threads: all operations; each is one step of a dict.
    """

    __slots__ = ("_monotonic", "_until_s")

    def __init__(self, *, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until_s: dict[Key, float] = {}

    def __contains__(self, key: Key) -> bool:
        until_s = self._until_s.get(key)
        if until_s is None:
            return False
        if self._monotonic() < until_s:
            return True
        self.forget(key)
        return False

    def forget(self, key: Key) -> None:
        """It may be there."""
        self._until_s.pop(key, None)

    def add(self, key: Key, seconds: float) -> None:
        """Remember a key for so long; 0 for not at all."""
        if seconds > 0:
            if len(self._until_s) >= _MOST:
                self._until_s.clear()
            self._until_s[key] = self._monotonic() + seconds
