"""The contract of a store: a place that keeps records by key.

A store moves bytes. It knows no codec, no policy of the caller and no other store. Six
operations are required; what else a store can do is stated as data (`StoreInfo`) and as small
protocols that a caller tests for with `isinstance`.

The contract, checked by `vcache.testing.StoreTests`:

1. `get` after `put` gives back an equal head and body, until `delete`, another `put`, or
   eviction. A record is visible whole or not at all, to every thread and process.
2. `get` verifies what it read. A record that fails is removed from sight, counted, kept
   aside where the store can (quarantine), and reported as absent. Wrong bytes are never
   returned, and a damaged record never raises.
3. Absence is None or False, never an exception. `StoreError` is for a store that cannot do
   its work; its `retryable` says whether trying again helps. After a failed `put` the older
   record, if there was one, is intact.
4. `scan` gives every key that was there from start to end of the walk exactly
   once; keys that come or go meanwhile may or may not appear.
5. Every operation may be called from any thread. After `close` every operation raises
   `StoreClosed`; `close` itself may be called again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeGuard, TypeVar, runtime_checkable

from vcache.kit.data import NamedTuple, dataclass

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.entry import Entry, Key, Record

__all__ = [
    "Batches",
    "Budgeted",
    "Collectable",
    "Files",
    "HeldPath",
    "Ledger",
    "Listing",
    "Presence",
    "Staging",
    "Store",
    "StoreCounters",
    "StoreInfo",
    "Survey",
    "Verifiable",
    "Watched",
    "satisfies",
]


class StoreInfo(NamedTuple):
    """What a store is and can do, as data.

    Attributes:
        name: for people and metrics: "memory", "disk", "s3".
        url: the address that opens it again.
        is_shared: other processes or machines may write to it.
        is_trusted: its bytes come from this user on this machine; otherwise the caller
            verifies the BLAKE3 digest of whatever it returns.
        is_persistent: records survive the process.
        is_read_only: `put` and `delete` raise `StoreReadOnly`.
        is_verified: `get` compared the content with its BLAKE3 digest: nobody need do so again.
        is_listed: `scan` can walk the keys; otherwise it raises `StoreError`, and `counters` knows
            neither entries nor bytes.
        keeps_time: its operations end by `vcache.kit.deadlines.left_s`; otherwise whoever sets
            a deadline waits for them in another thread.
        is_own: nothing in it came from others: what only its user's own bytes may have done is done
            for them, such as an import of the module of a value's class.
    """

    name: str
    url: str
    is_shared: bool
    is_trusted: bool
    is_persistent: bool
    is_read_only: bool = False
    is_verified: bool = False
    is_listed: bool = True
    keeps_time: bool = False
    is_own: bool = True


class StoreCounters(NamedTuple):
    """What a store holds now, and what happened to it since it was opened.

    `entries` and `size_bytes` are of the whole store, the rest of this process.
    """

    entries: int
    size_bytes: int
    corrupt: int = 0
    evicted: int = 0
    faults: int = 0


@runtime_checkable
class Store(Protocol):
    """The required operations. See the module for the contract."""

    @property
    def info(self) -> StoreInfo: ...

    def get(self, key: Key) -> Record | None:
        """The verified record of a key, or None."""

    def put(self, key: Key, record: Record) -> None:
        """Keep a record under a key, in place of any older one."""

    def delete(self, key: Key) -> bool:
        """Forget a key; whether there was one."""

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys that start with a prefix, in no particular order."""

    def counters(self) -> StoreCounters:
        """What the store holds, cheaply."""

    def close(self) -> None:
        """Release everything. May be called again."""


@runtime_checkable
class Watched(Protocol):
    """A store whose records carry a token, so that a copy of one can be kept and checked."""

    def is_current(self, key: Key, token: object) -> bool:
        """Whether a `get` now would give the record that carried this token. No I/O."""


@runtime_checkable
class Staging(Protocol):
    """A store that can begin to keep a large body before its digest is known."""

    def stage(self, body: Buffer) -> object | None:
        """Take a body in, out of sight. The result is passed as the token of its record to `put`.

        Dropped without a put it leaves nothing behind. None: the store prefers the body in the put.
        """


@runtime_checkable
class Batches(Protocol):
    """A store that moves many records for the price of few."""

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The verified records of those keys that are present."""

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep all records; in a failure some may have been kept."""


