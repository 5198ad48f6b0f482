"""Values of foreign tools in a store: by namespace, realm and name, the content as it came.

It knows stores and entries, and nothing of HTTP, tokens or dialects. Every method may be called
from any thread; `get`, `has` and `missing` do not block on a disk tier.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vcache.entry import Encoding, Entry, Flag, Key, Record, digest_in, make_key, split_key
from vcache.errors import StoreError, StoreFull
from vcache.hash import DIGEST_BYTES, digest
from vcache.kit.data import dataclass
from vcache.server.refused import Refusal, Refused
from vcache.store.base import Batches, Files, Presence, Store, satisfies

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Found", "Kept", "Vault", "own_prefix", "realm_key", "realm_prefix"]

_ENCODING: Final = 3  # the byte of a head that says how the body is packed


class Found:
    """A value that is there.

    Attributes:
        record: its verified record, unpacked.
    """

    __slots__ = ("record",)

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def body(self) -> memoryview:
        """The content; of a large value a read-only mapping of its file."""
        return memoryview(self.record.body)

    @property
    def size_bytes(self) -> int:
        """How long the content is."""
        return memoryview(self.record.body).nbytes

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the content."""
        return digest_in(self.record.head)

    @property
    def meta(self) -> Mapping[str, str]:
        """What was kept with it."""
        return self.record.entry().meta if self.record.head[1] & Flag.META else {}


@dataclass(frozen=True, slots=True)
class Kept:
    """What a put did.

    Attributes:
        is_new: the name was not there before.
        digest: BLAKE3 of the content.
        grown_bytes: by how much more than before the name holds; what replaces more is negative.
    """

    is_new: bool
    digest: bytes
    size_bytes: int
    grown_bytes: int

    @classmethod
    def over(cls, old_bytes: int | None, digest: bytes, size_bytes: int) -> Kept:
        """What a put did where so much was there; None for nothing."""
        return cls(old_bytes is None, digest, size_bytes, size_bytes - (old_bytes or 0))


def realm_key(namespace: str, realm: str, name: str | bytes) -> Key:
    """The key of a dialect's value."""
    return make_key(name, namespace=f"@{namespace}:{realm}")


def realm_prefix(namespace: str, realm: str = "") -> bytes:
    """With what the keys of a realm, or of all realms of a namespace, begin."""
    return f"@{namespace}:{realm}\0".encode() if realm else f"@{namespace}:".encode()


def own_prefix(namespace: str) -> bytes:
    """What is put before the keys of vcache's own clients; nothing on an open server."""
    return f"@{namespace}/".encode() if namespace else b""


