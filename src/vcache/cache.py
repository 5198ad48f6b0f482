"""The cache as its users see it: values by name, over tiers of stores.

It gives the rooms below one face. It knows nothing of graphs, servers or commands.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, ParamSpec, Self, TypeVar, cast, overload

from vcache.entry import FOREVER, Encoding, Entry, Key, Record, make_key, split_key
from vcache.errors import StoreError, StoreReadOnly, UsageError
from vcache.keyed import VERBATIM_HEAD, KeyedCache
from vcache.kit.data import replace
from vcache.kit.units import nanoseconds, seconds, size_bytes
from vcache.opening import Place, ground
from vcache.outcome import Hit, Miss
from vcache.store.base import Batches, satisfies
from vcache.valuables import Conditions, Valuables, require_ways

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType
    from typing import TypedDict, Unpack

    from vcache.fingerprint.inputs import Spec
    from vcache.janitor import GcReport
    from vcache.report import Stats, VerifyReport
    from vcache.serialize import Compression
    from vcache.step import Options, Step
    from vcache.store.base import HeldPath
    from vcache.store.tiered import TieredStore
    from vcache.upkeep import Progress

    Duration = float | int | str | timedelta

    class CacheOptions(TypedDict, total=False):
        """The keywords of `Cache`."""

        namespace: str | None
        root: str | os.PathLike[str] | None
        codec: str | None
        allow_pickle: bool
        compress: Compression | None
        disabled: bool | None
        clock: Callable[[], int]

    class PutOptions(TypedDict, total=False):
        """The keywords of `Cache.put`."""

        ttl: Duration | None
        stale: Duration | None
        tags: Iterable[str]
        deps: Iterable[Spec | str | os.PathLike[str]]
        cost_s: float
        codec: str | None
        pin: bool
        meta: Mapping[str, str] | None


__all__ = ["Cache"]

P = ParamSpec("P")
R = TypeVar("R")

_INLINE_BYTES: Final = 4 << 10  # beyond, a head's claim is compared with what is there
_SHORT: Final = 1000  # characters: what needs none of the checks of `make_key`


class Cache(KeyedCache):
    """Values by name, over one or more tiers.

    Args:
        where: a directory (the same as "mem:64MB", "disk:DIR?max=20GB"), or tiers from the nearest to
            the farthest: addresses, or a `Store`. Nothing: what the settings say.
        namespace: names of different namespaces never meet.
        root: what paths in fingerprints are relative to; the current directory by default.
        codec: a serialiser for all values, instead of choosing by type; "pickle" only with `allow_pickle`.
        allow_pickle: pickle what no other codec takes. Only for directories that nobody else
            can write to: unpickling runs what the bytes say.
        compress: "auto", "never" (or "none"), "lz4" or "zstd".
        disabled: answer every look-up with a miss and store nothing; by default what
            VCACHE_DISABLE says.
        clock: UTC epoch nanoseconds.

    Settings (docs/reference/settings.md) hold only where no place is given, and then for what is
    not given here: directory or tiers, budgets, namespace, compression, read-only, disabled.

    Raises:
        UsageError: a place, codec or way to compress that is none.
        ConfigError: a tier's address that means nothing.
        FormatError: a directory that holds something else or a newer format.
        StoreUnavailable: a directory that cannot be made or opened.

    Threads: any number, in any number of processes, also after `fork`.
    """

    def __init__(
        self,
        *where: Place,
        namespace: str | None = None,
        root: str | os.PathLike[str] | None = None,
        codec: str | None = None,
        allow_pickle: bool = False,
        compress: Compression | Literal["none"] | None = None,
        disabled: bool | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if namespace is not None:
            _require_namespace(namespace)
        require_ways(codec=codec, allow_pickle=allow_pickle, compress=compress)
        on = ground(where, namespace=namespace, compress=compress, disabled=disabled, clock=clock)
        _require_namespace(on.namespace)
        tiers = getattr(on.store, "tiers", (on.store,))
        valuables = Valuables(
            codec=codec,
            allow_pickle=allow_pickle,
            allow_imports=all(tier.info.is_trusted and tier.info.is_own for tier in tiers),
            compress=on.compress,
        )
        super().__init__(
            on.store,
            namespace=on.namespace,
            root=Path(os.path.abspath(root or ".")),
            is_disabled=on.is_disabled,
            valuables=valuables,
            clock=clock,
        )
        self._prefix = make_key("", namespace=on.namespace)
        self._all = self._prefix[:-1]  # without the kind: names of either type
        self._held: dict[Path, HeldPath] = {}
        self._is_closed = False

    # -- reading ---------------------------------------------------------------------------

    def get(self, name: str | bytes, default: object = None) -> object:
        """The value of a name if it may be used, else the default. None is a value.

        Raises:
            Exception: the remembered one, where the value is an exception (`errors=`).
        """
        # `key` and the start of `get_key`, spelled out on the hottest path: 0.1 of 2 µs.
        if type(name) is not str or len(name) >= _SHORT or not name.isascii():
            return self.get_key(self.key(name), default)
        key = self._prefix + name.encode()
        try:
            record = self._store_get(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            record = None
        if record is not None and record.memo is None and record.head[:2] == VERBATIM_HEAD:
            body = record.body
            if type(body) is bytes and len(body) <= _INLINE_BYTES:
                self._counts.hits += 1
                return body
        return self._answer(key, record, default)

    def lookup(self, name: str | bytes) -> Hit | Miss:
        """A `Hit` with the value and its entry, or a `Miss` with the reason."""
        return self.lookup_key(self.key(name))

    def get_many(self, names: Iterable[str | bytes]) -> dict[str | bytes, object]:
        """The values of those names that have a usable one, in one round trip a tier.

        Raises:
            Exception: the first remembered one, as `get` does.
        """
        keys = {self.key(name): name for name in names}
        if not satisfies(self.store, Batches):
            found = {name: self.get_key(key, _ABSENT) for key, name in keys.items()}
            return {name: value for name, value in found.items() if value is not _ABSENT}
        try:
            records: Mapping[Key, Record] = self.store.get_many(list(keys))
        except (StoreError, OSError) as error:
            self._fault(error)
            records = {}
        values = {}
        for key, name in keys.items():
            value = self._value_in(key, records.get(key), _ABSENT)
            if value is not _ABSENT:
                values[name] = value
        return values

    def prefetch(self, names: Iterable[str | bytes]) -> int:
        """Bring near what only far tiers have of some names, with the files that results stand for.

        One round trip for all of them, and one for the files; later look-ups are answered on this
        machine. How many records came: 0 where no tier is far.
        """
        store = self.store
        if not getattr(store, "is_far", False):
            return 0
        from vcache.transfer import outputs_of  # for who has tiers on other machines

        bring = cast("TieredStore", store).bring
        try:
            came = bring([self.key(name) for name in names])
            outputs = {output for key, record in came.items() for output in outputs_of(key, record)}
            count = len(came) + (len(bring(list(outputs))) if outputs else 0)
        except (StoreError, OSError) as error:
            self._fault(error)
            return 0
        self.keep_budget()
        return count

    def __contains__(self, name: str | bytes) -> bool:
        """Whether there is a usable value. Counts as neither hit nor miss."""
        return self.entry_of(self.key(name)) is not None

    def __len__(self) -> int:
        """How many names this namespace holds on this machine, usable or not."""
        return sum(1 for _ in self.store.scan(self._all))

    def __iter__(self) -> Iterator[str | bytes]:
        """The names of this namespace on this machine, in no order."""
        return (split_key(key)[1] for key in self.store.scan(self._all))

    def entries(self) -> Iterator[Entry]:
        """The entries of this namespace on this machine, in no order, without reading their contents."""
        return self.entries_under(self._all)

    def open(self, name: str | bytes) -> BinaryIO:
        """A stream of a bytes value, read from its file where it has one.

        Raises:
            KeyError: there is no usable value.
            UsageError: the value is not bytes.
        """
        key, entry = self._require_bytes(name)
        files = self.files()
        if files is not None and entry.encoding == Encoding.IDENTITY:
            opened = files.open(key)
            if opened is not None:
                return opened[1]
        record = self.store.get(key)
        if record is None:
            raise KeyError(name)
        return BytesIO(Valuables.content(record, entry))

    def path(self, name: str | bytes) -> Path:
        """A bytes value as a read-only file, kept from collection until the cache is closed.

        Raises:
            KeyError: there is no usable value.
            UsageError: the value is not bytes, or no tier keeps files.
            StoreReadOnly: it has no file of its own, and none can be made.
        """
        key, entry = self._require_bytes(name)
        files = self.files()
        if files is None:
            raise UsageError("path() needs a tier that keeps files: add a disk tier")
        held = files.hold(key) if entry.encoding == Encoding.IDENTITY else None
        if held is None and (record := self.store.get(key)) is not None:
            # Packed, or dropped by the tier that keeps files and still in another one.
            if self.store.info.is_read_only:
                raise StoreReadOnly(f"{name!r} has no file in a read-only cache: use open()")
            self.store.put(key, Valuables.unpacked(record))
            held = files.hold(key)
        if held is None:
            raise KeyError(name)
        if held.path in self._held:
            held.release()  # held already
        else:
            self._held[held.path] = held
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
            codec: the serialiser to use; "pickle" only where the cache has `allow_pickle`.
            pin: never collect it.
            meta: words to keep with it.

        Raises:
            EncodeError: no codec takes the value.
            FingerprintError: a dependency that does not exist.
            UsageError: a duration, tag or word that is none, or pickle where it is not allowed.
        """
        if ttl is None and stale is None and not (tags or deps or cost_s or codec or pin or meta):
            return self.put_key(self.key(name), value)
        conditions = Conditions(
            ttl_ns=None if ttl is None else nanoseconds(ttl),
            stale_ns=0 if stale is None else nanoseconds(stale),
            cost_ns=nanoseconds(cost_s),
            codec=codec,
            tags=_tags(tags),
            deps=self.observer.observe_all(deps) if deps else (),
            meta=None if meta is None else _meta(meta),
            is_pinned=pin,
        )
        return self.put_key(self.key(name), value, conditions)

    def put_many(
        self,
        items: Mapping[str, object] | Mapping[bytes, object] | Mapping[str | bytes, object],
        *,
        ttl: Duration | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Keep several values in one round trip a tier; whether a tier took them."""
        conditions = Conditions(ttl_ns=None if ttl is None else nanoseconds(ttl), tags=_tags(tags))
        return self.put_keys({self.key(name): value for name, value in items.items()}, conditions)

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
        conditions = Conditions(ttl_ns=None if ttl is None else nanoseconds(ttl), tags=_tags(tags))
        return self.put_file_key(self.key(name), Path(path), conditions)

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
        """The value of a name; where there is none, the one that `compute` gives, which is kept.

        Of all threads and processes that ask at once, one computes and the rest get its value.

        Args:
            ttl, stale, tags, deps: as in `put`. Dependencies are looked at before computing.
            errors: keep an exception for that long; None keeps none.

        A value that no codec takes is returned and not kept, with a warning in the log.

        Raises:
            Exception: what `compute` raised, or the remembered one.
        """
        from vcache.making import Making  # needed by few users of get and put

        making = Making.of(ttl=ttl, stale=stale, errors=errors, tags=_tags(tags))
        return making.get_or_make(self, self.key(name), compute, deps)

    def delete(self, name: str | bytes) -> bool:
        """Forget a name; whether there was one."""
        return self.delete_key(self.key(name))

    def touch(self, name: str | bytes, ttl: Duration | None = None) -> bool:
        """Give a usable value a new time to live from now on; whether there was one.

        How much longer it may be served stale stays as it was.
        """
        key = self.key(name)
        entry = self.entry_of(key)
        with contextlib.suppress(StoreError, OSError):
            record = None if entry is None else self.store.get(key)
            if record is not None:
                old = record.entry()
                expires = FOREVER if ttl is None else self._clock() + nanoseconds(ttl)
                stale_ns = max(0, old.stale_until_ns - old.expires_ns)
                stale_until = expires + stale_ns if expires and stale_ns else 0
                renewed = replace(old, expires_ns=expires, stale_until_ns=stale_until)
                self.store.put(key, Record(renewed.encode(), record.body))
                return True
        return False

    def invalidate(self, *, tags: Iterable[str]) -> int:
        """Forget every entry of this namespace that has one of the tags; how many.

        Entries are looked for on this machine and forgotten in every tier. One that only a far tier has
        is not found.
        """
        wanted = _tags(tags)
        return sum(map(self.delete_key, [entry.key for entry in self.entries() if entry.tags & wanted]))

    def clear(self) -> int:
        """Forget everything in this namespace and give its space back; how many names.

        What is forgotten here is forgotten in every tier. With the last namespace goes what the cache
        noted for itself on this machine: output files, recipes, digests.
        """
        gone = sum(map(self.delete_key, list(self.store.scan(self._all))))
        if all(key.startswith(b".") for key in self.store.scan()):
            forget = getattr(self.store, "forget", self.delete_key)
            for key in list(self.store.scan()):
                forget(key)
        self._upkeep.reclaim()
        return gone

    # -- keeping house ---------------------------------------------------------------------

    def gc(
        self,
        *,
        max_bytes: int | str | None = None,
        max_age: Duration | None = None,
        max_entries: int | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> GcReport:
        """Drop what is expired, too old or over budget, and give its space back.

        Args:
            max_bytes, max_age, max_entries: limits; those not given are those of the tier.
            dry_run: only say what would be done.
            progress: called with (phase, done, total).

        Raises:
            UsageError: a limit that is none, or no tier to collect in.
        """
        if max_entries is not None and (type(max_entries) is not int or max_entries < 0):
            raise UsageError(f"max_entries={max_entries!r:.80}: give a whole number, such as 1000")
        own = self._upkeep.limits()
        limits = replace(
            own,
            max_bytes=own.max_bytes if max_bytes is None else size_bytes(max_bytes),
            max_entries=own.max_entries if max_entries is None else max_entries,
            max_age_s=own.max_age_s if max_age is None else seconds(max_age),
            low_water=1.0,  # exactly what was asked for: only the janitor leaves room for the next puts
        )
        return self._upkeep.gc(limits, dry_run=dry_run, progress=progress)

    def stats(self) -> Stats:
        """Counts of look-ups, and what the stores hold."""
        return self._upkeep.stats()

    def verify(self, *, repair: bool = False, progress: Progress | None = None) -> VerifyReport:
        """Read every byte of the persistent tier against its digest.

        Args:
            repair: remove what is damaged; in a read-only cache nothing is.
            progress: called with ("verify", examined, entries).
        """
        repairs = repair and not self.is_read_only
        return self._upkeep.verify(repair=repairs, progress=progress)

    def close(self) -> None:
        """Write the counts, keep the budget, release everything. May be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        for held in self._held.values():
            held.release()
        with contextlib.suppress(StoreError, OSError):
            self._upkeep.close()
        self.flight.close()
        self.store.close()

    def __enter__(self) -> Self:
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
    def step(
        self, function: None = None, /, **options: Unpack[Options]
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    def step(
        self, function: Callable[P, R] | None = None, /, **options: Unpack[Options]
    ) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
        """Wrap a function so that a call with known inputs gives the remembered result.

        Options are those of `vcache.step.StepOptions`.
        """
        from vcache.step import Step, StepOptions, refuse_unfit

        chosen = StepOptions.of(options)

        def wrap(wrapped: Callable[P, R]) -> Step[P, R]:
            refuse_unfit(wrapped)
            return Step(self, wrapped, chosen)

        return wrap if function is None else wrap(function)

    # -- inside ----------------------------------------------------------------------------

    def key(self, name: str | bytes) -> Key:
        """The canonical key of a name in this namespace."""
        if type(name) is str and len(name) < _SHORT and name.isascii():
            return self._prefix + name.encode()
        return make_key(name, namespace=self.namespace)

    def _require_bytes(self, name: str | bytes) -> tuple[Key, Entry]:
        key = self.key(name)
        entry = self.entry_of(key)
        if entry is None:
            raise KeyError(name)
        if entry.codec != "bytes":
            raise UsageError(f"{name!r} holds a {entry.codec} value, not bytes: use get()")
        return key, entry


_ABSENT: Final = object()


def _tags(tags: Iterable[str]) -> frozenset[str]:
    found = frozenset([tags] if isinstance(tags, str) else tags)
    for tag in found:
        _require_text("tag", tag)
    return found


def _meta(meta: Mapping[str, str]) -> Mapping[str, str]:
    for name, word in meta.items():
        _require_text("meta", name)
        _require_text(f"meta {name!r}:", word)
    return meta


def _require_text(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{what} {text!r:.80} is a {type(text).__name__}: give text")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{what} {text!r:.80} holds half of a surrogate pair: give text") from None


def _require_namespace(namespace: str) -> None:
    _require_text("namespace", namespace)
    if namespace.startswith("."):
        raise UsageError(f"namespace {namespace!r} begins with a dot, as the cache's own do: name another")
