"""What the log stores of a server keep in the store that it serves: answers, and copies of segments.

Each namespace has its own, under keys that no client can name: those of clients with tokens all begin with
`@NAMESPACE`, and an open server refuses what would be kept under these. Answers stay on this machine, where
a look-up takes no time; segments go to the tiers on other machines only. It must not know queries.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.entry import Entry, Key, Record
from vcache.errors import DecodeError, EncodeError, StoreError
from vcache.hash import digest
from vcache.logs.shipping import SEGMENTS
from vcache.serialize.plain import pack_plain, unpack_plain
from vcache.server.refused import Refused
from vcache.store.base import Files, Presence, Store, satisfies
from vcache.store.tiers import entries_of

if TYPE_CHECKING:
    from vcache.logs.shipping import Shipping

__all__ = ["RESERVED", "Shelf"]

RESERVED: Final = b".served-logs@"
"""With which its keys begin."""
_SEGMENT: Final = SEGMENTS.encode() + b"\0"
_ANSWER_BYTES: Final = 256 << 10  # who may only read must not fill a cache with what he asks for


class Shelf:
    """What `DiskLogs` asks of a cache, for one namespace. Threads: any.

    Args:
        near: the tier of this machine, where answers are.
        store: all tiers, where segments go.
        admit: raises `Refused` where the namespace may hold no more.
    """

    def __init__(
        self, namespace: str, *, near: Store, store: Store, admit: Callable[[str, int], object]
    ) -> None:
        self.store = store
        self._namespace, self._near, self._admit = namespace, near, admit
        self._far = [tier for tier in getattr(store, "tiers", (store,)) if not tier.info.is_trusted]
        self._prefix = RESERVED + namespace.encode() + b"/"
        self._lock = threading.Lock()  # guards what is known to be shipped
        self._shipped: set[str] = set()

    def size_bytes(self) -> int:
        """What it takes on this machine."""
        return sum(entry.size_bytes for entry in entries_of(self._near, self._prefix))

    def get_key(self, key: Key) -> object:
        """The answer or, from afar, the segment of a key; None where there is none."""
        is_segment = key.startswith(_SEGMENT)
        for tier in self._far if is_segment else (self._near,):
            with contextlib.suppress(StoreError, OSError, DecodeError):
                record = tier.get(self._prefix + key)
                if record is not None:
                    return bytes(record.body) if is_segment else unpack_plain(record.body)
        return None

    def put_key(self, key: Key, value: object) -> bool:
        """Keep an answer, if it is short and there is room."""
        try:
            body = pack_plain(value)
            if len(body) > _ANSWER_BYTES:
                return False
            self._admit(self._namespace, len(body))
            self._near.put(self._prefix + key, Record(self._entry(key, body).encode(), body))
        except (EncodeError, Refused, StoreError, OSError):
            return False
        return True

    def put_file_key(self, key: Key, source: Path) -> bool:
        """Keep a segment in the tiers on other machines; whether all of them have it."""
        full = self._prefix + key
        for tier in self._far:
            try:
                if satisfies(tier, Presence) and not tier.missing((full,)):
                    continue
                if satisfies(tier, Files):
                    tier.put_file(Entry(full, bytes(32), 0, created_ns=time.time_ns()), source)
                else:
                    body = source.read_bytes()
                    tier.put(full, Record(self._entry(key, body).encode(), body))
            except (StoreError, OSError):
                return False
        return True

    def ship(self, shipping: Shipping, segments: Iterable[tuple[bytes, Path]]) -> None:
        """Have the tiers on other machines keep what they do not have yet: another process seals."""
        if not self._far:
            return
        for name, path in segments:
            with self._lock:
                is_known = path.name in self._shipped
            if not is_known and shipping.keep(name, path):
                with self._lock:
                    self._shipped.add(path.name)

    def _entry(self, key: Key, body: bytes) -> Entry:
        return Entry(self._prefix + key, digest(body), len(body), created_ns=time.time_ns())
