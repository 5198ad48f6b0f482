"""Tests of what a store may do beyond the required: one class per optional protocol, to inherit from.

`PersistentTests` and `DamageTests` belong to stores that keep records on a medium.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from vcache.entry import Encoding, Entry, Record, make_key
from vcache.errors import StoreClosed, StoreError
from vcache.hash import digest
from vcache.store.base import (
    Batches,
    Collectable,
    Files,
    Listing,
    Presence,
    Store,
    Survey,
    Verifiable,
    Watched,
)
from vcache.testing.expect import expect_entries, expect_keys
from vcache.testing.records import SIZES, body_of, make_record, named

__all__ = [
    "BatchesTests",
    "CollectableTests",
    "DamageTests",
    "FilesTests",
    "ListingTests",
    "PersistentTests",
    "PresenceTests",
    "VerifiableTests",
    "WatchedTests",
]

_KINDS = (3, 5000, 300_000)
"""Sizes of bodies that a store may keep in three ways."""


class WatchedStore(Store, Watched, Protocol):
    """A store that is Watched."""


class BatchStore(Store, Batches, Protocol):
    """A store that takes batches."""


class PresenceStore(Store, Presence, Protocol):
    """A store that says what it lacks."""


class ListingStore(Store, Listing, Protocol):
    """A store that lists entries."""


class FileStore(Store, Files, Protocol):
    """A store whose bodies can be files."""


class CollectableStore(Store, Collectable, Protocol):
    """A store that can be collected."""


class VerifiableStore(Store, Verifiable, Protocol):
    """A store that can examine itself."""


class WatchedTests:
    """A token says whether a copy of a record is still what `get` would give."""

    def test_a_token_is_current_until_its_record_changes(self, store: WatchedStore) -> None:
        """Another put or a delete of the key ends it; other keys do not."""
        key, record = named("watched")
        store.put(key, record)
        first = _got(store, key).token
        assert store.is_current(key, first)
        store.put(*named("other"))
        store.delete(named("other")[0])
        assert store.is_current(key, first)
        store.put(key, make_record(key, b"newer"))
        assert not store.is_current(key, first)
        second = _got(store, key).token
        assert store.is_current(key, second)
        store.delete(key)
        assert not store.is_current(key, second)
        store.put(key, make_record(key, b"newest"))
        assert not store.is_current(key, first)
        assert not store.is_current(key, second)

    @pytest.mark.parametrize("size_bytes", _KINDS)
    def test_a_token_covers_the_body(self, store: WatchedStore, size_bytes: int) -> None:
        """A put that changes nothing but the body ends a token, however the body is kept."""
        key = make_key("body")
        for seed in range(5):
            store.put(key, make_record(key, body_of(size_bytes, seed=seed)))
            token = _got(store, key).token
            store.put(key, make_record(key, body_of(size_bytes, seed=seed + 1)))
            assert not store.is_current(key, token)

    def test_a_closed_store_watches_nothing(self, store: WatchedStore) -> None:
        """After `close` asking raises StoreClosed."""
        key, record = named("k")
        store.put(key, record)
        token = _got(store, key).token
        store.close()
        with pytest.raises(StoreClosed):
            store.is_current(key, token)


class BatchesTests:
    """A batch is the same as its parts."""

    def test_a_batch_is_kept_and_found(self, store: BatchStore) -> None:
        """`put_many` keeps all, `get_many` finds those that are there, at every size."""
        records = {make_key(str(size)): make_record(make_key(str(size)), body_of(size)) for size in SIZES}
        store.put_many(records)
        absent = make_key("absent")
        found = store.get_many([*records, absent])
        assert set(found) == set(records)
        for key, record in records.items():
            assert found[key].head == record.head
            assert found[key].body == record.body
            assert _got(store, key).body == record.body

    def test_a_batch_overwrites(self, store: BatchStore) -> None:
        """A batch takes the place of what single puts kept, and is asked for keys more than once."""
        key, record = named("k")
        store.put(key, make_record(key, b"older"))
        store.put_many({key: record})
        assert store.get_many([key, key])[key].body == record.body

    def test_an_empty_batch_is_nothing(self, store: BatchStore) -> None:
        """No keys, no records."""
        store.put_many({})
        assert dict(store.get_many([])) == {}
        expect_entries(store, 0)

    def test_a_closed_store_takes_no_batch(self, store: BatchStore) -> None:
        """After `close` batches raise StoreClosed."""
        key, record = named("k")
        store.close()
        with pytest.raises(StoreClosed):
            store.get_many([key])
        with pytest.raises(StoreClosed):
            store.put_many({key: record})


class PresenceTests:
    """What is missing is exactly what `get` does not find."""

    def test_what_is_missing_is_told(self, store: PresenceStore) -> None:
        """Of keys that are there, were deleted, and never were: the last two; and so again after a put."""
        there, gone, absent = ([named(f"{word} {n}") for n in range(20)] for word in ("there", "gone", "no"))
        large = make_key("x" * 5000)
        store.put(large, make_record(large, body_of(300_000)))
        for key, record in there + gone:
            store.put(key, record)
        for key, _ in gone:
            store.delete(key)
        asked = [key for pairs in (gone, there, absent) for key, _ in pairs] + [large, make_key("y" * 5000)]
        expected = {key for key, _ in gone + absent} | {make_key("y" * 5000)}
        assert set(store.missing(asked)) == expected
        assert {key for key in asked if store.get(key) is None} == expected
        for key, record in gone:
            store.put(key, record)
        assert set(store.missing(asked)) == expected - {key for key, _ in gone}

    def test_missing_takes_any_number_of_keys(self, store: PresenceStore) -> None:
        """None, one twice, and thousands."""
        key, record = named("k")
        assert set(store.missing([])) == set()
        assert set(store.missing([key, key])) == {key}
        store.put(key, record)
        assert set(store.missing([key, key])) == set()
        many = [make_key(f"many {number}") for number in range(3000)]
        assert set(store.missing([*many, key])) == set(many)

    def test_a_closed_store_misses_nothing(self, store: PresenceStore) -> None:
        """After `close` asking raises StoreClosed."""
        store.close()
        with pytest.raises(StoreClosed):
            store.missing([make_key("k")])


class ListingTests:
    """Entries can be had without their bodies."""

    def test_entries_are_those_of_the_records(self, store: ListingStore) -> None:
        """Every key's latest entry, once; with a prefix, those whose key starts with it."""
        records = dict(named(f"{letter}{number}") for letter in "ab" for number in range(50))
        large = make_key("large")
        records[large] = make_record(large, body_of(300_000), tags=frozenset({"t"}))
        for key, record in records.items():
            store.put(key, make_record(key, b"older"))
            store.put(key, record)
        store.put(*named("gone"))
        store.delete(named("gone")[0])
        listed = list(store.entries())
        assert len(listed) == len(records)
        assert {entry.key: entry for entry in listed} == {
            key: record.entry() for key, record in records.items()
        }
        prefix = make_key("a1")
        assert {entry.key for entry in store.entries(prefix)} == {
            key for key in records if key.startswith(prefix)
        }

    @pytest.mark.parametrize("size_bytes", _KINDS)
    def test_one_entry_can_be_had(self, store: ListingStore, size_bytes: int) -> None:
        """`entry` is what `get` would give, without the body; None for an unknown key."""
        key = make_key("k")
        record = make_record(key, body_of(size_bytes))
        store.put(key, record)
        assert store.entry(key) == record.entry()
        assert store.entry(make_key("absent")) is None
        store.delete(key)
        assert store.entry(key) is None

    def test_a_closed_store_lists_nothing(self, store: ListingStore) -> None:
        """After `close` listing raises StoreClosed."""
        store.close()
        with pytest.raises(StoreClosed):
            list(store.entries())
        with pytest.raises(StoreClosed):
            store.entry(make_key("k"))


