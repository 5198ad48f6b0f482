"""A remote for the guard's tests: a store of this process that hangs, fails and lies as told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vcache.entry import Key, Record
from vcache.errors import StoreUnavailable
from vcache.kit.deadlines import left_s
from vcache.store.base import Store
from vcache.store.guard import GuardedStore, Limits
from vcache.store.memory import MemoryStore
from vcache.testing import FakeClock

__all__ = ["Remote", "guard_of"]


class Remote(MemoryStore):
    """Answers at once, until told otherwise.

    Attributes:
        calls: how often each operation was begun.
        error: raised by every operation while it is set.
        times: after how many failures `error` is gone; None for never.
        is_hanging: operations wait until it is ended, or their deadline, if the store keeps time.
        tamper: makes of what was found what is handed out.
        round_trip_s: what each operation takes.
    """

    def __init__(self, *, keeps_time: bool = True) -> None:
        super().__init__()
        self.info = self.info._replace(name="far", url="far://host/base", keeps_time=keeps_time)
        self.calls: Counter[str] = Counter()
        self.error: Exception | None = None
        self.times: int | None = None
        self.tamper: Callable[[Key, Record], Record] | None = None
        self.round_trip_s = 0.0
        self._answers = threading.Event()
        self._answers.set()
        self.order: list[tuple[str, Key]] = []

    def hang(self) -> None:
        self._answers.clear()

    def heal(self) -> None:
        self.error = self.times = self.tamper = None
        self._answers.set()

    def get(self, key: Key) -> Record | None:
        self._enter("get")
        record = super().get(key)
        return record if record is None or self.tamper is None else self.tamper(key, record)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        self._enter("get_many")
        found = {key: record for key in keys if (record := MemoryStore.get(self, key)) is not None}
        return found if self.tamper is None else {key: self.tamper(key, found[key]) for key in found}

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        self._enter("missing")
        return {key for key in keys if MemoryStore.get(self, key) is None}

    def put(self, key: Key, record: Record) -> None:
        self._enter("put")
        self.order.append(("put", key))
        super().put(key, record)

    def put_many(self, records: Mapping[Key, Record]) -> None:
        self._enter("put_many")
        for key, record in records.items():
            self.order.append(("put", key))
            MemoryStore.put(self, key, record)

    def delete(self, key: Key) -> bool:
        self._enter("delete")
        self.order.append(("delete", key))
        return super().delete(key)

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        self._enter("scan")
        return super().scan(prefix)

    def _enter(self, operation: str) -> None:
        self.calls[operation] += 1
        if self.round_trip_s:
            time.sleep(self.round_trip_s)  # this is what it is for
        if not self._answers.wait(left_s(60) if self.info.keeps_time else 60):
            raise StoreUnavailable("no answer in time")
        if self.error is not None:
            error = self.error
            if self.times is not None:
                self.times -= 1
                if not self.times:
                    self.error = self.times = None
            raise error


@contextmanager
def guard_of(
    remote: Store, directory: Path, clock: FakeClock | None = None, **limits: object
) -> Iterator[GuardedStore]:
    """A guard of a remote, closed at the end without waiting for it."""
    limits.setdefault("deadline_s", 0.3)
    limits.setdefault("flush_s", 0.0)
    store = GuardedStore(remote, Limits(**limits), directory / "remote", clock=clock or time.time_ns)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        if isinstance(remote, Remote):
            remote.heal()
        store.close()
