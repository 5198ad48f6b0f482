"""A store made of a store: keeps sealed records, and gives back those that are believed.

What is refused is a miss, counted, and told to who asks. It must not know what is around it or below.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from vcache.entry import Key, Record
from vcache.errors import ConfigError, StoreError, StoreReadOnly
from vcache.kit.batches import batched
from vcache.store.base import Batches, Presence, Store, StoreCounters, StoreInfo, satisfies
from vcache.store.checking import damaged_of
from vcache.store.sealed.sealer import HIDDEN, Refused, Sealer

__all__ = ["SealedStore"]

_MOST_REFUSALS: Final = 1000
_MOST_REMEMBERED: Final = 10_000
_SCANNED: Final = 16  # records at once: their bodies come along


class SealedStore:
    """Records in envelopes. Reads nothing that is not believed, writes nothing that would not be.

    Args:
        inner: keeps the envelopes. It is closed with this one.
        sealer: seals and opens them.
    """

    def __init__(self, inner: Store, sealer: Sealer) -> None:
        self._inner = inner
        self._sealer = sealer
        self.damaged = damaged_of(inner)
        self._lock = threading.Lock()  # guards the three below
        self._refused = 0
        self._useless: set[Key] = set()  # there, but refused: to be replaced
        self._refusals: deque[tuple[Key, str]] = deque(maxlen=_MOST_REFUSALS)
        self.info: StoreInfo = inner.info._replace(
            is_trusted=False,
            is_verified=False,  # the signature is under the body as stored, packed or not
            is_read_only=inner.info.is_read_only or sealer.is_read_only,
        )

    def take_refusals(self) -> list[tuple[Key, str]]:
        """The keys of records that were refused since this was last called, and why; the latest 1,000."""
        with self._lock:
            taken = list(self._refusals)
            self._refusals.clear()
        return taken

    def get(self, key: Key) -> Record | None:
        for name in self._sealer.names(key):
            sealed = self._inner.get(name)
            record = None if sealed is None else self._opened(key, name, sealed)
            if record is not None:
                return record
        return None

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        names = {key: self._sealer.names(key) for key in keys}
        sealed = self._get_many([name for some in names.values() for name in some])
        found: dict[Key, Record] = {}
        for key, some in names.items():
            for name in some:
                envelope = sealed.get(name)
                record = None if envelope is None else self._opened(key, name, envelope)
                if record is not None:
                    found[key] = record
                    break
        return found

    def put(self, key: Key, record: Record) -> None:
        self._inner.put(*self._sealed(key, record))
        self._forget([key])

    def put_many(self, records: Mapping[Key, Record]) -> None:
        sealed = dict(self._sealed(key, record) for key, record in records.items())
        if satisfies(self._inner, Batches):
            self._inner.put_many(sealed)
        else:
            for name, envelope in sealed.items():
                self._inner.put(name, envelope)
        self._forget(records)

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that it does not have, or has and was seen to refuse.

        What is there is not opened for this, and may yet be refused.
        """
        if not satisfies(self._inner, Presence):
            found = self.get_many(keys)
            return {key for key in keys if key not in found}
        names = {key: self._sealer.names(key) for key in keys}
        absent = self._inner.missing([name for some in names.values() for name in some])
        with self._lock:
            useless = self._useless.intersection(names)
        return {key for key, some in names.items() if absent.issuperset(some)} | useless

    def delete(self, key: Key) -> bool:
        if self.info.is_read_only:
            raise StoreReadOnly(f"{self.info.url} is read only here: there is no key to sign with")
        # Under every name: what an older key hides must not come back.
        deleted = [self._inner.delete(name) for name in self._sealer.names(key)]
        return any(deleted)

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys that start with a prefix. Encrypted records are read for it, each whole."""
        return self._scan_hidden(prefix) if self._sealer.hides_keys else self._inner.scan(prefix)

    def counters(self) -> StoreCounters:
        counters = self._inner.counters()
        return counters._replace(corrupt=counters.corrupt + self._refused)

    def close(self) -> None:
        self._inner.close()

    def _scan_hidden(self, prefix: bytes) -> Iterator[Key]:
        seen: set[Key] = set()  # under an older and the newer key there may be one each
        for names in batched(self._inner.scan(HIDDEN), _SCANNED):
            for name, envelope in self._get_many(names).items():
                record = self._opened(None, name, envelope)
                key = None if record is None else record.entry().key
                if key is not None and key.startswith(prefix) and key not in seen:
                    seen.add(key)
                    yield key

    def _get_many(self, names: Sequence[Key]) -> Mapping[Key, Record]:
        if satisfies(self._inner, Batches):
            return self._inner.get_many(names)
        found = ((name, self._inner.get(name)) for name in names)
        return {name: record for name, record in found if record is not None}

    def _forget(self, keys: Iterable[Key]) -> None:
        if self._useless:
            with self._lock:
                self._useless.difference_update(keys)

    def _refuse(self, key: Key, why: str) -> None:
        with self._lock:
            self._refused += 1
            self._refusals.append((key, why))
            if len(self._useless) < _MOST_REMEMBERED:
                self._useless.add(key)

    def _sealed(self, key: Key, record: Record) -> tuple[Key, Record]:
        try:
            return self._sealer.seal(key, record)
        except ConfigError as error:  # the policy was changed to none meanwhile
            raise StoreError(str(error)) from error

    def _opened(self, key: Key | None, name: Key, sealed: Record) -> Record | None:
        try:
            return self._sealer.open(key, name, sealed)
        except Refused as refused:
            self._refuse(name if key is None else key, str(refused))
            return None
        except ConfigError as error:
            raise StoreError(str(error)) from error
