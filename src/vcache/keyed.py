"""A cache by canonical key: look up, judge, keep. What steps and the public cache stand on.

It joins the rooms below: stores keep records, `valuables` turns values into records, the
fingerprints' observer looks at dependencies. A fault of a store is a miss and a count; it never
reaches the caller. It knows nothing of names, decorators or budgets' keeping.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from vcache.entry import FOREVER, HEAD_VERSION, Entry, Key, Record, make_key
from vcache.errors import DecodeError, StoreClosed, StoreError, StoreReadOnly
from vcache.flight import SingleFlight
from vcache.hash import digest
from vcache.kit.logs import logger
from vcache.outcome import Hit, Miss, Reason
from vcache.store.base import Batches, Files, Listing, Staging, Store, satisfies
from vcache.upkeep import Counts, Upkeep, first
from vcache.valuables import ABSENT, PLAIN, VERBATIM, Conditions, Refused, Valuables

if TYPE_CHECKING:
    from logging import Logger

    from typing_extensions import Buffer

    from vcache.fingerprint.digests import Backing, FileDigests
    from vcache.fingerprint.observe import Observer

__all__ = ["VERBATIM_HEAD", "KeyedCache"]

_DIGESTS: Final = ".digests"
VERBATIM_HEAD: Final = bytes([HEAD_VERSION, VERBATIM])


class KeyedCache:
    """Values by canonical key, over one store.

    Attributes:
        namespace: where the keys of names go.
        root: what paths in fingerprints are relative to.
        is_disabled: every look-up is a miss and nothing is kept.
        store: the store, or the tiers.
        directory: that of the disk tier, if there is one.
        flight: who may compute what.
        asked: told each key that is looked up or put here, if set.
    """

    def __init__(
        self,
        store: Store,
        *,
        namespace: str,
        root: Path,
        is_disabled: bool,
        valuables: Valuables,
        clock: Callable[[], int],
    ) -> None:
        self.namespace, self.root, self.is_disabled, self.store = namespace, root, is_disabled, store
        self._clock = clock
        self._valuables = valuables
        self._store_get = store.get
        self._staging = first(store, Staging)
        quick = cast("Store | None", first(store, Files))
        is_quick = quick is not None and quick.info.is_trusted
        self._quick_get: Callable[[Key], Record | None] = quick.get if quick and is_quick else _nothing
        lasting = (
            # What an HTTP store calls its directory is a part of its address.
            tier
            for tier in (store, *getattr(store, "tiers", ()))
            if isinstance(getattr(tier, "directory", None), Path)
        )
        self._lasting: Store | None = next(lasting, None)
        self.directory: Path | None = getattr(self._lasting, "directory", None)
        # Where nothing may be written, processes cannot wait for each other: rather twice than never.
        is_shared = self.directory is not None and not store.info.is_read_only
        self.flight = SingleFlight(self.directory / "locks" if self.directory and is_shared else None)
        self._counts = Counts()
        self._upkeep = Upkeep(store, self._counts, clock=clock)
        self._observer: Observer | None = None
        self._digests: FileDigests | None = None
        self._has_warned = False
        self._refs = _Refs()
        self.asked: Callable[[Key], None] | None = None

    # -- looking up ------------------------------------------------------------------------

    def get_key(self, key: Key, default: object = None) -> object:
        """The value of a key if it may be used, else the default.

        Raises:
            Exception: the remembered one, where the value is an exception.
        """
        if self.asked is not None:
            self.asked(key)
        try:
            record = self._store_get(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            record = None
        return self._answer(key, record, default)

    def _answer(self, key: Key, record: Record | None, default: object) -> object:
        """The value of what a store gave, if it may be used, else the default."""
        counts = self._counts
        if record is None:
            counts.misses += 1
            return default
        memo = record.memo
        if memo is None:
            head = record.head
            if head[:2] == VERBATIM_HEAD and len(record.body) == int.from_bytes(head[36:44], "little"):  # type: ignore[arg-type]
                counts.hits += 1
                body = record.body
                if type(body) is bytes:
                    return body
                verbatim = bytes(body)
                record.memo = (0, verbatim)
                return verbatim
            try:
                memo = self._valuables.plain_value(record, self._clock)
            except DecodeError as error:
                self._unreadable(key, error)
                counts.misses += 1
                return default
        cost_ns, value = memo
        if value is ABSENT:
            return self._judged_value(key, record, default)
        counts.hits += 1
        counts.saved_ns += cost_ns
        return value

    def _value_in(self, key: Key, record: Record | None, default: object) -> object:
        """The value of a record that was looked up together with others, as `get_key` gives it."""
        counts = self._counts
        if record is None:
            counts.misses += 1
            return default
        try:
            cost_ns, value = record.memo or self._valuables.plain_value(record, self._clock)
        except DecodeError as error:
            self._unreadable(key, error)
            counts.misses += 1
            return default
        if value is ABSENT:
            return self._judged_value(key, record, default)
        counts.hits += 1
        counts.saved_ns += cost_ns
        return value

    def get_near(self, key: Key) -> object:
        """The value of a key if it can be had without touching a disk or network, else ABSENT."""
        near = getattr(self.store, "near", None if self.store.info.is_persistent else self._store_get)
        record = None if near is None else near(key)
        if record is None:
            return ABSENT
        memo = record.memo
        if memo is None and record.head[:2] == VERBATIM_HEAD and type(record.body) is bytes:
            memo = (0, record.body)
        if memo is None:
            return ABSENT
        self._counts.hits += 1
        self._counts.saved_ns += memo[0]
        return memo[1]

    def peek_key(self, key: Key) -> Hit | Miss:
        """A `Hit` or a `Miss` with its reason. Not counted: see `count`."""
        if self.asked is not None:
            self.asked(key)
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

    def glance_key(self, key: Key) -> tuple[int, object]:
        """(what it took to make, value) of a value that may be used as it is, else (0, ABSENT).

        Not counted; an exception that was kept, and what has dependencies of its own, is none. What
        the trusted tier of files has is not copied to the tiers above it.
        """
        if self.is_disabled:
            return 0, ABSENT
        if self.asked is not None:
            self.asked(key)
        try:
            record = self._quick_get(key) or self._store_get(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            record = None
        if record is None:
            return 0, ABSENT
        try:
            return record.memo or self._valuables.plain_value(record, self._clock)
        except DecodeError as error:
            self._unreadable(key, error)
            return 0, ABSENT

    def lookup_key(self, key: Key) -> Hit | Miss:
        """`peek_key`, counted; a damaged record is told from an absent one."""
        damaged = self._damaged()
        outcome = self.peek_key(key)
        if isinstance(outcome, Miss) and outcome.reason is Reason.ABSENT and self._damaged() > damaged:
            outcome = Miss(Reason.CORRUPT, "its stored bytes are damaged, and were put aside")
        self.count(outcome)
        return outcome

    def count(self, outcome: Hit | Miss) -> None:
        """Count a look-up that was made with `peek_key`."""
        if isinstance(outcome, Miss):
            self._counts.misses += 1
        else:
            self._counts.hits += 1
            self._counts.saved_ns += outcome.entry.cost_ns

    def entry_of(self, key: Key) -> Entry | None:
        """The entry of a key if it may be used, without reading its value."""
        try:
            record = self._store_get(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            return None
        if record is None or self.is_disabled:
            return None
        outcome = self._judge(key, record, "", decode=False)
        return outcome.entry if isinstance(outcome, Hit) and not outcome.is_expired else None

    def entries_under(self, prefix: bytes) -> Iterator[Entry]:
        """The entries whose canonical key starts with a prefix, in no order."""
        listing = first(self.store, Listing) if not hasattr(self.store, "tiers") else self.store
        if satisfies(listing, Listing):
            yield from listing.entries(prefix)
            return
        for key in self.store.scan(prefix):
            if (record := self.store.get(key)) is not None:
                yield record.entry()

    # -- keeping ---------------------------------------------------------------------------

    def put_key(self, key: Key, value: object, conditions: Conditions = PLAIN) -> bool:
        """Keep a value; whether a tier took it.

        Raises:
            EncodeError: no codec takes the value.
        """
        if self.is_disabled:
            return False
        if self.asked is not None:
            self.asked(key)
        record = self._valuables.record(key, value, conditions, now_ns=self._clock(), stage=self._stage)
        try:
            self.store.put(key, record)
        except (StoreError, OSError) as error:
            self._refused(error, (key,))
            return False
        finally:
            record.token = None  # what was staged is kept, or not wanted
        self._kept(key)
        return True

    def put_keys(self, items: Mapping[Key, object], conditions: Conditions) -> bool:
        """Keep several values under equal conditions; whether a tier took them."""
        if self.is_disabled:
            return False
        now = self._clock()
        records = {
            key: self._valuables.record(key, value, conditions, now_ns=now) for key, value in items.items()
        }
        try:
            if satisfies(self.store, Batches):
                self.store.put_many(records)
            else:
                for key, record in records.items():
                    self.store.put(key, record)
        except (StoreError, OSError) as error:
            self._refused(error, records)
            return False
        self._counts.puts += len(records)
        self._upkeep.after_put()
        return True

    def put_file_key(self, key: Key, source: Path, conditions: Conditions = PLAIN) -> bool:
        """Keep a file's content as a bytes value: cloned or streamed, never read whole.

        Raises:
            OSError: the file cannot be read.
        """
        if self.is_disabled:
            return False
        files = self.store  # all tiers of it: each keeps its copy
        if not isinstance(files, Files):
            return self.put_key(key, source.read_bytes(), conditions)
        with open(source, "rb"):
            pass  # a missing or unreadable source is the caller's error, not the store's
        now = self._clock()
        expires = FOREVER if conditions.ttl_ns is None else now + conditions.ttl_ns
        entry = Entry(key, bytes(32), 0, created_ns=now, expires_ns=expires, tags=conditions.tags)
        try:
            files.put_file(entry, source)
        except (StoreError, OSError) as error:
            self._refused(error, (key,))
            return False
        self._kept(key)
        return True

    def delete_key(self, key: Key) -> bool:
        """Forget a key; whether there was one."""
        try:
            return self.store.delete(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            return False

    # -- helpers of the rooms above ----------------------------------------------------------

    @property
    def is_read_only(self) -> bool:
        """Whether the tier that lasts takes nothing."""
        tiers = getattr(self.store, "tiers", (self.store,))
        lasting = [tier for tier in tiers if tier.info.is_persistent] or tiers
        return all(tier.info.is_read_only for tier in lasting)

    def keep_budget(self) -> None:
        """See to the budgets of the tiers, after records came by another way than a put."""
        self._upkeep.after_put()

    def files(self) -> Files | None:
        """The tier that keeps files, if any."""
        return first(self.store, Files)

    def after_put(self) -> None:
        """Keep the budgets, for whoever puts into the store itself."""
        self._upkeep.after_put()

    @property
    def observer(self) -> Observer:
        """Looks at files, tools and variables on behalf of this cache."""
        if self._observer is None:
            from vcache.fingerprint.digests import FileDigests
            from vcache.fingerprint.observe import Observer

            self._digests = FileDigests(self.root, backing=self.backing)
            self._observer = Observer(
                self.root, digests=self._digests, entry_digest=self._digest_of, namespace=self.namespace
            )
        return self._observer

    @property
    def backing(self) -> Backing | None:
        """Where what a stat signature tells of a file is remembered across processes."""
        # On this machine only: a signature means nothing on another one, and whoever could answer for
        # one from there could say what any file holds.
        return None if self.is_disabled or self._lasting is None else _DigestMemo(self._lasting)

    @property
    def digests(self) -> FileDigests:
        """Digests of files, remembered by stat signature."""
        _ = self.observer
        assert self._digests is not None
        return self._digests

    # -- inside ----------------------------------------------------------------------------

    def _stage(self, body: Buffer) -> object:
        """Let the tier that can take a large body in while its digest is computed."""
        if self._staging is not None:
            with contextlib.suppress(StoreError, OSError):  # the put will say it
                return self._staging.stage(body)
        return None

    def _judged_value(self, key: Key, record: Record, default: object) -> object:
        outcome = self._judge(key, record, "")
        if isinstance(outcome, Miss) or outcome.is_expired:
            self._counts.misses += 1
            return default
        self.count(outcome)
        return outcome.use()

    def _judge(self, key: Key, record: Record, tier: str, *, decode: bool = True) -> Hit | Miss:
        """Whether a record may be used, and its value."""
        counts, now = self._counts, self._clock()
        try:
            entry = record.entry()
            is_expired = entry.expires_ns != FOREVER and entry.expires_ns <= now
            if is_expired and entry.stale_until_ns <= now:
                counts.expired += 1
                age_s = (now - entry.expires_ns) / 1e9
                return Miss(Reason.EXPIRED, f"its time to live ended {age_s:.1f} s ago", entry=entry)
            if entry.deps and (changed := self.observer.first_stale(entry.deps)) is not None:
                counts.stale += 1
                from vcache.fingerprint.manifest import title  # what was observed may need no manifest

                dep = changed.dep
                words = f"{dep.kind} {title(dep.kind, dep.name)} {changed.reason}"
                return Miss(Reason.STALE, words, dep=dep, entry=entry)
            value = self._valuables.value(record, entry) if decode else None
        except Refused as error:
            self._unreadable(key, error)
            return Miss(Reason.REFUSED, str(error), entry=record.entry())
        except DecodeError as error:
            self._unreadable(key, error)
            return Miss(Reason.CORRUPT, str(error))
        return Hit(tier, entry, value, is_expired)

    def _fetch(self, key: Key) -> tuple[str, Record | None]:
        find = getattr(self.store, "lookup", None)
        if find is not None:
            return find(key) or ("", None)
        return self.store.info.name, self._store_get(key)

    def _digest_of(self, key: Key) -> bytes | None:
        """The content digest of a usable entry, for those that depend on it.

        Each entry is judged once, however many ways lead to it. While it is, it counts as usable:
        entries that depend on each other in a circle are, if nothing else speaks against them.
        """
        known, is_first = self._refs.known, not self._refs.known
        if key in known:
            return known[key]
        try:
            record = self._store_get(key)
            known[key] = None if record is None else record.entry().digest
            entry = self.entry_of(key)
            known[key] = None if entry is None else entry.digest
            return known[key]
        except (DecodeError, StoreError, OSError):
            return None
        finally:
            if is_first:
                known.clear()

    def _unreadable(self, key: Key, error: Exception) -> None:
        """Count a record that is whole and cannot be read back: a class that changed or is not here.

        One that this cache was not opened to read is as it should be, and only told of.

        It stays: another program may read it, and the next put takes its place.
        """
        if not isinstance(error, Refused):
            self._counts.corrupt += 1
        _log().info("%r cannot be read back: %s", key, error)

    def _damaged(self) -> int:
        """How many damaged records the tiers have found."""
        with contextlib.suppress(StoreError, OSError):
            return self.store.counters().corrupt
        return 0

    def _kept(self, key: Key) -> None:
        if key[:1] != b".":  # the cache's own notes are nobody's puts
            self._counts.puts += 1
        self._upkeep.after_put()

    def _refused(self, error: Exception, keys: Iterable[Key]) -> None:
        """A value was not taken: the older one is not what its key stands for any more."""
        self._fault(error)
        if isinstance(error, StoreReadOnly) or getattr(error, "retryable", False):
            return  # nothing can be deleted either, or not without waiting once more
        with contextlib.suppress(StoreError, OSError):
            for key in keys:
                self.store.delete(key)

    def _fault(self, error: Exception) -> None:
        """Count a failure of the store and go on without it.

        Raises:
            StoreClosed: used after `close`: the caller's mistake, and no fault.
        """
        if isinstance(error, StoreClosed):
            raise error
        if isinstance(error, StoreReadOnly) and self.store.info.is_read_only:
            return  # as it was opened
        self._counts.faults += 1
        if not self._has_warned:  # once: a build prints thousands of lines of its own
            self._has_warned = True
            _log().warning("the cache does not serve as it should, work goes on without it: %s", error)


def _nothing(_: Key) -> None:
    return None


class _Refs(threading.local):
    """The digests of entries that were asked for within one judgement, in one thread."""

    def __init__(self) -> None:
        self.known: dict[Key, bytes | None] = {}


def _log() -> Logger:
    return logger("vcache")


class _DigestMemo:
    """Keeps file digests in the cache's own store, so that the next process need not read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        """The remembered value, if any."""
        with contextlib.suppress(StoreError, OSError):
            record = self._store.get(make_key(key, namespace=_DIGESTS))
            return None if record is None else bytes(record.body)
        return None

    def put(self, key: bytes, value: bytes) -> None:
        """Remember a value, if the store can."""
        full = make_key(key, namespace=_DIGESTS)
        head = Entry(full, digest(value), len(value), created_ns=time.time_ns()).encode()
        with contextlib.suppress(StoreError, OSError):
            self._store.put(full, Record(head, value))
