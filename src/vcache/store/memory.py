"""Records in this process's memory: the least recently used go first.

It knows no medium and decodes nothing; of a head it reads the flags and the times only.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct, calcsize
from typing import Final, NoReturn

from vcache.entry import FOREVER, Entry, Flag, Key, Record
from vcache.errors import StoreClosed, UsageError
from vcache.store.base import StoreCounters, StoreInfo

__all__ = ["DEFAULT_BYTES", "RECORD_BYTES", "MemoryStore"]

DEFAULT_BYTES: Final = 64 << 20
# What a record costs beside its key, head and body: the Record, its place in the table and
# four object headers (sys.getsizeof on CPython 3.11, rounded up).
RECORD_BYTES: Final = 400
# A record above this share of the budget would push out too many others.
_LARGEST_SHARE: Final = 4
_SWEEP_EVERY_NS: Final = 1_000_000_000
# expires_ns and stale_until_ns within `entry.FIXED`.
_TIMES: Final = Struct("<QQ")
_TIMES_AT: Final = calcsize("<BBBBIIQ")


class MemoryStore:
    """A store within a budget of bytes, and of entries if asked for.

    A record larger than a quarter of the budget is not kept. Expired records go when room is
    needed, then the least recently used; pinned ones stay, as long as they take no more than half
    of the budget: beyond that they are records like others. `get` hands out the very Record that is kept, so that its `memo` serves the next caller.

    Threads: reads take no lock, each being one atomic step of the table. After a fork the
    child has a store of its own with the same records.
    """

    __slots__ = (
        "__weakref__", "_clock", "_evicted", "_expires_ns", "_lock", "_max_bytes", "_max_entries",
        "_pinned", "_pinned_bytes", "_records", "_size_bytes", "_swept_ns", "info",
    )  # fmt: skip

    def __init__(
        self,
        max_bytes: int = DEFAULT_BYTES,
        *,
        max_entries: int | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if max_bytes <= 0:
            raise UsageError(f"max_bytes={max_bytes!r} keeps nothing: give a positive number of bytes")
        if max_entries is not None and max_entries <= 0:
            raise UsageError(f"max_entries={max_entries!r} keeps nothing: give a positive number, or None")
        self.info = StoreInfo(
            name="memory",
            url=_url(max_bytes, max_entries),
            is_shared=False,
            is_trusted=True,
            is_persistent=False,
        )
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._clock = clock
        self._records: OrderedDict[Key, Record] = OrderedDict()
        # Guards the accounts below and who is evicted; never held while anything else is waited for.
        # Reentrant, since a collected object's finalizer may put from within a put.
        self._lock = threading.RLock()
        self._size_bytes = 0
        self._pinned = self._pinned_bytes = 0
        self._evicted = 0
        self._expires_ns = 0  # no kept record expires before; 0: none expires
        self._swept_ns = 0
        _stores.add(self)

    def get(self, key: Key) -> Record | None:
        """The record kept under a key, or None; it becomes the most recently used."""
        records = self._records
        record = records.get(key)
        if record is not None:
            try:
                records.move_to_end(key)
            except KeyError:  # dropped by another thread since the line above
                pass
        return record

    def put(self, key: Key, record: Record) -> None:
        """Keep a record, if it is no larger than a quarter of the budget."""
        size = _size(key, record)
        if size * _LARGEST_SHARE > self._max_bytes:
            self.delete(key)  # the older record is not what the key stands for any more
            return
        if type(record.body) is not bytes:
            # A view may be of memory that its owner changes or unmaps.
            record = _owned(record)
        with self._lock:
            records = self._records
            older = records.get(key)
            if older is not None:
                self._account(key, older, -1)
            records[key] = record
            records.move_to_end(key)
            self._account(key, record, 1)
            if self._is_over():
                self._make_room()

    def delete(self, key: Key) -> bool:
        """Forget a key; whether there was one."""
        with self._lock:
            record = self._records.pop(key, None)
            if record is None:
                return False
            self._account(key, record, -1)
            return True

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The records of those keys that are present."""
        get = self.get
        return {key: record for key in keys if (record := get(key)) is not None}

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep all records that are not too large."""
        for key, record in records.items():
            self.put(key, record)

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk a snapshot of the keys that start with a prefix."""
        return iter([key for key in self._keys() if key.startswith(prefix)])

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        """Walk the entries whose key starts with a prefix, as of a snapshot."""
        records = self._records
        found = (records.get(key) for key in self.scan(prefix))
        return (record.entry() for record in found if record is not None)

    def entry(self, key: Key) -> Entry | None:
        """The entry of a key. It does not count as a use."""
        record = self._records.get(key)
        return None if record is None else record.entry()

    def counters(self) -> StoreCounters:
        """What is kept, with the overhead of keeping it."""
        return StoreCounters(entries=len(self._records), size_bytes=self._size_bytes, evicted=self._evicted)

    def close(self) -> None:
        """Let go of all records. May be called again."""
        with self._lock:
            self._records = _Closed()
            self._size_bytes = self._pinned = self._pinned_bytes = 0

    def _recover(self) -> None:
        """In a forked child: set right what a thread that is not there any more was doing."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._size_bytes = self._pinned = self._pinned_bytes = 0
        for key, record in self._records.items():
            self._account(key, record, 1)

    def _keys(self) -> list[Key]:
        with self._lock:
            return list(self._records)

    def _account(self, key: Key, record: Record, sign: int) -> None:
        """Add a record to the accounts, or take it out. The lock is held."""
        size = sign * _size(key, record)
        self._size_bytes += size
        if _is_pinned(record):
            self._pinned += sign
            self._pinned_bytes += size
        if sign > 0:
            expires_ns = _expires_ns(record)
            if expires_ns and (not self._expires_ns or expires_ns < self._expires_ns):
                self._expires_ns = expires_ns

    def _is_over(self) -> bool:
        return self._size_bytes > self._max_bytes or (
            self._max_entries is not None and len(self._records) > self._max_entries
        )

    def _may_pin(self) -> bool:
        """Whether pins leave the other half free, without which every put would pass all pins by."""
        return self._pinned_bytes * 2 <= self._max_bytes and (
            self._max_entries is None or self._pinned * 2 <= self._max_entries
        )

    def _make_room(self) -> None:
        """Drop expired records, then the least recently used, until within budget. The lock is held."""
        now_ns = self._clock()
        # A sweep reads every head: not more often than once a second, however many expire.
        if 0 < self._expires_ns <= now_ns and now_ns - self._swept_ns >= _SWEEP_EVERY_NS:
            self._sweep(now_ns)
        while self._is_over():
            key = self._oldest()
            if _is_pinned(self._records[key]) and self._may_pin():
                self._records.move_to_end(key)
            else:
                self._evict(key)

    def _oldest(self) -> Key:
        """The least recently used key. The lock is held and there is one."""
        while True:
            try:
                return next(iter(self._records))
            except RuntimeError:  # a reader, who takes no lock, moved a record meanwhile
                continue

    def _sweep(self, now_ns: int) -> None:
        """Drop what nobody may be served any more. The lock is held."""
        self._swept_ns = now_ns
        self._expires_ns = 0
        for key in list(self._records):
            record = self._records[key]
            expires_ns = _expires_ns(record)
            if 0 < expires_ns <= now_ns and not _is_pinned(record):
                self._evict(key)
            elif expires_ns and (not self._expires_ns or expires_ns < self._expires_ns):
                self._expires_ns = expires_ns

    def _evict(self, key: Key) -> None:
        self._account(key, self._records.pop(key), -1)
        self._evicted += 1


class _Closed(OrderedDict[Key, Record]):
    """The table of a closed store: whoever looks is told, at no cost to an open one."""

    def _raise(self, *_: object) -> NoReturn:
        raise StoreClosed("the memory store is closed: open another one")

    get = pop = __iter__ = __len__ = __setitem__ = move_to_end = _raise  # type: ignore[assignment]


def _size(key: Key, record: Record) -> int:
    body = record.body
    size = len(body) if type(body) is bytes else memoryview(body).nbytes
    return RECORD_BYTES + len(key) + len(record.head) + size


def _owned(record: Record) -> Record:
    owned = Record(record.head, bytes(record.body), record.token)
    owned.memo = record.memo
    return owned


def _is_pinned(record: Record) -> bool:
    return bool(record.head[1] & Flag.PINNED)


def _expires_ns(record: Record) -> int:
    """From when on a record serves nobody, not even stale; 0 for never."""
    expires_ns, stale_until_ns = _TIMES.unpack_from(record.head, _TIMES_AT)
    return FOREVER if expires_ns == FOREVER else max(expires_ns, stale_until_ns)


def _url(max_bytes: int, max_entries: int | None) -> str:
    """The address that opens an equal store."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if max_bytes % _UNIT_BYTES[unit] == 0), "")
    size = f"{max_bytes // _UNIT_BYTES[unit]}{unit}" if unit else str(max_bytes)
    return f"mem:{size}" + (f"?max_entries={max_entries}" if max_entries is not None else "")


_UNIT_BYTES: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}

_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store._recover()


os.register_at_fork(after_in_child=_after_fork)