class Vault:
    """The values of all dialects in one store.

    Args:
        store: a disk store, or tiers with one.
        clock: UTC epoch nanoseconds.
        after_put: called after each put, on its thread.

    Attributes:
        store: as given; its own clients' records and the API's values are in it as well.
        is_local: nothing that is asked of it goes over a network.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], int] = time.time_ns,
        after_put: Callable[[], object] = lambda: None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.after_put = after_put
        self._files: Files | None = store if satisfies(store, Files) else None
        tiers = getattr(store, "tiers", (store,))
        near: Any = next((tier for tier in tiers if hasattr(tier, "get_near")), None)
        if near is not None:
            near.always_maps = True  # what is sent to many at once is in memory once
        self._near: Callable[[Key], Record | bool] | None = None if near is None else near.get_near
        self.is_local = all(tier.info.is_trusted for tier in tiers)

    # -- reading ---------------------------------------------------------------------------

    def get(self, namespace: str, realm: str, name: str | bytes) -> Found | None:
        """A value, or None; a fault of the store is None too."""
        return self.get_key(realm_key(namespace, realm, name))

    def get_key(self, key: Key) -> Found | None:
        """As `get`, by the key in the store."""
        return self.found(self.record(key))

    def found(self, record: Record | None) -> Found | None:
        """A record as the value that it is; None for what no dialect has put there."""
        if record is None or record.head[_ENCODING] != Encoding.IDENTITY:
            return None
        return Found(record)

    def has(self, namespace: str, realm: str, name: str | bytes) -> bool:
        """Whether a value is there; it counts as used."""
        return not self.lacks((realm_key(namespace, realm, name),))

    def missing(self, namespace: str, realm: str, names: Sequence[str]) -> list[str]:
        """Those of the names that are not there; the others count as used."""
        keys = {realm_key(namespace, realm, name): name for name in names}
        return [keys[key] for key in self.lacks(tuple(keys))]

    # -- records, as they are --------------------------------------------------------------

    def near(self, key: Key) -> Record | bool:
        """A record if it is at hand; False where there is none; True where looking takes its time."""
        if self._near is None:
            return True
        found = self._near(key)
        return not self.is_local if found is False else found

    def record(self, key: Key) -> Record | None:
        """A record, or None; a fault of the store is None too."""
        try:
            return self.store.get(key)
        except (StoreError, OSError):
            return None

    def records(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """Those records that are there."""
        try:
            if satisfies(self.store, Batches):
                return self.store.get_many(keys)
        except (StoreError, OSError):
            return {}
        return {key: record for key in keys if (record := self.record(key)) is not None}

    def lacks(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that are not there; the others count as used."""
        try:
            if satisfies(self.store, Presence):
                return self.store.missing(keys)
        except (StoreError, OSError):
            return set(keys)
        return {key for key in keys if self.record(key) is None}

    def put_record(self, key: Key, record: Record) -> None:
        """Keep a record.

        Raises:
            Refused: there is no room, or the store fails. What was there is intact.
        """
        try:
            self.store.put(key, record)
        except StoreFull as error:
            raise Refused(Refusal.FULL, str(error)) from error
        except (StoreError, OSError) as error:
            raise Refused(Refusal.BROKEN, f"the store failed: {error}") from error
        self.after_put()

    def delete_key(self, key: Key) -> bool:
        """Forget a record; whether there was one.

        Raises:
            Refused: the store fails.
        """
        try:
            return self.store.delete(key)
        except (StoreError, OSError) as error:
            raise Refused(Refusal.BROKEN, f"the store failed: {error}") from error

    def names(self, namespace: str, realm: str, prefix: str = "") -> Iterator[str]:
        """The names in a realm that begin with a prefix, in no order; those that are bytes left out."""
        start = realm_key(namespace, realm, prefix)
        return (str(split_key(key)[1]) for key in self.store.scan(start))

    def entries(self, namespace: str, realm: str = "") -> Iterator[Entry]:
        """The entries of a realm, or of a whole namespace, in no order."""
        from vcache.store.tiers import entries_of

        return entries_of(self.store, realm_prefix(namespace, realm))

    # -- writing ---------------------------------------------------------------------------

    def put(
        self,
        namespace: str,
        realm: str,
        name: str | bytes,
        content: Buffer | Path,
        *,
        meta: Mapping[str, str] | None = None,
        cost_ns: int = 0,
        tags: frozenset[str] = frozenset(),
    ) -> Kept:
        """Keep a value; one that is there with the same content and words is not written again.

        Args:
            content: the bytes, or a file beside the store, which is consumed.

        Raises:
            Refused: there is no room, or the store fails. What was there is intact.
        """
        key = realm_key(namespace, realm, name)
        old = self.get_key(key)
        try:
            if isinstance(content, Path):
                return self._put_file(key, content, old, meta=meta or {}, cost_ns=cost_ns, tags=tags)
            entry = Entry(
                key,
                digest(content),
                memoryview(content).nbytes,
                created_ns=self.clock(),
                cost_ns=cost_ns,
                tags=tags,
                meta=dict(meta or {}),
            )
            if not _is_same(old, entry):
                self.store.put(key, Record(entry.encode(), content))
                self.after_put()
            return Kept.over(_size_of(old), entry.digest, entry.size_bytes)
        except StoreFull as error:
            raise Refused(Refusal.FULL, str(error)) from error
        except (StoreError, OSError) as error:
            raise Refused(Refusal.BROKEN, f"the store failed: {error}") from error

    def delete(self, namespace: str, realm: str, name: str | bytes) -> bool:
        """Forget a value; whether there was one.

        Raises:
            Refused: the store fails.
        """
        return self.delete_key(realm_key(namespace, realm, name))

    def _put_file(
        self,
        key: Key,
        source: Path,
        old: Found | None,
        *,
        meta: Mapping[str, str],
        cost_ns: int,
        tags: frozenset[str],
    ) -> Kept:
        entry = Entry(
            key, bytes(DIGEST_BYTES), 0,
            created_ns=self.clock(), cost_ns=cost_ns, tags=tags, meta=dict(meta),
        )  # fmt: skip
        if self._files is None:
            raise Refused(Refusal.BROKEN, f"the store {self.store.info.url!r} keeps no files")
        kept = self._files.put_file(entry, source, move=True)
        self.after_put()
        return Kept.over(_size_of(old), kept.digest, kept.size_bytes)


def _size_of(old: Found | None) -> int | None:
    return None if old is None else old.size_bytes


def _is_same(old: Found | None, new: Entry) -> bool:
    """Whether a value says all that a new one would say."""
    if old is None or old.digest != new.digest:
        return False
    entry = old.record.entry()
    return (entry.meta, entry.cost_ns, entry.tags) == (new.meta, new.cost_ns, new.tags)
