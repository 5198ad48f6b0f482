"""The conformance suite fails for stores that break the contract: each law once, by its own test."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from vcache.entry import Encoding, Entry, Key, Record
from vcache.errors import StoreClosed, StoreError, UsageError
from vcache.hash import digest
from vcache.serialize import unpack
from vcache.store.base import Store, StoreCounters, Watched
from vcache.store.memory import MemoryStore
from vcache.testing import (
    BatchesTests,
    DamageTests,
    FaultyStore,
    ListingTests,
    PresenceTests,
    StoreTests,
    WatchedTests,
    make_record,
)
from vcache.testing.machine import store_machine


class Plain(FaultyStore):
    """The required operations, to be broken one by one."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())


class LosesHeads(Plain):
    def get(self, key: Key) -> Record | None:
        record = super().get(key)
        if record is None:
            return None
        entry = record.entry()
        return Record(Entry(entry.key, entry.digest, entry.size_bytes).encode(), record.body)


class CutsBodies(Plain):
    def get(self, key: Key) -> Record | None:
        record = super().get(key)
        return None if record is None else Record(record.head, bytes(record.body)[: 1 << 20])


class KeepsTheFirst(Plain):
    def put(self, key: Key, record: Record) -> None:
        if self.inner.get(key) is None:
            super().put(key, record)


