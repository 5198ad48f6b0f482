"""The cache: values by key, over tiers of stores.

It joins what the rooms below know: stores keep records, `serialize` turns values into bytes,
`fingerprint` looks at dependencies, `flight` lets one of many compute, `janitor` keeps budgets.
A fault of a store is a miss and a count; it never reaches the caller. It knows nothing of
graphs, servers or commands.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, ParamSpec, TypeVar, overload

from vcache import serialize
from vcache.entry import FIXED, FOREVER, HEAD_VERSION, Encoding, Entry, Flag, Key, Record, make_key, split_key
from vcache.errors import DecodeError, StoreError, UsageError
from vcache.flight import SingleFlight
from vcache.hash import Hasher, digest
from vcache.kit.units import nanoseconds, seconds, size_bytes
from vcache.outcome import Fault, Hit, Miss, Reason, Stats, VerifyReport
from vcache.store.base import Collectable, Files, Listing, Store, Verifiable
from vcache.store.tiered import TieredStore
from vcache.store.url import open_store

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

    from vcache.fingerprint.digests import FileDigests
    from vcache.fingerprint.inputs import Spec
    from vcache.fingerprint.observe import Observer
    from vcache.janitor import GcReport, Janitor
    from vcache.step import Step

__all__ = ["Cache"]

P = ParamSpec("P")
R = TypeVar("R")

Duration = float | int | str | timedelta

_MEMORY: Final = "mem:64MB"
_NS: Final = 1_000_000_000
_log = logging.getLogger("vcache")

# The fields of a head that decide whether its value may be used, read without building an Entry:
# flags, codec length, encoding, key length; expiry, stale-until, size, cost.
_HOT: Final = struct.Struct("<xBBBI12xQQQQ")
_unpack_hot = _HOT.unpack_from
_HEAD_BYTES: Final = FIXED.size
# With none of these, and without expiry, a record can be served as it is.
_CONDITIONS: Final = Flag.DEPS | Flag.ERROR
_FLUSH_EVERY: Final = 1000
_ABSENT: Final = object()
_DIGESTS: Final = ".digests"
# Beyond this share of its budget a put waits for a collection, so that no writer outruns it.
_HARD_SHARE: Final = 1.1


class Cache:
    """Values by key, over one or more tiers.

    Args:
        where: a directory (memory over disk), or tiers from the nearest to the farthest:
            "mem:64MB", "disk:DIR?max=20GB", a `Store`. Nothing: the configured directory.
        namespace: keys of different namespaces never meet.
        root: what paths in fingerprints are relative to; the current directory by default.
        codec: a serialiser for all values, instead of choosing by type.
        allow_pickle: pickle what no other codec takes. Only for directories that nobody else
            can write to: unpickling runs what the bytes say.
        compress: "auto", "never", "lz4" or "zstd".
        disabled: answer every look-up with a miss and store nothing; by default what
            VCACHE_DISABLE says.
        clock: UTC epoch nanoseconds.

    Raises:
        ConfigError: a tier's address that means nothing.
        FormatError: a directory that holds something else or a newer format.
        StoreUnavailable: a directory that cannot be made or opened.

    Threads: any number, in any number of processes, also after `fork`.
    """

    def __init__(
        self,
        *where: str | os.PathLike[str] | Store,
        namespace: str = "",
        root: str | os.PathLike[str] | None = None,
        codec: str | None = None,
        allow_pickle: bool = False,
        compress: str = "auto",
        disabled: bool | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if namespace.startswith("."):
            raise UsageError(
                f"namespace {namespace!r} begins with a dot, as the cache's own do: name another"
            )
        if disabled is None:
            disabled = os.environ.get("VCACHE_DISABLE", "").lower() in ("1", "true", "yes", "on")
        self.namespace = namespace
        self.root = Path(os.path.abspath(root or "."))
        self.is_disabled = disabled
        self.clock = clock
        self._codec, self._allow_pickle, self._compress = codec, allow_pickle, compress
        self._prefix = make_key("", namespace=namespace)
        self.store: Store = _open_tiers(where, disabled=disabled)
        self._store_get = self.store.get
        self._disk = _first(self.store, Collectable)
        directory = getattr(self._disk, "directory", None)
        self.directory: Path | None = directory
        self.flight = SingleFlight(None if directory is None else directory / "locks")
        self._observer: Observer | None = None
        self._digests: FileDigests | None = None
        self._janitor: Janitor | None = None
        self._hits = self._misses = self._puts = self._saved_ns = 0
        self._stale = self._expired = self._corrupt = self._faults = 0
        self._flushed = (0,) * (len(Stats.COUNTED) + 1)
        self._warned = False
        self._held: list[object] = []
        self._closed = False

    # -- reading ---------------------------------------------------------------------------

    def get(self, name: str | bytes, default: object = None) -> object:
        """The value of a key if it may be used, else the default.

        Raises:
            Exception: the remembered one, where the value is an exception (`errors=`).
        """
        return self.get_key(
            self._prefix + name.encode() if type(name) is str and name.isascii() else self.key(name), default
        )

    def get_key(self, key: Key, default: object = None) -> object:
        """`get` by canonical key."""
        try:
            record = self._store_get(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            record = None
        if record is None:
            self._misses += 1
            return default
        memo = record.memo
        if memo is not None:
            self._hits += 1
            self._saved_ns += memo[0]  # type: ignore[index]  # a memo is (cost, value)
            return memo[1]  # type: ignore[index]
        head = record.head
        flags, codec_len, encoding, key_len, expires_ns, _, size, cost_ns = _unpack_hot(head)
        if expires_ns == 0 and flags & _CONDITIONS == 0:
            body = record.body
            codec = head[_HEAD_BYTES + key_len : _HEAD_BYTES + key_len + codec_len]
            if codec == b"bytes" and encoding == 0:
                value: object = body if type(body) is bytes else bytes(body)
                record.memo = (cost_ns, value)
            else:
                value = self._decode(key, record, codec, encoding, size, cost_ns)
                if value is _ABSENT:
                    return default
            self._hits += 1
            self._saved_ns += cost_ns
            return value
        outcome = self._judge(key, record, "")
        if isinstance(outcome, Miss) or outcome.is_expired:
            self._misses += 1
            return default
        return self._use(outcome)

    def lookup(self, name: str | bytes) -> Hit | Miss:
        """A `Hit` with the value and its entry, or a `Miss` with the reason."""
        return self.lookup_key(self.key(name))

    def lookup_key(self, key: Key) -> Hit | Miss:
        """`lookup` by canonical key."""
        outcome = self.peek_key(key)
        self.count(outcome)
        return outcome

    def peek_key(self, key: Key) -> Hit | Miss:
        """`lookup_key` without counting it."""
        if self.is_disabled:
            return Miss(Reason.DISABLED, "caching is switched off")
        try:
            tier, record = self._fetch(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            return Miss(Reason.UNREACHABLE, str(error))
        if record is None:
            return Miss(Reason.ABSENT, "nothing is stored under this key")
        return self._judge(key, record, tier)

    def get_many(self, names: Iterable[str | bytes]) -> dict[str | bytes, object]:
        """The values of those keys that have a usable one, in one round trip a tier."""
        keys = {self.key(name): name for name in names}
        try:
            records = self._get_records(list(keys))
        except (StoreError, OSError) as error:
            self._fault(error)
            records = {}
        found = {}
        for key, name in keys.items():
            outcome = self._judge(key, records[key], "") if key in records else None
            if isinstance(outcome, Hit) and not outcome.is_expired:
                found[name] = self._use(outcome)
            else:
                self._misses += 1
        return found

    def __contains__(self, name: str | bytes) -> bool:
        """Whether a look-up would be a hit. Counts as neither hit nor miss."""
        key = self.key(name)
        with contextlib.suppress(StoreError, OSError):
            record = self._store_get(key)
            return record is not None and bool(self._judge(key, record, "", decode=False))
        return False

    def __len__(self) -> int:
        """How many keys this namespace holds, usable or not."""
        return sum(1 for _ in self.store.scan(self._name_prefix))

    def __iter__(self) -> Iterator[str | bytes]:
        """The keys of this namespace, in no order."""
        return (split_key(key)[1] for key in self.store.scan(self._name_prefix))

    def entries(self) -> Iterator[Entry]:
        """The entries of this namespace, in no order, without reading their contents."""
        return self.entries_under(self._name_prefix)

    def entries_under(self, prefix: bytes) -> Iterator[Entry]:
        """The entries whose canonical key starts with a prefix."""
        listing = _first(self.store, Listing)
        if listing is not None:
            yield from listing.entries(prefix)
            return
        for key in self.store.scan(prefix):
            if (record := self.store.get(key)) is not None:
                yield record.entry()

    def open(self, name: str | bytes) -> BinaryIO:
        """A stream of a bytes value, read from its file where it has one.

        Raises:
            KeyError: there is no usable value.
        """
        key, entry = self._require(name)
        files = _first(self.store, Files)
        if files is not None and entry.encoding == Encoding.IDENTITY:
            opened = files.open(key)
            if opened is not None:
                return opened[1]
        record = self._store_get(key)
        if record is None:
            raise KeyError(name)
        return BytesIO(serialize.unpack(entry.encoding, record.body, size_bytes=entry.size_bytes))

    def path(self, name: str | bytes) -> Path:
        """A bytes value as a read-only file, kept from collection until the cache is closed.

        Raises:
            KeyError: there is no usable value.
            UsageError: no tier keeps files.
        """
        key, entry = self._require(name)
        files = _first(self.store, Files)
        if files is None:
            raise UsageError("path() needs a tier that keeps files: add a disk tier")
        if entry.encoding != Encoding.IDENTITY:
            self._store_unpacked(key, entry)
        held = files.hold(key)
        if held is None:
            raise KeyError(name)
        self._held.append(held)
        return held.path

    # -- writing ---------------------------------------------------------------------------

    def put(
        self,
        name: str | bytes,
        value: object,
        *,
        ttl: Duration | None = None,
        stale: Duration | None = None,
        tags: Iterable[str] = (),
        deps: Iterable[Spec | str | os.PathLike[str]] = (),
        cost_s: float = 0.0,
        codec: str | None = None,
        pin: bool = False,
        meta: Mapping[str, str] | None = None,
    ) -> bool:
        """Keep a value; whether a tier took it.

        Args:
            ttl: how long it may be used; None for ever.
            stale: how much longer it may be served while a new one is made.
            tags: labels to invalidate by.
            deps: what it depends on, looked at now and again at every use.
            cost_s: what it took to make: what a hit saves.
            pin: never collect it.

        Raises:
            EncodeError: no codec takes the value.
            FingerprintError: a dependency that does not exist.
        """
        if self.is_disabled:
            return False
        key = self.key(name)
        conditions: dict[str, object] = {}
        if tags or deps or meta or pin or stale is not None:
            conditions = {
                "tags": frozenset([tags] if isinstance(tags, str) else tags),
                "deps": self.observer.observe_all(deps) if deps else (),
                "meta": dict(meta or {}),
                "is_pinned": pin,
                "stale_ns": nanoseconds(stale) if stale is not None else 0,
            }
        ttl_ns = None if ttl is None else nanoseconds(ttl)
        return self.put_key(key, value, ttl_ns=ttl_ns, cost_ns=int(cost_s * _NS), codec=codec, **conditions)  # type: ignore[arg-type]

    def put_key(
        self,
        key: Key,
        value: object,
        *,
        ttl_ns: int | None = None,
        cost_ns: int = 0,
        codec: str | None = None,
        is_error: bool = False,
        stale_ns: int = 0,
        **conditions: object,
    ) -> bool:
        """`put` by canonical key, with units already plain and dependencies already observed."""
        if self.is_disabled:
            return False
        try:
            self.store.put(
                key, self._record(key, value, ttl_ns, cost_ns, codec, is_error, stale_ns, conditions)
            )
        except (StoreError, OSError) as error:
            self._fault(error)
            return False
        self._puts += 1
        self._after_put()
        return True

    def put_many(self, items: Mapping[str | bytes, object], *, ttl: Duration | None = None) -> bool:
        """Keep several values in one round trip a tier; whether a tier took them."""
        if self.is_disabled:
            return False
        ttl_ns = None if ttl is None else nanoseconds(ttl)
        keys = {self.key(name): value for name, value in items.items()}
        records = {
            key: self._record(key, value, ttl_ns, 0, None, False, 0, {}) for key, value in keys.items()
        }
        try:
            put_many = getattr(self.store, "put_many", None)
            if put_many is not None:
                put_many(records)
            else:
                for key, record in records.items():
                    self.store.put(key, record)
        except (StoreError, OSError) as error:
            self._fault(error)
            return False
        self._puts += len(records)
        self._after_put()
        return True

    def put_file(
        self,
        name: str | bytes,
        path: str | os.PathLike[str],
        *,
        ttl: Duration | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Keep a file's content as a bytes value: cloned or streamed, never read whole.

        Raises:
            OSError: the file cannot be read.
        """
        return self.put_file_key(self.key(name), Path(path), ttl=ttl, tags=tags)

    def put_file_key(
        self, key: Key, source: Path, *, ttl: Duration | None = None, tags: Iterable[str] = ()
    ) -> bool:
        """`put_file` by canonical key."""
        if self.is_disabled:
            return False
        files = _first(self.store, Files)
        if files is None:
            ttl_ns = None if ttl is None else nanoseconds(ttl)
            return self.put_key(key, source.read_bytes(), ttl_ns=ttl_ns, tags=frozenset(tags))
        source.stat()  # a missing source is the caller's error, not the store's
        now = self.clock()
        expires = FOREVER if ttl is None else now + nanoseconds(ttl)
        entry = Entry(key, bytes(32), 0, created_ns=now, expires_ns=expires, tags=frozenset(tags))
        try:
            files.put_file(entry, source)
        except StoreError as error:
            self._fault(error)
            return False
        self._puts += 1
        self._after_put()
        return True

    def get_or_compute(
        self,
        name: str | bytes,
        compute: Callable[[], R],
        *,
        ttl: Duration | None = None,
        stale: Duration | None = None,
        tags: Iterable[str] = (),
        deps: Iterable[Spec | str | os.PathLike[str]] = (),
        errors: Duration | None = None,
    ) -> R:
        """The value of a key; where there is none, the one that `compute` gives, which is kept.

        Of all threads and processes that ask at once, one computes and the rest get its value.

        Args:
            ttl, stale, tags, deps: as in `put`. Dependencies are looked at before computing.
            errors: keep an exception for that long; None keeps none.

        Raises:
            Exception: what `compute` raised, or the remembered one.
        """
        from vcache.step import Making  # the decorator's module, needed by few users of get and put

        making = Making(
            ttl_ns=None if ttl is None else nanoseconds(ttl),
            stale_ns=0 if stale is None else nanoseconds(stale),
            errors_ns=None if errors is None else nanoseconds(errors),
            tags=frozenset([tags] if isinstance(tags, str) else tags),
        )
        specs = tuple(deps)
        return making.get_or_make(self, self.key(name), compute, specs)  # type: ignore[return-value]

    def delete(self, name: str | bytes) -> bool:
        """Forget a key; whether there was one."""
        return self.delete_key(self.key(name))

    def delete_key(self, key: Key) -> bool:
        """`delete` by canonical key."""
        try:
            return self.store.delete(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            return False

    def touch(self, name: str | bytes, ttl: Duration | None = None) -> bool:
        """Give a usable value a new time to live from now on; whether there was one."""
        key = self.key(name)
        with contextlib.suppress(StoreError, OSError):
            record = self._store_get(key)
            if record is not None and isinstance(outcome := self._judge(key, record, "", decode=False), Hit):
                from dataclasses import replace

                now = self.clock()
                expires = FOREVER if ttl is None else now + nanoseconds(ttl)
                self.store.put(key, Record(replace(outcome.entry, expires_ns=expires).encode(), record.body))
                return True
        return False

    def invalidate(self, *, tags: Iterable[str]) -> int:
        """Forget every entry of this namespace that has one of the tags; how many."""
        wanted = frozenset([tags] if isinstance(tags, str) else tags)
        tagged = [entry.key for entry in self.entries() if entry.tags & wanted]
        return sum(map(self.delete_key, tagged))

    def clear(self) -> int:
        """Forget everything in this namespace; how many keys."""
        gone = sum(map(self.delete_key, list(self.store.scan(self._name_prefix))))
        if self._disk is not None:
            with contextlib.suppress(StoreError):
                self._disk.reclaim()
        return gone

    # -- keeping house ---------------------------------------------------------------------

    def gc(
        self,
        *,
        max_bytes: int | str | None = None,
        max_age: Duration | None = None,
        max_entries: int | None = None,
        dry_run: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> GcReport:
        """Drop what is expired, too old or over budget, and give its space back.

        Limits not given are those of the tier's address.

        Raises:
            UsageError: there is no tier to collect in.
        """
        from vcache.janitor import collect
        from vcache.policy import Limits

        if self._disk is None:
            raise UsageError("gc() needs a disk tier; memory keeps its own budget")
        own = self._own_limits()
        limits = Limits(
            max_bytes=own.max_bytes if max_bytes is None else size_bytes(max_bytes),
            max_entries=own.max_entries if max_entries is None else max_entries,
            max_age_s=own.max_age_s if max_age is None else seconds(max_age),
        )
        return collect(self._disk, limits, clock=self.clock, dry_run=dry_run, progress=progress)

    def stats(self) -> Stats:
        """Counts of look-ups, and what the stores hold."""
        self._flush()
        counters = self.store.counters()
        totals = self._totals()
        disk = 0 if self._disk is None else self._disk.disk_bytes()
        counted = dict(zip(Stats.COUNTED, totals, strict=False))
        return Stats(
            **counted,
            saved_s=totals[len(Stats.COUNTED)] / _NS,
            entries=counters.entries,
            size_bytes=counters.size_bytes,
            disk_bytes=disk,
            hits_by_tier=dict(
                getattr(self.store, "hits_by_tier", None) or {self.store.info.name: self._hits}
            ),
        )

    def verify(
        self, *, repair: bool = False, progress: Callable[[str, int, int], None] | None = None
    ) -> VerifyReport:
        """Read every byte of the persistent tier against its digest.

        Args:
            repair: remove what is damaged.
            progress: called with ("verify", examined, entries).
        """
        examinable = _first(self.store, Verifiable)
        examined, faults = 0, []
        total = self.store.counters().entries
        for key, what in () if examinable is None else examinable.verify(repair=repair):
            examined += 1
            if what is not None:
                faults.append(Fault(None if key is None else split_key(key)[1], what))
            if progress is not None and examined % 64 == 0:
                progress("verify", examined, total)
        return VerifyReport(examined, tuple(faults), repair)

    def close(self) -> None:
        """Write the counts, keep the budget, release everything. May be called again."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(StoreError, OSError):
            self._flush()
        if self._janitor is not None:
            self._janitor.close()
            self._collect_at_last()
        for held in self._held:
            held.release()  # type: ignore[attr-defined]  # HeldPath
        self.flight.close()
        self.store.close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Cache({self.store.info.url!r}, namespace={self.namespace!r})"

    # -- steps -----------------------------------------------------------------------------

    @overload
    def step(self, function: Callable[P, R], /) -> Step[P, R]: ...

    @overload
    def step(self, function: None = None, /, **options: object) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    def step(
        self, function: Callable[P, R] | None = None, /, **options: object
    ) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
        """Wrap a function so that a call with known inputs gives the remembered result.

        Options are those of `StepOptions`.
        """
        from vcache.step import Step, StepOptions

        chosen = StepOptions.of(options)

        def wrap(wrapped: Callable[P, R]) -> Step[P, R]:
            return Step(self, wrapped, chosen)

        return wrap if function is None else wrap(function)

    # -- for the rooms above and `step` ------------------------------------------------------

    def key(self, name: str | bytes) -> Key:
        """The canonical key of a name in this namespace."""
        return make_key(name, namespace=self.namespace)

    @property
    def observer(self) -> Observer:
        """Looks at files, tools and variables on behalf of this cache."""
        if self._observer is None:
            from vcache.fingerprint.digests import FileDigests
            from vcache.fingerprint.observe import Observer

            backing = None if self.is_disabled or self._disk is None else _DigestMemo(self.store)
            digests = FileDigests(self.root, backing=backing)
            self._observer = Observer(
                self.root, digests=digests, entry_digest=self._digest_of, namespace=self.namespace
            )
            self._digests = digests
        return self._observer

    @property
    def digests(self) -> FileDigests:
        """Digests of files, remembered by stat signature."""
        _ = self.observer
        assert self._digests is not None
        return self._digests

    def files(self) -> Files | None:
        """The tier that keeps files, if any."""
        return _first(self.store, Files)

    def count(self, outcome: Hit | Miss) -> None:
        """Count a look-up that was made with `peek_key`."""
        if isinstance(outcome, Miss):
            self._misses += 1
        else:
            self._hits += 1
            self._saved_ns += outcome.entry.cost_ns

    def _digest_of(self, key: Key) -> bytes | None:
        with contextlib.suppress(StoreError, OSError):
            record = self._store_get(key)
            return None if record is None else record.head[FIXED.size - 32 : FIXED.size]
        return None

    # -- inside ----------------------------------------------------------------------------

    @property
    def _name_prefix(self) -> bytes:
        return self.namespace.encode() + b"\0"

    def _fetch(self, key: Key) -> tuple[str, Record | None]:
        find = getattr(self.store, "lookup", None)
        if find is not None:
            return find(key) or ("", None)
        return self.store.info.name, self._store_get(key)

    def _get_records(self, keys: list[Key]) -> Mapping[Key, Record]:
        get_many = getattr(self.store, "get_many", None)
        if get_many is not None:
            return get_many(keys)  # type: ignore[no-any-return]
        found = ((key, self._store_get(key)) for key in keys)
        return {key: record for key, record in found if record is not None}

    def _decode(
        self, key: Key, record: Record, codec: bytes, encoding: int, size: int, cost_ns: int
    ) -> object:
        """A record's value, or `_ABSENT` when its bytes cannot be read back."""
        try:
            content = (
                record.body if encoding == 0 else serialize.unpack(encoding, record.body, size_bytes=size)
            )
            value = serialize.load(codec.decode(), content, allow_pickle=self._allow_pickle)
        except DecodeError as error:
            self._misses += 1
            self._discard(key, error)
            return _ABSENT
        if serialize.is_immutable(value):
            record.memo = (cost_ns, value)
        return value

    def _judge(self, key: Key, record: Record, tier: str, *, decode: bool = True) -> Hit | Miss:
        """Whether a record may be used, and its value."""
        try:
            entry = record.entry()
        except DecodeError as error:
            self._discard(key, error)
            return Miss(Reason.CORRUPT, str(error))
        now = self.clock()
        is_expired = entry.expires_ns != FOREVER and entry.expires_ns <= now
        if is_expired and entry.stale_until_ns <= now:
            self._expired += 1
            return Miss(Reason.EXPIRED, f"expired {(now - entry.expires_ns) / _NS:.3f} s ago", entry=entry)
        if entry.deps and (changed := self.observer.first_stale(entry.deps)) is not None:
            self._stale += 1
            return Miss(Reason.STALE, changed.reason, dep=changed.dep, entry=entry)
        value: object = None
        if decode:
            value = self._decode(
                key, record, entry.codec.encode(), entry.encoding, entry.size_bytes, entry.cost_ns
            )
            if value is _ABSENT:
                return Miss(Reason.CORRUPT, "its stored bytes cannot be read back", entry=entry)
            if is_expired or entry.deps or entry.expires_ns or entry.is_error:
                record.memo = None  # a memo is served without asking
        return Hit(tier, entry, value, is_expired)

    def _use(self, hit: Hit) -> object:
        self._hits += 1
        self._saved_ns += hit.entry.cost_ns
        if hit.entry.is_error:
            raise hit.value  # type: ignore[misc]  # codec "error" gives an exception
        return hit.value

    def _require(self, name: str | bytes) -> tuple[Key, Entry]:
        """The key and entry of a usable bytes value."""
        key = self.key(name)
        record = self._store_get(key)
        outcome = None if record is None else self._judge(key, record, "", decode=False)
        if not isinstance(outcome, Hit):
            raise KeyError(name)
        if outcome.entry.codec != "bytes":
            raise UsageError(f"{name!r} holds a {outcome.entry.codec} value, not bytes: use get()")
        return key, outcome.entry

    def _store_unpacked(self, key: Key, entry: Entry) -> None:
        from dataclasses import replace

        record = self._store_get(key)
        if record is not None:
            body = serialize.unpack(entry.encoding, record.body, size_bytes=entry.size_bytes)
            self.store.put(key, Record(replace(entry, encoding=Encoding.IDENTITY).encode(), body))

    def _record(
        self, key: Key, value: object, ttl_ns: int | None, cost_ns: int, codec: str | None, is_error: bool,
        stale_ns: int, conditions: Mapping[str, object],
    ) -> Record:  # fmt: skip
        packed = serialize.dump(value, codec=codec or self._codec, allow_pickle=self._allow_pickle)
        parts, size = packed.parts, packed.size_bytes
        content_digest = digest(parts[0]) if len(parts) == 1 else _digest_of_parts(parts)
        encoding, body = serialize.pack(parts, size, compress=self._compress)
        now = self.clock()
        expires = FOREVER if ttl_ns is None else now + ttl_ns
        stale_until = expires + stale_ns if stale_ns and ttl_ns is not None else 0
        if not conditions and not is_error:
            # `Entry(...).encode()` of a plain entry, spelled out: 0.6 instead of 5 µs.
            name = packed.codec.encode()
            head = FIXED.pack(
                HEAD_VERSION, 0, len(name), encoding, len(key), 0, now, expires, stale_until, size, cost_ns,
                content_digest,
            ) + key + name  # fmt: skip
        else:
            head = Entry(
                key, content_digest, size, packed.codec, encoding, now, expires, stale_until, cost_ns,
                is_error=is_error, **conditions,  # type: ignore[arg-type]
            ).encode()  # fmt: skip
        return Record(head, body)

    def _discard(self, key: Key, error: Exception) -> None:
        """Drop a record that is whole but cannot be read back, so that the next put heals it."""
        self._corrupt += 1
        _log.warning("dropped %r: %s", key, error)
        with contextlib.suppress(StoreError, OSError):
            self.store.delete(key)

    def _fault(self, error: Exception) -> None:
        self._faults += 1
        if not self._warned:
            self._warned = True
            _log.warning("the cache does not serve as it should, building goes on without it: %s", error)

    def _after_put(self) -> None:
        disk = self._disk
        if disk is not None and disk.is_over_budget():  # type: ignore[attr-defined]
            self._keep_budget()
        if self._puts % _FLUSH_EVERY == 0:
            self._flush()

    def _own_limits(self):  # type: ignore[no-untyped-def]
        from vcache.policy import Limits

        disk = self._disk
        return Limits(
            max_bytes=getattr(disk, "max_bytes", None),
            max_entries=getattr(disk, "max_entries", None),
            max_age_s=getattr(disk, "max_age_s", None),
        )

    def _counts(self) -> tuple[int, ...]:
        own = self.store.counters()
        return (
            self._hits, self._misses, self._puts, self._stale, self._expired,
            self._corrupt + own.corrupt, self._faults + own.faults, own.evicted, self._saved_ns,
        )  # fmt: skip

    def _flush(self) -> None:
        """Add what this process counted since the last time to the shared totals."""
        tally = getattr(_first(self.store, Collectable), "tally", None)
        if tally is None:
            return
        counts = self._counts()
        deltas = [now - before for now, before in zip(counts, self._flushed, strict=True)]
        if any(deltas):
            with contextlib.suppress(StoreError, OSError):
                tally(deltas)
                self._flushed = counts

    def _totals(self) -> tuple[int, ...]:
        totals = getattr(_first(self.store, Collectable), "totals", None)
        return self._counts() if totals is None else totals()

    def _keep_budget(self) -> None:
        """Wake the janitor; far over budget, wait for a collection."""
        disk = self._disk
        assert disk is not None
        if self._janitor is None:
            from vcache.janitor import Janitor
            from vcache.kit.fs_atomic import LockFile

            exclusive: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
            if self.directory is not None:
                exclusive = partial(LockFile(self.directory / "janitor.lock").held, 0)
            self._janitor = Janitor(disk, self._own_limits(), clock=self.clock, exclusive=exclusive)
        limit = getattr(disk, "max_bytes", None)
        if limit is not None and disk.disk_bytes() > limit * _HARD_SHARE:
            self._janitor.run_once()
        else:
            self._janitor.nudge()

    def _collect_at_last(self) -> None:
        """Keep the budget also where the process was too short for its janitor."""
        from vcache.janitor import collect

        disk = self._disk
        with contextlib.suppress(StoreError, OSError):
            if disk is not None and disk.is_over_budget():
                collect(disk, self._own_limits(), clock=self.clock)


class _DigestMemo:
    """Keeps file digests in the cache's own store, so that the next process need not read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        with contextlib.suppress(StoreError, OSError):
            record = self._store.get(make_key(key, namespace=_DIGESTS))
            return None if record is None else bytes(record.body)
        return None

    def put(self, key: bytes, value: bytes) -> None:
        full = make_key(key, namespace=_DIGESTS)
        head = Entry(full, digest(value), len(value), created_ns=time.time_ns()).encode()
        with contextlib.suppress(StoreError, OSError):
            self._store.put(full, Record(head, value))


def _open_tiers(where: tuple[str | os.PathLike[str] | Store, ...], *, disabled: bool) -> Store:
    if disabled:
        where = ("mem:1MB",)
    elif not where:
        from vcache import config

        settings = config.load()
        where = settings.tiers or (settings.dir,)
    opened = [
        place if isinstance(place, Store) else open_store(place)  # type: ignore[arg-type]
        for place in where
    ]
    if len(opened) == 1 and not isinstance(where[0], Store) and not _names_a_tier(where[0]):
        opened.insert(0, open_store(_MEMORY))
    return opened[0] if len(opened) == 1 else TieredStore(opened)


def _names_a_tier(place: object) -> bool:
    """Whether an address spells its kind out, as "disk:DIR" does; a plain path does not."""
    scheme, colon, _ = str(place).partition(":")
    return bool(colon) and "/" not in scheme and "." not in scheme


T = TypeVar("T")


def _first(store: Store, protocol: type[T]) -> T | None:
    """The store, or the first of its tiers, that satisfies an optional protocol."""
    for candidate in (store, *getattr(store, "tiers", ())):
        if isinstance(candidate, protocol):
            return candidate
    return None


def _digest_of_parts(parts: Iterable[Buffer]) -> bytes:
    hasher = Hasher()
    for part in parts:
        hasher.update(part)
    return hasher.digest()
