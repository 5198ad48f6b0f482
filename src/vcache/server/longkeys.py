"""The keys that are too long to be names: found by the digest that stands for them.

It must not know what is kept under them.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from vcache.entry import Key
from vcache.store.objects import name_of

if TYPE_CHECKING:
    from vcache.server.exchange import Desk

__all__ = ["LongKeys"]

_RESCAN_S: Final = 60.0


class LongKeys:
    """The keys whose names do not tell them, by prefix and name.

    What others keep in the directory is looked for when a name is not known, once a minute at most.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()  # guards the time of the next scan
        self._scan_s = 0.0
        self._keys: dict[tuple[bytes, str], Key] = {}

    def add(self, prefix: bytes, key: Key) -> None:
        """Know a key, if its name does not tell it."""
        name = name_of(key)
        if name.startswith("~"):
            self._keys[prefix, name] = key

    def find(self, prefix: bytes, name: str) -> Key | None:
        """The key of a name; may walk the store."""
        found = self._keys.get((prefix, name))
        if found is None:
            with self._lock:
                if time.monotonic() >= self._scan_s:
                    for key in self._desk.vault.store.scan(prefix):
                        self.add(prefix, key[len(prefix) :])
                    self._scan_s = time.monotonic() + _RESCAN_S
            found = self._keys.get((prefix, name))
        return found