class FilesTests:
    """Bodies come and go as files."""

    @pytest.mark.parametrize(
        ("size_bytes", "move"), [(size, False) for size in SIZES] + [(size, True) for size in _KINDS]
    )
    def test_a_file_is_kept(self, store: FileStore, tmp_path: Path, size_bytes: int, move: bool) -> None:
        """`put_file` keeps a file's content, and says its true digest and size."""
        key, content = make_key("file"), body_of(size_bytes)
        source = _file(tmp_path, content)
        claimed = Entry(key=key, digest=b"?" * 32, size_bytes=7, encoding=Encoding.LZ4, meta={"k": "v"})
        entry = store.put_file(claimed, source, move=move)
        assert entry == replace(
            claimed, digest=digest(content), size_bytes=size_bytes, encoding=Encoding.IDENTITY
        )
        record = _got(store, key)
        assert record.entry() == entry
        assert record.body == content
        assert move or source.read_bytes() == content

    @pytest.mark.parametrize("size_bytes", _KINDS)
    def test_what_was_kept_does_not_change_with_its_source(
        self, store: FileStore, tmp_path: Path, size_bytes: int
    ) -> None:
        """Writing to the source after `put_file` does not reach the store."""
        key, content = make_key("file"), body_of(size_bytes)
        source = _file(tmp_path, content)
        store.put_file(_entry("file"), source)
        with source.open("r+b") as file:
            file.write(b"XXX")
        assert _got(store, key).body == content

    def test_a_missing_source_changes_nothing(self, store: FileStore, tmp_path: Path) -> None:
        """`put_file` of a file that is not there raises, and the older record is intact."""
        key, record = named("k")
        store.put(key, record)
        with pytest.raises((OSError, StoreError)):
            store.put_file(record.entry(), tmp_path / "missing")
        assert _got(store, key).body == record.body

    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_a_body_can_be_streamed(self, store: FileStore, size_bytes: int) -> None:
        """`open` gives the entry and a stream of the body as stored."""
        key, content = make_key("streamed"), body_of(size_bytes)
        record = make_record(key, content)
        store.put(key, record)
        opened = store.open(key)
        assert opened is not None
        entry, stream = opened
        assert entry == record.entry()
        with stream:
            first = stream.read(10)
            assert first == content[:10]
            assert first + stream.read() == content

    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_a_body_can_be_held_as_a_file(self, store: FileStore, size_bytes: int) -> None:
        """`hold` gives a file with the body that nobody is invited to write to."""
        key, content = make_key("held"), body_of(size_bytes)
        store.put(key, make_record(key, content))
        held = store.hold(key)
        assert held is not None
        assert held.path.read_bytes() == content
        assert not stat.S_IMODE(held.path.stat().st_mode) & 0o222
        held.release()
        held.release()

    def test_a_held_file_outlives_its_record(self, store: FileStore) -> None:
        """Until it is released, a held file stays whatever happens to its key."""
        key, content = make_key("held"), body_of(300_000)
        store.put(key, make_record(key, content))
        held = store.hold(key)
        assert held is not None
        store.delete(key)
        if isinstance(store, Collectable):
            survey = store.survey()
            store.evict(survey, range(len(survey.ids)))
            store.reclaim()
        assert held.path.read_bytes() == content
        held.release()
        assert store.get(key) is None

    def test_absence_is_no_file(self, store: FileStore) -> None:
        """An unknown key gives None; so does `hold` of a packed body, which is no file's content."""
        assert store.open(make_key("absent")) is None
        assert store.hold(make_key("absent")) is None
        key = make_key("packed")
        store.put(key, make_record(key, body_of(300_000) + bytes(300_000), encoding=Encoding.LZ4))
        assert store.hold(key) is None

    def test_a_closed_store_has_no_files(self, store: FileStore, tmp_path: Path) -> None:
        """After `close` files raise StoreClosed."""
        store.put(*named("k"))
        store.close()
        with pytest.raises(StoreClosed):
            store.put_file(_entry("file"), _file(tmp_path, b"content"))
        with pytest.raises(StoreClosed):
            store.open(named("k")[0])
        with pytest.raises(StoreClosed):
            store.hold(named("k")[0])