class KeepsViews(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[Key, Record] = {}

    def put(self, key: Key, record: Record) -> None:
        self.kept[key] = record

    def get(self, key: Key) -> Record | None:
        return self.kept.get(key)


class HandsOutWritable(Plain):
    def get(self, key: Key) -> Record | None:
        record = super().get(key)
        return None if record is None else Record(record.head, bytearray(record.body))


class FoldsCase(Plain):
    def put(self, key: Key, record: Record) -> None:
        super().put(key.lower().replace(b"\0s", b"\0b"), record)

    def get(self, key: Key) -> Record | None:
        return super().get(key.lower().replace(b"\0s", b"\0b"))


class HidesExpired(Plain):
    def get(self, key: Key) -> Record | None:
        record = super().get(key)
        return None if record is None or 0 < record.entry().expires_ns < time.time_ns() else record


class AlwaysDeletes(Plain):
    def delete(self, key: Key) -> bool:
        super().delete(key)
        return True


class NeverDeletes(Plain):
    def delete(self, key: Key) -> bool:
        return self.inner.get(key) is not None


class DeletesByContent(Plain):
    def delete(self, key: Key) -> bool:
        record = self.inner.get(key)
        if record is None:
            return False
        for other in list(self.inner.scan()):
            kept = self.inner.get(other)
            if kept is not None and kept.body == record.body:
                self.inner.delete(other)
        return True


class RaisesOnAbsence(Plain):
    def get(self, key: Key) -> Record | None:
        record = super().get(key)
        if record is None:
            raise KeyError(key)
        return record


class ScansTwice(Plain):
    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        yield from super().scan(prefix)
        yield from super().scan(prefix)


class IgnoresPrefix(Plain):
    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        return super().scan()


class ScansByPosition(Plain):
    """Walks a list that changes under it, as a naive cursor does."""

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        position = 0
        while position < len(keys := sorted(self.inner.scan(prefix))):
            yield keys[position]
            position += 1


class CountsPuts(Plain):
    def counters(self) -> StoreCounters:
        return StoreCounters(entries=self.calls["put"], size_bytes=self.calls["put"])


class TearsRecords(Plain):
    """Publishes the head before the body."""

    def put(self, key: Key, record: Record) -> None:
        older = self.inner.get(key)
        if older is not None:
            super().put(key, Record(record.head, older.body))
            time.sleep(0.001)
        super().put(key, record)


class DeletesFirst(Plain):
    """Has nothing under a key for a moment while it is overwritten."""

    def put(self, key: Key, record: Record) -> None:
        self.inner.delete(key)
        time.sleep(0.001)
        super().put(key, record)


class NeverCloses(Plain):
    def close(self) -> None:
        """Goes on."""


class ClosesOnce(Plain):
    def close(self) -> None:
        if self.calls["close"]:
            raise StoreClosed("closed before")
        super().close()


class HasAnotherPower(Plain):
    def is_current(self, key: Key, token: object) -> bool:
        return True


CASES: list[tuple[type[Plain], Callable[..., None], tuple[object, ...]]] = [
    (LosesHeads, StoreTests.test_every_part_of_a_head_comes_back, ()),
    (LosesHeads, StoreTests.test_a_record_comes_back_as_it_was, (1,)),
    (CutsBodies, StoreTests.test_a_record_comes_back_as_it_was, (5 << 20,)),
    (KeepsTheFirst, StoreTests.test_the_latest_put_wins, ()),
    (KeepsViews, StoreTests.test_a_body_is_any_buffer_and_is_copied, (5000,)),
    (HandsOutWritable, StoreTests.test_a_body_handed_out_cannot_be_written, (3,)),
    (FoldsCase, StoreTests.test_keys_of_every_kind_are_distinct, ()),
    (HidesExpired, StoreTests.test_an_expired_record_is_still_there, ()),
    (AlwaysDeletes, StoreTests.test_absence_is_no_error, ()),
    (AlwaysDeletes, StoreTests.test_delete_forgets, ()),
    (NeverDeletes, StoreTests.test_delete_forgets, ()),
    (NeverDeletes, StoreTests.test_threads_do_not_lose_records, ()),
    (DeletesByContent, StoreTests.test_equal_contents_are_independent, (5000,)),
    (RaisesOnAbsence, StoreTests.test_absence_is_no_error, ()),
    (ScansTwice, StoreTests.test_scan_gives_every_key_once, ()),
    (IgnoresPrefix, StoreTests.test_scan_takes_a_prefix, ()),
    (ScansByPosition, StoreTests.test_scan_bears_changes_meanwhile, ()),
    (CountsPuts, StoreTests.test_counters_count, ()),
    (TearsRecords, StoreTests.test_no_thread_sees_half_a_record, (100,)),
    (DeletesFirst, StoreTests.test_no_thread_sees_half_a_record, (100,)),
    (NeverCloses, StoreTests.test_a_closed_store_says_so, ()),
    (ClosesOnce, StoreTests.test_a_closed_store_says_so, ()),
    (HasAnotherPower, StoreTests.test_every_power_is_tested, ()),
]


_TRIES = 50


@pytest.mark.parametrize(("broken", "law", "arguments"), CASES)
def test_a_broken_store_fails(
    broken: type[Plain], law: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    """The law's own test fails for the store that breaks it, and passes for the one that keeps it."""
    law(StoreTests(), Plain(), *arguments)
    with pytest.raises((AssertionError, KeyError, StoreClosed, pytest.fail.Exception)):  # noqa: PT012
        for _ in range(_TRIES):  # a law about threads may hold by chance once, not every time
            law(StoreTests(), broken(), *arguments)


class TokenStore(MemoryStore):
    """A memory store with the records themselves as tokens."""

    __slots__ = ()

    def get(self, key: Key) -> Record | None:
        record = super().get(key)
        return None if record is None else Record(record.head, record.body, token=record)

    def is_current(self, key: Key, token: object) -> bool:
        return super().get(key) is token


class TrustsKeys(TokenStore):
    """Takes any record of the key for the one of the token."""

    __slots__ = ()

    def is_current(self, key: Key, token: object) -> bool:
        return super().get(key) is not None


class TrustsHeads(TokenStore):
    __slots__ = ()

    def is_current(self, key: Key, token: object) -> bool:
        assert isinstance(token, Record)
        record = super().get(key)
        return record is not None and len(record.head) == len(token.head)


class DropsFromBatches(MemoryStore):
    __slots__ = ()

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        return {key: record for key, record in super().get_many(keys).items() if record.body != b""}


class ListsBodiless(MemoryStore):
    __slots__ = ()

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        return super().entries()


class KnowsPresence(MemoryStore):
    """A memory store that says what it lacks."""

    __slots__ = ()

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        there = set(self.scan())
        return {key for key in keys if key not in there}


class MissesInOrder(KnowsPresence):
    """Thinks that an answer ends with the first key that is there."""

    __slots__ = ()

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        lacks = super().missing(keys)
        return set(itertools.takewhile(lacks.__contains__, keys))


def test_a_store_that_misjudges_presence_fails() -> None:
    """`PresenceTests` pass for a store that keeps the law, and fail for one that does not."""
    PresenceTests().test_what_is_missing_is_told(KnowsPresence())
    PresenceTests().test_missing_takes_any_number_of_keys(KnowsPresence())
    with pytest.raises(AssertionError):
        PresenceTests().test_what_is_missing_is_told(MissesInOrder())


class Unlisted(Plain):
    """Cannot walk its keys, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.info = self.info._replace(is_listed=False, is_trusted=False)

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        raise StoreError("there is no listing")

    def counters(self) -> StoreCounters:
        return StoreCounters(0, 0)


class ListsNothing(Unlisted):
    """Says that it has no listing, and gives an empty one."""

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        return iter(())


@pytest.mark.parametrize(
    "name", sorted(name for name in vars(StoreTests) if "scan" in name or "count" in name)
)
def test_a_store_without_listings_is_a_store(name: str) -> None:
    """What cannot be walked raises, and counts nothing; an empty walk would be a lie."""
    getattr(StoreTests(), name)(Unlisted())
    if "scan" in name:
        with pytest.raises(pytest.fail.Exception):
            getattr(StoreTests(), name)(ListsNothing())


def test_packed_records_are_packed() -> None:
    """A record of an encoding unpacks to what its head says; what does not shrink is refused."""
    for encoding in Encoding:
        record = make_record(b"\0sk", b"content " * 50, encoding=encoding)
        assert unpack(encoding, record.body, size_bytes=400) == b"content " * 50
        assert record.entry().digest == digest(b"content " * 50)
    with pytest.raises(UsageError, match="ZSTD"):
        make_record(b"\0sk", b"x", encoding=Encoding.ZSTD)


def test_broken_powers_fail() -> None:
    """So do the tests of optional protocols."""
    good = TokenStore()
    assert isinstance(good, Watched)
    watched = WatchedTests()
    watched.test_a_token_is_current_until_its_record_changes(good)
    watched.test_a_token_covers_the_body(good, 3)
    watched.test_a_closed_store_watches_nothing(good)
    with pytest.raises(AssertionError):
        watched.test_a_token_is_current_until_its_record_changes(TrustsKeys())
    with pytest.raises(AssertionError):
        watched.test_a_token_covers_the_body(TrustsHeads(), 3)
    with pytest.raises((AssertionError, KeyError)):
        BatchesTests().test_a_batch_is_kept_and_found(DropsFromBatches())
    with pytest.raises(AssertionError):
        ListingTests().test_entries_are_those_of_the_records(ListsBodiless())


def test_served_damage_fails() -> None:
    """A store that returns what was changed behind its back does not pass."""

    class Damaging(DamageTests):
        def damage(self, store: Store, content: bytes) -> None:
            for key in store.scan():
                record = store.get(key)
                if record is not None and record.body == content:
                    store.put(key, Record(record.head, bytes((content[0] ^ 1,)) + content[1:]))

    for law, arguments in (
        (DamageTests.test_a_damaged_record_is_absent, (100,)),
        (DamageTests.test_damage_hits_no_bystander, ()),
        (DamageTests.test_a_damaged_shared_body_is_absent_for_all, ()),
    ):
        with pytest.raises(AssertionError):
            law(Damaging(), MemoryStore(), *arguments)


@pytest.mark.parametrize("broken", [KeepsTheFirst, DeletesByContent, IgnoresPrefix, AlwaysDeletes])
def test_the_machine_finds_broken_stores(broken: type[Plain]) -> None:
    """A store that does not agree with a dict is caught."""
    machine = store_machine(lambda _: broken())
    quick = settings(  # found is enough: shrinking would take most of the time
        max_examples=200, stateful_step_count=15, deadline=None, database=None, phases=[Phase.generate]
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=quick)
