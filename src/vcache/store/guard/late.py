"""A store that is made when it is asked for the first time: some libraries take longer to load than a command to run.

It must not know which store that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from vcache.entry import Key, Record
from vcache.errors import StoreClosed
from vcache.store.base import Batches, Presence, Store, StoreCounters, StoreInfo
from vcache.store.checking import Damaged

__all__ = ["LateStore", "loading_of"]


class _Remote(Store, Batches, Presence, Protocol):
    """What network stores can do that are slow to load."""

    damaged: Damaged


class LateStore:
    """Stands for a network store that was not needed yet.

    Args:
        info: what that one says of itself.
        make: makes it. It connects to nothing, so that it does not matter if two threads do it at once.

    Threads: all operations.
    """

    def __init__(self, info: StoreInfo, make: Callable[[], _Remote]) -> None:
        self.info = info
        self._make = make
        self._is_closed = False
        self.damaged = Damaged()

    def load(self) -> _Remote:
        """The store itself.

        Raises:
            StoreClosed: this one was closed.
        """
        self._require_open()
        made: _Remote | None = self.__dict__.get("made")
        if made is None:
            own = self._make()
            own.damaged = self.damaged  # whoever counts with this one has seen no other
            made = self.__dict__.setdefault("made", own)  # of two threads, the first one's counts
            self._require_open()  # closed meanwhile: what was made has connected to nothing
        return made

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"the store {self.info.url} was closed")

    def get(self, key: Key) -> Record | None:
        return self.load().get(key)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        return self.load().get_many(keys)

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        return self.load().missing(keys)

    def put(self, key: Key, record: Record) -> None:
        self.load().put(key, record)

    def put_many(self, records: Mapping[Key, Record]) -> None:
        self.load().put_many(records)

    def delete(self, key: Key) -> bool:
        return self.load().delete(key)

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        return self.load().scan(prefix)

    def counters(self) -> StoreCounters:
        return self.load().counters()

    def close(self) -> None:
        """Close the store, if there is one. May be called again."""
        self._is_closed = True
        made: _Remote | None = self.__dict__.get("made")
        if made is not None:
            made.close()


def loading_of(store: object) -> Callable[[], object] | None:
    """What loads a store, or one that it is made of, where that takes a while."""
    while store is not None:
        load: Callable[[], object] | None = getattr(store, "load", None)
        if load is not None:
            return load
        store = getattr(store, "_inner", None)
    return None