class CollectableTests:
    """A janitor can see all rows, drop them, and have the space back."""

    def test_a_survey_tells_what_is_there(self, store: CollectableStore) -> None:
        """One row per entry, with its flags, expiry and use; all columns of one length."""
        before = {named(f"plain {number}")[0]: named(f"plain {number}")[1] for number in range(5)}
        key = make_key("pinned")
        before[key] = make_record(key, is_pinned=True, expires_ns=4_000_000_000 * 10**9)
        for name, record in before.items():
            store.put(name, record)
        survey = store.survey()
        columns = (
            survey.ids, survey.used_ns, survey.expires_s, survey.size_bytes, survey.is_pinned, survey.is_entry,
        )  # fmt: skip
        assert len({len(column) for column in columns}) == 1
        assert sum(survey.is_entry) == len(before)
        assert sum(survey.is_pinned) == 1
        assert sorted(survey.expires_s)[-2:] == [0, 4_000_000_000]
        assert survey.expires_s[list(survey.is_pinned).index(1)] == 4_000_000_000
        assert all(size > 0 for size in survey.size_bytes)
        assert all(used > 0 for used in survey.used_ns)

    @pytest.mark.parametrize("size_bytes", _KINDS)
    def test_evicted_rows_are_absent(self, store: CollectableStore, size_bytes: int) -> None:
        """Dropping every row empties the store and says how many entries went."""
        keys = [make_key(str(number)) for number in range(10)]
        for seed, key in enumerate(keys):
            store.put(key, make_record(key, body_of(size_bytes, seed=seed)))
        survey = store.survey()
        entries = [row for row, is_entry in enumerate(survey.is_entry) if is_entry]
        assert store.evict(survey, entries) == len(keys)
        assert [store.get(key) for key in keys] == [None] * len(keys)
        expect_keys(store, [])
        expect_entries(store, 0)
        assert store.evict(survey, entries) == 0

    def test_the_least_recently_used_can_be_told(self, store: CollectableStore) -> None:
        """A `get` makes a row younger than those that were put or used before."""
        pairs = [named(f"k{number}") for number in range(4)]
        for key, record in pairs:
            store.put(key, record)
        oldest = pairs[0][0]
        assert store.get(oldest) is not None
        survey = store.survey()
        row = max(range(len(survey.ids)), key=survey.used_ns.__getitem__)
        store.evict(survey, [other for other in range(len(survey.ids)) if other != row])
        assert list(store.scan()) == [oldest]

    @pytest.mark.parametrize("size_bytes", _KINDS)
    def test_a_row_touched_since_the_survey_stays(self, store: CollectableStore, size_bytes: int) -> None:
        """What was read or put after the survey is not dropped by it."""
        read, put, idle = (make_key(name) for name in ("read", "put", "idle"))
        for seed, key in enumerate((read, put, idle)):
            store.put(key, make_record(key, body_of(size_bytes, seed=seed)))
        survey = store.survey()
        assert store.get(read) is not None
        newer = body_of(size_bytes, seed=9)
        store.put(put, make_record(put, newer))
        store.evict(survey, range(len(survey.ids)))
        assert store.get(idle) is None
        assert _got(store, read).body == body_of(size_bytes, seed=0)
        assert _got(store, put).body == newer

    def test_reclaim_gives_space_back(self, store: CollectableStore) -> None:
        """After most of 8 MB was deleted, the store takes far less, and what is left is whole."""
        keys = [make_key(str(number)) for number in range(80)]
        for seed, key in enumerate(keys):
            store.put(key, make_record(key, body_of(100_000, seed=seed)))
        full_bytes = store.disk_bytes()
        assert full_bytes > 8_000_000
        for key in keys[8:]:
            store.delete(key)
        assert store.reclaim() > 0
        assert store.disk_bytes() < full_bytes / 3
        for seed, key in enumerate(keys[:8]):
            assert _got(store, key).body == body_of(100_000, seed=seed)

    def test_reclaim_keeps_every_record(self, store: CollectableStore) -> None:
        """Whatever is moved to reclaim space, each record is found afterwards."""
        records = dict(named(f"k{number}") for number in range(500))
        for key, record in records.items():
            store.put(key, make_record(key, body_of(3000)))
            store.put(key, record)
        for size_bytes in _KINDS:
            key = make_key(str(size_bytes))
            records[key] = make_record(key, body_of(size_bytes))
            store.put(key, records[key])
        store.reclaim(target_bytes=0)
        assert set(store.scan()) == set(records)
        assert all(_got(store, key).body == record.body for key, record in records.items())

    def test_nothing_to_collect_is_fine(self, store: CollectableStore) -> None:
        """An empty store has an empty survey."""
        survey: Survey = store.survey()
        assert len(survey.ids) == 0
        assert store.evict(survey, []) == 0
        assert store.reclaim() == 0