@runtime_checkable
class Presence(Protocol):
    """A store that can say what it lacks without moving it."""

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that it does not have. What it has counts as used."""


@runtime_checkable
class Listing(Protocol):
    """A store that can describe its records without reading their bodies."""

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        """Walk the entries whose key starts with a prefix."""

    def entry(self, key: Key) -> Entry | None:
        """The entry of a key, without its body."""


class HeldPath(Protocol):
    """A read-only file that no collection removes until it is released."""

    @property
    def path(self) -> Path: ...

    def release(self) -> None:
        """Give the file back. May be called again."""


@runtime_checkable
class Files(Protocol):
    """A store whose bodies can be files: streamed in and out, linked, or handed out by path."""

    def put_file(self, entry: Entry, source: Path, *, move: bool = False) -> Entry:
        """Keep the content of a file, stored as it is (encoding IDENTITY).

        Args:
            entry: the entry to keep; its digest and size are ignored and computed from the
                bytes that were actually stored.
            source: a regular file, which may change meanwhile: the digest is of what was kept.
            move: the source may be consumed.

        Returns:
            The entry with its true digest and size.
        """

    def open(self, key: Key) -> tuple[Entry, BinaryIO] | None:
        """The entry and a stream of its body as stored, or None. Verified before the first byte."""

    def hold(self, key: Key) -> HeldPath | None:
        """The body of an IDENTITY record as a verified read-only file, or None."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All rows of a store as equally long columns: what a policy needs to decide.

    A row is an entry or a shared blob. `ids` mean something to the store only.
    """

    ids: Sequence[int]
    used_ns: Sequence[int]
    expires_s: Sequence[int]  # 0: never
    size_bytes: Sequence[int]
    is_pinned: Sequence[int]  # 0 or 1
    is_entry: Sequence[int]  # 0: a blob that entries share


@runtime_checkable
class Collectable(Protocol):
    """A store whose rows can be dropped by a janitor."""

    def survey(self) -> Survey:
        """A snapshot of all rows."""

    def evict(self, survey: Survey, rows: Iterable[int]) -> int:
        """Drop rows (positions in the survey) that did not change since; how many were dropped.

        Never drops what a reader holds, nor a row that was used after the survey.
        """

    def reclaim(self, *, target_bytes: int | None = None) -> int:
        """Give space of dropped rows and of orphaned files back; bytes freed on the disk.

        Args:
            target_bytes: stop as soon as the store takes no more than this; None reclaims
                whatever is worth it.
        """

    def disk_bytes(self) -> int:
        """What the store takes on its medium."""


@runtime_checkable
class Budgeted(Protocol):
    """A store that was given limits, and says when they are exceeded. A janitor keeps them."""

    max_bytes: int | None
    max_entries: int | None
    max_age_s: float | None

    def is_over_budget(self) -> bool:
        """Whether a janitor has something to do: a limit is passed, or it is time to look for what
        expired or grew too old. Called after each put: no I/O.
        """

    def counters(self) -> StoreCounters:
        """As a store's."""


@runtime_checkable
class Ledger(Protocol):
    """A store that keeps totals over all processes: at most 16 numbers, their meaning the caller's."""

    def tally(self, deltas: Sequence[int]) -> None:
        """Add to the totals, position by position."""

    def totals(self) -> Sequence[int]:
        """The sums since the store was made."""


@runtime_checkable
class Verifiable(Protocol):
    """A store that can examine all it holds."""

    def verify(self, *, repair: bool = False) -> Iterator[tuple[Key | None, str | None]]:
        """Walk everything, reading every byte against its BLAKE3 digest.

        Yields:
            (key, None) for what is sound, (key or None, what is wrong) for what is not. With
            repair, what is wrong is quarantined or removed.
        """


T = TypeVar("T")

_known: dict[tuple[type, type], bool] = {}


def satisfies(store: object, protocol: type[T]) -> TypeGuard[T]:
    """Whether a store has an optional protocol: `isinstance`, asked once per type.

    Up to Python 3.11 each `isinstance` against a protocol costs 5 to 10 µs, and opening a cache
    asks a dozen.
    """
    pair = (type(store), protocol)
    known = _known.get(pair)
    if known is None:
        known = _known[pair] = isinstance(store, protocol)
    return known
