"""A store made of stores: the fastest first, each below larger or shared by more.

It knows its tiers by their protocols only. What comes from a tier that is not trusted is
checked here, before any other tier or the caller sees it.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from vcache.entry import Encoding, Entry, Key, Record
from vcache.errors import StoreClosed, StoreError, StoreReadOnly, UsageError
from vcache.hash import digest
from vcache.kit.data import replace
from vcache.store.base import Batches, Files, HeldPath, Store, StoreCounters, StoreInfo, Watched, satisfies
from vcache.store.checking import verified
from vcache.store.tiers import (
    counted,
    each_once,
    entries_of,
    entry_of,
    get_each,
    info_of,
    is_far,
    lent,
    mark_foreign,
    missing_in,
    put_each,
    require_read_only_last,
    walked,
    watched_below,
)

__all__ = ["TieredStore"]

_EPOCHS: Final = 256


class _FileStore(Store, Files, Protocol):
    """Both, which Python cannot say without a class."""


class TieredStore:
    """Reads from the first tier that has a record and copies it to those above; writes to all.

    A tier of this process's memory above a `Watched` one is its *mirror*: it is filled by reads
    only, and serves a copy only while the watched tier says that it is current. So another
    process's `put` or `delete` is seen at once, and `scan` need not ask a mirror.

    A tier that fails is counted and passed over. `put` raises only if no tier took the record, or
    if one that is read earlier could neither take it nor forget the older one. `delete` goes from
    the last tier up, so that no reader brings back what is being deleted, and raises what a tier
    raised: a record that stays would be served. Read-only tiers come last and are not written;
    what they hold cannot be deleted and is seen again once nothing above hides it.

    A tier whose bytes come from elsewhere is *far*. Where there is a place that lasts above it, a far
    tier is asked for keys and never walked: `scan`, `entries` and `counters` are of the near tiers.

    Attributes:
        tiers: the stores, in the order they are asked. They are closed with this one.
        is_far: whether one of them is.
        fetched, fetched_bytes: how many records far tiers gave to readers of this process, and their
            bodies' bytes. Concurrent threads may lose a few.
        arriving: told each key before a far tier is asked for it; whether it has come near meanwhile.

    Raises:
        UsageError: there is no tier, or one that is read-only hides one that is not.
    """

    __slots__ = (
        "_corrupt", "_deletable", "_epochs", "_far", "_faults", "_gets", "_is_current", "_is_trusted", "_mirrored",
        "_names", "_next_epoch", "_owners", "_searched_from", "_top_get", "_top_is_current", "_walked", "_writable",
        "arriving", "fetched", "fetched_bytes", "info", "is_far", "tiers",
    )  # fmt: skip

    def __init__(self, tiers: Sequence[Store]) -> None:
        self.tiers: Final = tuple(tiers)
        if not self.tiers:
            raise UsageError("a tiered store needs at least one tier")
        self._gets = [tier.get for tier in self.tiers]
        self._names = [tier.info.name for tier in self.tiers]
        # What a tier has verified itself need not be verified again.
        self._is_trusted = [tier.info.is_trusted or tier.info.is_verified for tier in self.tiers]
        places = range(len(self.tiers))
        # For each tier the place of the watched one that it mirrors, if any, and how to ask that.
        self._mirrored = [watched_below(self.tiers, place) for place in places]
        self._is_current = [
            None if below is None else cast("Watched", self.tiers[below]).is_current
            for below in self._mirrored
        ]
        self._owners = [self.tiers[place] for place in places if self._mirrored[place] is None]
        require_read_only_last(self._owners)
        self._walked = walked(self._owners)
        # Where the first far tier stands; far ones come last, or nothing is gained by the others.
        self._far = next((place for place in places if is_far(self.tiers[place])), len(self.tiers))
        self.is_far = self._far < len(self.tiers)
        if self.is_far:
            mark_foreign(self.tiers[: self._far])
        self.fetched = self.fetched_bytes = 0
        self.arriving: Callable[[Key], bool] | None = None
        # The tiers that can be changed, the last first; with and without the mirrors.
        # What a read-only tier near would hide is not written far.
        is_hidden = any(tier.info.is_read_only and not is_far(tier) for tier in self._owners)
        self._deletable = [
            place
            for place in reversed(places)
            if not self.tiers[place].info.is_read_only and not (is_hidden and is_far(self.tiers[place]))
        ]
        self._writable = [place for place in self._deletable if self._mirrored[place] is None]
        self.info = info_of(self.tiers, is_read_only=not self._writable)
        self._faults = self._corrupt = 0
        # A promotion that overlaps a write of its key is taken back; see `_promote`.
        self._epochs = [0] * _EPOCHS
        self._next_epoch = itertools.count(1).__next__
        # What the fast path needs of the first tier, looked up once.
        top = self.tiers[0]
        self._top_get: Callable[[Key], Record | None] = top.get if self._is_trusted[0] else _nothing
        self._top_is_current = self._is_current[0]
        self._searched_from = 1 if self._is_trusted[0] else 0

    def get(self, key: Key) -> Record | None:
        """The verified record of a key from the first tier that has it, or None."""
        # `lookup` without the pair, written out: this is the hottest path of a warm build.
        try:
            record = self._top_get(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            record = None
        if record is not None:
            is_current = self._top_is_current
            if is_current is None or is_current(key, record.token):
                return record
            self.tiers[0].delete(key)
        found = self._search(key)
        return None if found is None else found[1]

    def near(self, key: Key) -> Record | None:
        """The record of a key if the first tier has it and it is current: no I/O with a memory tier."""
        record = self._top_get(key)
        is_current = self._top_is_current
        return record if record is None or is_current is None or is_current(key, record.token) else None

    def lookup(self, key: Key) -> tuple[str, Record] | None:
        """The name of the tier that had the record, and the record; or None."""
        try:
            record = self._top_get(key)
        except (StoreError, OSError) as error:
            self._fault(error)
            record = None
        if record is not None:
            is_current = self._top_is_current
            if is_current is None or is_current(key, record.token):
                return self._names[0], record
            self.tiers[0].delete(key)
        return self._search(key)

    def put(self, key: Key, record: Record) -> None:
        """Keep a record in every tier that owns records, the last first."""
        self._write((key,), lambda tier: tier.put(key, record))

    def delete(self, key: Key) -> bool:
        """Forget a key in every tier, the last first; whether any had it."""
        if not self._writable:
            raise _read_only(self.info)
        self._open_epoch(key)
        had = False
        failed: Exception | None = None
        for place in self._deletable:
            try:
                is_gone = self.tiers[place].delete(key)
                # A mirror may hold a copy of what another process has deleted.
                had |= is_gone and self._mirrored[place] is None
            except (StoreError, OSError) as error:
                self._fault(error)
                failed = failed or error
        if failed is not None:
            raise _store_error(failed)
        return had

    def forget(self, key: Key) -> None:
        """Forget a key near: what far tiers have may be of use to others."""
        self._open_epoch(key)
        for place in self._deletable:
            if not is_far(self.tiers[place]):
                try:
                    self.tiers[place].delete(key)
                except (StoreError, OSError) as error:
                    self._fault(error)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The verified records of those keys that any tier has; each tier is asked for the rest."""
        return self._get_from(0, keys)

    def fetch(self, key: Key) -> Record | None:
        """The record that far tiers have of a key, which takes the place of any that is near."""
        found = self._search(key, self._far)
        return None if found is None else found[1]

    def bring(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """Copy near what only far tiers have of some keys; what came."""
        missing = set(keys)
        for tier in self._owners:
            if not is_far(tier) and missing:
                missing = missing_in(tier, list(missing))
        return self._get_from(self._far, [key for key in keys if key in missing])

    def _get_from(self, start: int, keys: Sequence[Key]) -> dict[Key, Record]:
        found: dict[Key, Record] = {}
        missing: Sequence[Key] = keys
        for place in range(start, len(self.tiers)):
            epochs = {key: self._epochs[hash(key) % _EPOCHS] for key in missing} if place else {}
            had = self._ask_many(place, missing)
            if had and place:
                self._promote(had, place, epochs)
            found.update(had)
            missing = [key for key in missing if key not in had]
        return found

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that no tier has; each tier is asked for the rest, those that lasts first."""
        missing = set(keys)
        for tier in self._owners:
            try:
                missing = missing_in(tier, list(missing)) if missing else missing
            except (StoreError, OSError) as error:
                self._fault(error)
        return missing

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep all records in every tier that owns records."""

        self._write(records, lambda tier: put_each(tier, records))

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys of the tiers that are walked, each once."""
        if len(self._walked) == 1:
            return self._walked[0].scan(prefix)
        return each_once((key, key) for tier in self._walked for key in tier.scan(prefix))

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        """Walk the entries of the tiers that are walked, of each key the one that is read first."""
        if len(self._walked) == 1:
            return entries_of(self._walked[0], prefix)
        return each_once((entry.key, entry) for tier in self._walked for entry in entries_of(tier, prefix))

    def entry(self, key: Key) -> Entry | None:
        """The entry of a key, from the first tier that has it. One that is far is brought near."""
        for tier in self._owners:
            if is_far(tier):
                # Whoever asks wants the content next: one way there, not two.
                found = self._search(key, self._far)
                return None if found is None else found[1].entry()
            try:
                entry = entry_of(tier, key)
            except (StoreError, OSError) as error:
                self._fault(error)
                continue
            if entry is not None:
                return entry
        return None

    def put_file(self, entry: Entry, source: Path, *, move: bool = False) -> Entry:
        """Keep the content of a file in every tier that owns records; see `Files.put_file`."""
        keeper = self._files()
        key = entry.key
        if keeper is None or keeper.info.is_read_only:
            body = source.read_bytes()
            entry = replace(entry, digest=digest(body), size_bytes=len(body), encoding=Encoding.IDENTITY)
            self.put(key, Record(entry.encode(), body))
            if move:
                source.unlink()
            return entry
        self._open_epoch(key)
        entry = keeper.put_file(entry, source, move=move)
        if len(self._writable) > 1:
            with lent(keeper, entry) as record:
                if record is not None:
                    self._write((key,), lambda tier: None if tier is keeper else tier.put(key, record))
        return entry

    def open(self, key: Key) -> tuple[Entry, BinaryIO] | None:
        """The entry and a stream of its body as stored, or None."""
        files = self._files()
        if files is not None and (opened := files.open(key)) is not None:
            return opened
        record = self.get(key)  # brings it to the tier with files, if there is one
        if record is None:
            return None
        opened = None if files is None else files.open(key)
        return opened or (record.entry(), io.BytesIO(record.body))

    def hold(self, key: Key) -> HeldPath | None:
        """The body of a record as a verified read-only file; None too if no tier has files."""
        files = self._files()
        if files is None:
            return None
        return files.hold(key) or (files.hold(key) if self.get(key) is not None else None)

    def counters(self) -> StoreCounters:
        """What the fullest tier holds, and what happened to any."""
        return counted(self.tiers, self._walked, corrupt=self._corrupt, faults=self._faults)

    def close(self) -> None:
        """Close every tier, also if one of them fails to. May be called again."""
        failed: Exception | None = None
        for tier in self.tiers:
            try:
                tier.close()
            except (StoreError, OSError) as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _search(self, key: Key, start: int = -1, end: int | None = None) -> tuple[str, Record] | None:
        """The first tier's name and record that can be had, copied to the tiers above.

        Args:
            start, end: the places of the first tier that is asked, and of the first that is not.
        """
        epoch = self._epochs[hash(key) % _EPOCHS]
        start = self._searched_from if start < 0 else start
        for place in range(start, len(self.tiers) if end is None else end):
            if place == self._far and self.arriving is not None and self.arriving(key):
                near = self._search(key, 0, place)
                if near is not None:
                    return near
            try:
                record = self._gets[place](key)
            except (StoreError, OSError) as error:
                self._fault(error)
                continue
            if record is not None and (record := self._served(place, key, record)) is not None:
                if place >= self._far:
                    self._count_fetched((record,))
                self._promote({key: record}, place, {key: epoch})
                return self._names[place], record
        return None

    def _ask_many(self, place: int, keys: Sequence[Key]) -> Mapping[Key, Record]:
        tier = self.tiers[place]
        if not keys:
            return {}
        try:
            had = tier.get_many(keys) if satisfies(tier, Batches) else get_each(tier, keys)
        except (StoreError, OSError) as error:
            self._fault(error)
            return {}
        if self._mirrored[place] is not None or not self._is_trusted[place]:
            had = {key: record for key in had if (record := self._served(place, key, had[key])) is not None}
        if place >= self._far:
            self._count_fetched(had.values())
        return had

    def _served(self, place: int, key: Key, record: Record) -> Record | None:
        """A record if it is current, where its tier mirrors another, and sound, where it is not trusted."""
        is_current = self._is_current[place]
        if is_current is not None and not is_current(key, record.token):
            self.tiers[place].delete(key)
            return None
        if self._is_trusted[place]:
            return record
        checked = verified(key, record)
        if checked is None:
            self._corrupt += 1
        return checked

    def _promote(self, records: Mapping[Key, Record], place: int, epochs: Mapping[Key, int]) -> None:
        """Copy records to the tiers above the one that had them, in one batch a tier.

        A mirror takes only what its watched tier gave, for the token. A `put` or `delete` of this
        process that began since the record was read opened another epoch: what was copied over
        its outcome is removed again. A lock would have to be held while tiers do I/O.
        """
        now = self._epochs
        for above in range(place - 1, -1, -1):
            tier, mirrored = self.tiers[above], self._mirrored[above]
            try:
                if mirrored == place:
                    put_each(tier, records)
                elif above in self._writable:
                    fresh = {
                        key: record
                        for key, record in records.items()
                        if now[hash(key) % _EPOCHS] == epochs[key]
                    }
                    put_each(tier, fresh)
                    for key in fresh:
                        if now[hash(key) % _EPOCHS] != epochs[key]:
                            tier.delete(key)
            except (StoreError, OSError) as error:
                self._fault(error)

    def _write(self, keys: Iterable[Key], put: Callable[[Store], None]) -> None:
        """Let every tier that owns records take something, the last first."""
        for key in keys:
            self._open_epoch(key)
        failed: dict[int, Exception] = {}
        for place in self._writable:
            try:
                put(self.tiers[place])
            except (StoreError, OSError) as error:
                self._fault(error)
                failed[place] = error
        if len(failed) == len(self._writable):
            raise _store_error(next(iter(failed.values()))) if failed else _read_only(self.info)
        if failed:
            self._forget_older(keys, failed)

    def _forget_older(self, keys: Iterable[Key], failed: Mapping[int, Exception]) -> None:
        """Delete the older records where the newer were not taken, so that they are not served."""
        took = min(place for place in self._writable if place not in failed)
        for place, first_error in failed.items():
            try:
                for key in keys:
                    self.tiers[place].delete(key)
            except (StoreError, OSError) as error:
                self._fault(error)
                if place < took:
                    raise _store_error(first_error) from error

    def _files(self) -> _FileStore | None:
        """The first tier that owns records and has files."""
        return cast(
            "_FileStore | None", next((tier for tier in self._owners if satisfies(tier, Files)), None)
        )

    def _open_epoch(self, key: Key) -> None:
        self._epochs[hash(key) % _EPOCHS] = self._next_epoch()

    def _count_fetched(self, records: Iterable[Record]) -> None:
        for record in records:
            self.fetched += 1
            self.fetched_bytes += memoryview(record.body).nbytes

    def _fault(self, error: Exception) -> None:
        """Count a tier's failure; a closed tier is the caller's misuse and raised."""
        if isinstance(error, StoreClosed):
            raise error
        # CPython switches threads at calls and jumps only: this adds without a lock.
        self._faults += 1


def _nothing(_: Key) -> None:
    return None


def _store_error(error: Exception) -> StoreError:
    """A tier's failure as the error of a store."""
    if isinstance(error, StoreError):
        return error
    wrapped = StoreError(f"a tier failed: {error}")
    wrapped.__cause__ = error
    return wrapped


def _read_only(info: StoreInfo) -> StoreReadOnly:
    return StoreReadOnly(f"no tier of {info.url!r} takes writes")