class PersistentTests:
    """Records outlive the object that put them.

    A subclass provides a fixture `reopen`: a callable that gives another store over the same
    place, closed by the fixture.
    """

    def test_records_outlive_the_store_object(self, store: Store, reopen: Callable[[], Store]) -> None:
        """What was put is there after closing and opening, what was deleted is not."""
        records = {make_key(str(size)): make_record(make_key(str(size)), body_of(size)) for size in SIZES}
        for key, record in records.items():
            store.put(key, record)
        store.put(*named("gone"))
        store.delete(named("gone")[0])
        store.close()
        again = reopen()
        expect_keys(again, records)
        expect_entries(again, len(records))
        for key, record in records.items():
            assert _got(again, key).head == record.head
            assert _got(again, key).body == record.body

    def test_two_stores_on_one_place_agree(self, store: Store, reopen: Callable[[], Store]) -> None:
        """What one puts or deletes, the other one sees at once."""
        other = reopen()
        key, record = named("k")
        assert other.get(key) is None
        store.put(key, record)
        copy = _got(other, key)
        assert copy.body == record.body
        other.put(key, make_record(key, b"newer"))
        assert _got(store, key).body == b"newer"
        store.delete(key)
        assert other.get(key) is None
        for number in range(200):
            (store, other)[number % 2].put(*named(f"both {number}"))
        both = {named(f"both {number}")[0] for number in range(200)}
        expect_keys(store, both)
        expect_keys(other, both)

    def test_a_copy_is_stale_when_another_store_writes(
        self, store: Store, reopen: Callable[[], Store]
    ) -> None:
        """What one store object serves from a copy ends with another's put, and with its delete."""
        other = reopen()
        key, record = named("k")
        store.put(key, record)
        for _ in range(3):  # long enough for any copy to have been made
            assert _got(store, key).body == record.body
        other.put(key, make_record(key, b"newer"))
        assert [_got(store, key).body for _ in range(3)] == [b"newer"] * 3
        other.delete(key)
        assert store.get(key) is None

    def test_the_address_opens_it_again(self, store: Store, reopen: Callable[[], Store]) -> None:
        """`info.url` is the same for every object on one place."""
        assert reopen().info.url == store.info.url


class DamageTests:
    """Damage on the medium is a miss.

    A subclass overrides `damage`.
    """

    def damage(self, store: Store, content: bytes) -> None:
        """Change a bit wherever the medium of a store holds a body, behind the store's back."""
        raise AssertionError(f"override {type(self).__name__}.damage to flip a bit of the stored content")

    @pytest.mark.parametrize("size_bytes", [100, 5000, 300_000, 5 << 20])
    def test_a_damaged_record_is_absent(self, store: Store, size_bytes: int) -> None:
        """Wrong bytes are never returned and raise nothing: absent, counted, out of sight, replaceable."""
        key, content = make_key("damaged"), body_of(size_bytes)
        store.put(key, make_record(key, content))
        store.put(*named("sound"))
        self.damage(store, content)
        assert store.get(key) is None
        assert store.get(key) is None
        assert store.counters().corrupt >= 1
        expect_keys(store, [named("sound")[0]])
        assert _got(store, named("sound")[0]).body == named("sound")[1].body
        store.put(key, make_record(key, content))
        assert _got(store, key).body == content

    def test_damage_hits_no_bystander(self, store: Store) -> None:
        """Records beside a damaged one are still found, also in one batch."""
        pairs = [named(f"k{number}") for number in range(20)]
        for key, record in pairs:
            store.put(key, record)
        self.damage(store, bytes(pairs[7][1].body))
        found = {key for key, _ in pairs if store.get(key) is not None}
        assert found == {key for key, _ in pairs} - {pairs[7][0]}
        if isinstance(store, Batches):
            assert set(store.get_many([key for key, _ in pairs])) == found

    def test_a_damaged_shared_body_is_absent_for_all(self, store: Store) -> None:
        """Keys that share a damaged body all miss; putting one of them heals that one."""
        content = body_of(300_000)
        keys = [make_key("one"), make_key("two")]
        for key in keys:
            store.put(key, make_record(key, content))
        self.damage(store, content)
        assert [store.get(key) for key in keys] == [None, None]
        store.put(keys[0], make_record(keys[0], content))
        assert _got(store, keys[0]).body == content


class VerifiableTests(DamageTests):
    """A store examines all it holds against the BLAKE3 digests."""

    def test_a_sound_store_is_found_sound(self, store: VerifiableStore) -> None:
        """Every key is reported, none with a complaint."""
        keys = [make_key(str(size)) for size in SIZES]
        for key, size in zip(keys, SIZES, strict=True):
            store.put(key, make_record(key, body_of(size)))
        seen = list(store.verify())
        assert {key for key, _ in seen if key is not None} == set(keys)
        assert [complaint for _, complaint in seen if complaint is not None] == []

    @pytest.mark.parametrize("size_bytes", [100, 5000, 300_000])
    @pytest.mark.parametrize("repair", [False, True])
    def test_damage_is_found(self, store: VerifiableStore, size_bytes: int, repair: bool) -> None:
        """What is wrong is reported; repaired, the store is sound and the rest still there."""
        key, content = make_key("damaged"), body_of(size_bytes)
        store.put(key, make_record(key, content))
        store.put(*named("sound"))
        self.damage(store, content)
        complaints = [complaint for _, complaint in store.verify(repair=repair) if complaint is not None]
        assert complaints
        assert all(complaints)
        if repair:
            assert [complaint for _, complaint in store.verify() if complaint is not None] == []
        assert store.get(key) is None
        assert _got(store, named("sound")[0]).body == named("sound")[1].body


def _got(store: Store, key: bytes) -> Record:
    record = store.get(key)
    assert record is not None, f"{key!r:.60} is absent"
    return record


def _file(directory: Path, content: bytes) -> Path:
    path = directory / "source.bin"
    path.write_bytes(content)
    return path


def _entry(name: str) -> Entry:
    return Entry(key=make_key(name), digest=bytes(32), size_bytes=0)
