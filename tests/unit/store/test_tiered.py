"""The tiered store: who is asked, who is written, what is believed, what a fault does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from vcache.entry import Encoding, Entry, Key, Record, make_key
from vcache.errors import StoreClosed, StoreError, StoreFull, StoreReadOnly, StoreUnavailable, UsageError
from vcache.hash import digest
from vcache.serialize import pack
from vcache.store.base import Store
from vcache.store.checking import verified
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.store.tiered import TieredStore
from vcache.testing import FaultyStore, make_record

KEY = make_key("k")
RECORD = make_record(KEY)
DOWN = StoreUnavailable("down")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "disk")
    yield store
    store.close()


def remote(**claims: bool) -> FaultyStore:
    """A tier as a network store is: shared, persistent, untrusted, with the required operations only."""
    said = {"is_trusted": False, "is_shared": True, "is_persistent": True} | claims
    return FaultyStore(MemoryStore(), name="remote", **said)


def found(store: TieredStore, key: Key = KEY) -> tuple[str, bytes] | None:
    """The name of the tier that answers, and the body."""
    answer = store.lookup(key)
    return None if answer is None else (answer[0], bytes(answer[1].body))


# -- mirrors -------------------------------------------------------------------------------


def test_a_mirror_is_filled_by_reads(disk: DiskStore) -> None:
    """After a put the watched tier answers, then its copy does."""
    store = TieredStore([MemoryStore(), disk])
    store.put(KEY, RECORD)
    assert found(store) == ("disk", b"content")
    assert found(store) == ("memory", b"content")
    assert store.get(KEY) is store.get(KEY)


def test_a_copy_ends_with_another_objects_put_and_delete(disk: DiskStore) -> None:
    """A mirror serves nothing that its watched tier would not give."""
    memory = MemoryStore()
    store, other = TieredStore([memory, disk]), DiskStore(disk.directory)
    store.put(KEY, RECORD)
    store.get(KEY)
    other.put(KEY, make_record(KEY, b"newer"))
    assert found(store) == ("disk", b"newer")
    assert found(store) == ("memory", b"newer")
    other.delete(KEY)
    assert store.get(KEY) is None
    assert memory.get(KEY) is None
    other.close()


def test_get_many_looks_at_copies_with_the_same_suspicion(disk: DiskStore) -> None:
    """A batch checks each copy as a single get does, and fills the mirror."""
    memory = MemoryStore()
    store, other = TieredStore([memory, disk]), DiskStore(disk.directory)
    keys = [make_key(str(number)) for number in range(3)]
    store.put_many({key: make_record(key) for key in keys})
    assert set(store.get_many(keys)) == set(keys)
    assert set(memory.scan()) == set(keys)
    other.put(keys[0], make_record(keys[0], b"newer"))
    other.delete(keys[1])
    found = store.get_many([*keys, KEY])
    assert {key: record.body for key, record in found.items()} == {keys[0]: b"newer", keys[2]: b"content"}
    other.close()


def test_memory_above_watched_and_plain_tiers(disk: DiskStore) -> None:
    """A record climbs one tier per read where a mirror needs the token of the tier in between."""
    far = remote()
    store = TieredStore([MemoryStore(), disk, far])
    far.inner.put(KEY, RECORD)
    assert [found(store) for _ in range(3)] == [
        ("remote", b"content"),
        ("disk", b"content"),
        ("memory", b"content"),
    ]
    assert far.calls["get"] == 1


def test_a_large_body_is_not_copied_to_memory(disk: DiskStore) -> None:
    """What would push out a quarter of a mirror is served from below."""
    memory = MemoryStore(100_000)
    store = TieredStore([memory, disk])
    store.put(KEY, make_record(KEY, bytes(30_000)))
    store.get(KEY)
    store.get(KEY)
    assert list(memory.scan()) == []


def test_scan_does_not_ask_a_mirror(disk: DiskStore) -> None:
    """A copy of a record that is gone below is not a key of the store."""
    memory = MemoryStore()
    store, other = TieredStore([memory, disk]), DiskStore(disk.directory)
    store.put(KEY, RECORD)
    store.get(KEY)
    other.delete(KEY)
    assert list(memory.scan()) == [KEY]
    assert list(store.scan()) == []
    assert list(store.entries()) == []
    assert store.entry(KEY) is None
    assert store.counters().entries == 1  # the fullest tier's, cheaply: the copy goes with the next get
    store.get(KEY)
    assert store.counters().entries == 0
    other.close()


# -- tiers that own records ------------------------------------------------------------------


def test_a_put_reaches_every_owner_the_last_first() -> None:
    """A reader of an upper tier never sees what a lower one may still refuse."""
    order: list[str] = []

    class Noting(FaultyStore):
        def put(self, key: Key, record: Record) -> None:
            order.append(self.info.name)
            super().put(key, record)

        def delete(self, key: Key) -> bool:
            order.append(f"-{self.info.name}")
            return super().delete(key)

    store = TieredStore([Noting(MemoryStore(), name="upper"), Noting(MemoryStore(), name="lower")])
    store.put(KEY, RECORD)
    store.delete(KEY)
    assert order == ["lower", "upper", "-lower", "-upper"]


def test_a_record_found_below_is_copied_up(disk: DiskStore) -> None:
    """The next reader of the key need not go as far."""
    far = remote()
    far.inner.put(KEY, RECORD)
    store = TieredStore([disk, far])
    store.get(KEY)
    assert disk.get(KEY) is not None
    assert found(store) == ("disk", b"content")


def test_entries_and_keys_of_several_owners_come_once(disk: DiskStore) -> None:
    """A key in two tiers is one key; its entry is that of the tier read first."""
    far, other = remote(is_trusted=True), make_key("only far")
    store = TieredStore([disk, far])
    store.put(KEY, RECORD)
    far.inner.put(KEY, make_record(KEY, b"older below"))
    far.inner.put(other, make_record(other))
    assert sorted(store.scan()) == sorted([KEY, other])
    assert {entry.key: entry.size_bytes for entry in store.entries()} == {KEY: 7, other: 7}
    assert store.entry(other) == make_record(other).entry()


@pytest.mark.parametrize("write", ["put", "delete"])
def test_a_copy_that_overlaps_a_write_is_not_made(write: str) -> None:
    """A reader that found the older record does not put it over what was written meanwhile."""
    upper, lower = MemoryStore(), MemoryStore()
    newer = make_record(KEY, b"newer")

    class Slow(FaultyStore):
        def get(self, key: Key) -> Record | None:
            record = super().get(key)
            if write == "put":
                store.put(KEY, newer)
            else:
                store.delete(KEY)
            return record

    store = TieredStore([upper, Slow(lower)])
    lower.put(KEY, RECORD)
    store.get(KEY)
    assert upper.get(KEY) is (newer if write == "put" else None)


def test_a_copy_that_lands_after_a_write_is_removed() -> None:
    """The write between look and copy wins, although the copy came later."""
    lower = MemoryStore()
    newer = make_record(KEY, b"newer")

    class Late(MemoryStore):
        def put(self, key: Key, record: Record) -> None:
            if record is RECORD:
                store.put(KEY, newer)
            super().put(key, record)

    upper = Late()
    store = TieredStore([upper, lower])
    lower.put(KEY, RECORD)
    store.get(KEY)
    assert store.get(KEY) is newer


# -- trust -----------------------------------------------------------------------------------


def packed(content: bytes, key: Key = KEY, **lies: object) -> Record:
    """A record of a content packed as the cache packs it."""
    encoding, body = pack([content], len(content))
    fields = {"digest": digest(content), "size_bytes": len(content)} | lies
    return Record(Entry(key=key, encoding=encoding, **fields).encode(), body)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"small", b"compressible " * 10_000])
def test_a_sound_record_is_verified(content: bytes) -> None:
    """The digest is that of the unpacked content."""
    record = packed(content)
    assert verified(KEY, record) is record


@pytest.mark.parametrize(
    "record",
    [
        packed(b"content", digest=bytes(32)),
        packed(b"content", size_bytes=6),
        packed(b"compressible " * 10_000, size_bytes=1 << 40),
        packed(b"content", key=make_key("another")),
        Record(RECORD.head, b"Content"),
        Record(RECORD.head, b"content and more"),
        Record(b"no head", b"content"),
        Record(Entry(KEY, digest(b"x"), 1, encoding=Encoding.ZSTD).encode(), b"no frame"),
    ],
)
def test_what_a_tier_makes_up_is_absent(record: Record, disk: DiskStore) -> None:
    """Wrong bytes of an untrusted tier are neither served nor copied, but counted; the next tier is asked."""
    assert verified(KEY, record) is None
    liar, honest = remote(), remote()
    honest.inner.put(KEY, RECORD)
    liar.inner.put(KEY, RECORD)
    liar.tamper = lambda _key, _record: record
    store = TieredStore([disk, liar, honest])
    assert found(store) == ("remote", b"content")
    kept = disk.get(KEY)
    assert kept is not None
    assert kept.body == b"content"
    assert store.counters().corrupt == 1
    disk.delete(KEY)
    assert store.get_many([KEY])[KEY].body == b"content"
    assert store.counters().corrupt == 2


def test_what_a_tier_has_verified_is_not_verified_again() -> None:
    """A tier that compares contents itself is taken at its word."""
    tier = remote()
    tier.info = tier.info._replace(is_verified=True)
    wrong = packed(b"content", digest=bytes(32))
    tier.inner.put(KEY, wrong)
    assert TieredStore([tier]).get(KEY) is wrong
    tier.info = tier.info._replace(is_verified=False)
    assert TieredStore([tier]).get(KEY) is None


@pytest.mark.parametrize("record", [Record(b"no head", b""), make_record(make_key("another"))])
def test_an_entry_that_a_tier_makes_up_is_absent(record: Record) -> None:
    """A head that is none, or another key's, is no entry, and stops no walk."""
    liar = remote()
    liar.inner.put(KEY, RECORD)
    other = make_key("other")
    liar.inner.put(other, make_record(other))
    liar.tamper = lambda key, sound: record if key == KEY else sound
    store = TieredStore([liar])
    assert store.entry(KEY) is None
    assert [entry.key for entry in store.entries()] == [other]


def test_a_single_untrusted_tier_is_checked_too() -> None:
    """The first tier gets no trust for being the first."""
    liar = remote()
    store = TieredStore([liar])
    store.put(KEY, RECORD)
    assert found(store) == ("remote", b"content")
    liar.tamper = lambda _key, _record: Record(RECORD.head, b"Content")
    assert store.get(KEY) is None
    assert store.lookup(KEY) is None


# -- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DOWN, OSError("broken pipe")])
@pytest.mark.parametrize("first", [0, 1])
def test_a_tier_that_fails_to_read_is_passed_over(error: Exception, first: int) -> None:
    """A fault is counted, asked for once, and the next tier answers."""
    bad, good = FaultyStore(MemoryStore(), name="bad"), FaultyStore(MemoryStore(), name="good")
    bad.fail("get", error)
    good.inner.put(KEY, RECORD)
    store = TieredStore([[bad, good], [good, bad]][first])
    for read in (store.get, store.lookup, lambda key: store.get_many([key])):
        assert read(KEY)
    good.inner.delete(KEY)
    bad.calls.clear()
    assert store.get(KEY) is None
    assert bad.calls["get"] == 1
    assert store.counters().faults >= 1


@pytest.mark.parametrize("failing", [0, 1])
def test_a_put_counts_if_one_tier_takes_it(failing: int) -> None:
    """The other's fault is counted and its older record removed, so that it is never served."""
    tiers = [FaultyStore(MemoryStore()), FaultyStore(MemoryStore())]
    store = TieredStore(tiers)
    store.put(KEY, make_record(KEY, b"older"))
    tiers[failing].fail("put", StoreFull("no space"))
    store.put(KEY, RECORD)
    assert tiers[failing].inner.get(KEY) is None
    assert store.counters().faults == 1
    assert found(store) == ("faulty", b"content")


def test_a_put_that_no_tier_takes_raises() -> None:
    """The error is a StoreError, and the older record is intact."""
    for error, raised in ((StoreFull("no space"), StoreFull), (OSError(28, "no space"), StoreError)):
        tiers = [FaultyStore(MemoryStore()), FaultyStore(MemoryStore())]
        store = TieredStore(tiers)
        store.put(KEY, RECORD)
        for tier in tiers:
            tier.fail("put", error)
        with pytest.raises(raised, match="no space"):
            store.put(KEY, make_record(KEY, b"newer"))
        with pytest.raises(raised, match="no space"):
            store.put_many({KEY: make_record(KEY, b"newer")})
        assert found(store)[1] == b"content"  # type: ignore[index]


def test_an_older_record_that_would_hide_the_newer_is_not_hushed_up() -> None:
    """If an upper tier neither takes the newer record nor forgets the older, `put` raises."""
    bad = FaultyStore(MemoryStore())
    store = TieredStore([bad, MemoryStore()])
    store.put(KEY, make_record(KEY, b"older"))
    bad.fail("put", DOWN)
    bad.fail("delete", DOWN)
    with pytest.raises(StoreUnavailable):
        store.put(KEY, RECORD)
    store = TieredStore([MemoryStore(), bad])
    store.put(KEY, RECORD)
    assert found(store)[1] == b"content"  # type: ignore[index]


def test_a_delete_that_a_tier_failed_raises_after_trying_all() -> None:
    """A record that stays would be served: whoever deletes must know."""
    upper, lower = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
    store = TieredStore([upper, lower])
    store.put(KEY, RECORD)
    lower.fail("delete", DOWN)
    with pytest.raises(StoreUnavailable):
        store.delete(KEY)
    assert upper.inner.get(KEY) is None


def test_a_copy_that_cannot_be_made_is_no_failure() -> None:
    """A get is served although no tier above takes its record."""
    upper, lower = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
    store = TieredStore([upper, lower])
    lower.put(KEY, RECORD)
    upper.fail("put", StoreFull("no space"))
    assert store.get(KEY) is not None
    assert store.counters().faults == 1


def test_close_closes_every_tier(disk: DiskStore) -> None:
    """Also if one of them fails to, which is raised at the end."""
    bad = FaultyStore(MemoryStore())
    bad.fail("close", DOWN)
    store = TieredStore([bad, disk])
    with pytest.raises(StoreUnavailable):
        store.close()
    with pytest.raises(StoreClosed):
        disk.get(KEY)
    with pytest.raises(StoreClosed):
        store.get_many([KEY])


# -- read-only tiers -------------------------------------------------------------------------


def test_a_read_only_tier_is_read_and_never_written() -> None:
    """What it has is copied up; puts and deletes pass it by."""
    seed = FaultyStore(MemoryStore(), is_read_only=True)
    seed.inner.put(KEY, make_record(KEY, b"seed"))
    store = TieredStore([MemoryStore(), seed])
    assert store.get(KEY) is not None
    store.put(KEY, RECORD)
    assert found(store)[1] == b"content"  # type: ignore[index]
    assert store.delete(KEY)
    assert found(store)[1] == b"seed"  # type: ignore[index]
    assert seed.calls["put"] == seed.calls["delete"] == 0
    assert not store.info.is_read_only


def test_only_read_only_tiers_make_a_read_only_store(tmp_path: Path) -> None:
    """A mirror does not take what its watched tier does not."""
    with_content = DiskStore(tmp_path)
    with_content.put(KEY, RECORD)
    with_content.close()
    store = TieredStore([MemoryStore(), DiskStore(tmp_path, read_only=True)])
    assert store.info.is_read_only
    writes: list[Callable[[], object]] = [
        lambda: store.put(KEY, RECORD),
        lambda: store.delete(KEY),
        lambda: store.put_many({KEY: RECORD}),
    ]
    for write in writes:
        with pytest.raises(StoreReadOnly):
            write()
    assert [found(store) for _ in range(2)] == [("disk", b"content"), ("memory", b"content")]
    store.close()


def test_a_read_only_tier_must_not_hide_a_writable_one(disk: DiskStore) -> None:
    """The order is refused, with what to do."""
    with pytest.raises(UsageError, match="read-only tiers last"):
        TieredStore([remote(is_read_only=True), disk])


def test_no_tiers_are_refused() -> None:
    """A store of nothing cannot keep anything."""
    with pytest.raises(UsageError, match="at least one"):
        TieredStore([])


# -- what it says of itself ------------------------------------------------------------------


def test_its_properties_follow_from_its_tiers(disk: DiskStore) -> None:
    """Shared and persistent if any tier is; trusted, since it checks the others."""
    store = TieredStore([MemoryStore(), disk, remote()])
    info = store.info
    assert (info.is_shared, info.is_persistent, info.is_trusted, info.is_read_only) == (
        True,
        True,
        True,
        False,
    )
    assert info.url == f"mem:64MiB {disk.info.url} remote:"
    alone = TieredStore([MemoryStore()]).info
    assert (alone.is_shared, alone.is_persistent) == (False, False)


def test_counters_are_of_the_fullest_tier_and_all_events(disk: DiskStore) -> None:
    """Entries are not counted twice; evictions and faults of each tier are."""
    memory = MemoryStore(max_entries=1)
    store = TieredStore([memory, disk])
    for number in range(3):
        key = make_key(str(number))
        store.put(key, make_record(key))
        store.get(key)
    counters = store.counters()
    assert (counters.entries, counters.evicted) == (3, 2)


# -- files -----------------------------------------------------------------------------------


def test_a_file_reaches_every_owner(disk: DiskStore, tmp_path: Path) -> None:
    """The tier with files takes the file, the others its record."""
    far = remote()
    store = TieredStore([MemoryStore(), disk, far])
    source = tmp_path / "source"
    source.write_bytes(b"x" * 300_000)
    entry = store.put_file(RECORD.entry(), source, move=True)
    kept = far.inner.get(KEY)
    assert kept is not None
    assert kept.entry() == entry
    assert kept.body == b"x" * 300_000


def test_a_file_is_fetched_from_below(disk: DiskStore) -> None:
    """`open` and `hold` bring a record to the tier that has files."""
    for use in ("open", "hold"):
        far = remote()
        key = make_key(use)
        far.inner.put(key, make_record(key, b"x" * 300_000))
        store = TieredStore([MemoryStore(), disk, far])
        if use == "open":
            opened = store.open(key)
            assert opened is not None
            with opened[1] as stream:
                assert stream.read() == b"x" * 300_000
        else:
            held = store.hold(key)
            assert held is not None
            assert held.path.read_bytes() == b"x" * 300_000
            held.release()


def test_without_files_bodies_are_streamed_from_memory(tmp_path: Path) -> None:
    """`put_file` and `open` work on any tiers; `hold` has no file to give."""
    store: Store = TieredStore([MemoryStore()])
    assert isinstance(store, TieredStore)
    source = tmp_path / "source"
    source.write_bytes(b"content")
    claimed = Entry(KEY, bytes(32), 99, encoding=Encoding.LZ4)
    entry = store.put_file(claimed, source)
    assert (entry.digest, entry.size_bytes, entry.encoding) == (digest(b"content"), 7, Encoding.IDENTITY)
    opened = store.open(KEY)
    assert opened is not None
    assert (opened[0], opened[1].read()) == (entry, b"content")
    assert store.hold(KEY) is None
    assert source.exists()
    store.put_file(claimed, source, move=True)
    assert not source.exists()


def test_what_another_process_deleted_was_not_there(tmp_path: Path) -> None:
    """A copy that a mirror still holds does not make `delete` say that there was one."""
    near, other = (TieredStore([MemoryStore(), DiskStore(tmp_path / "disk")]) for _ in range(2))
    near.put(KEY, make_record(KEY, b"x"))
    assert other.get(KEY) is not None
    assert near.delete(KEY)
    assert not other.delete(KEY)
    near.close()
    other.close()


# -- tiers of other machines -----------------------------------------------------------------


class Remote(FaultyStore):
    """A far tier that takes batches and says what it lacks, and notes every call."""

    def __init__(self, **claims: bool) -> None:
        said = {"is_trusted": False, "is_shared": True, "is_persistent": True} | claims
        super().__init__(MemoryStore(), name="remote", **said)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        self._enter("get_many")
        return {key: record for key in keys if (record := self.inner.get(key)) is not None}

    def put_many(self, records: Mapping[Key, Record]) -> None:
        self._enter("put_many")
        self.inner.put_many(records)  # type: ignore[attr-defined]

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        self._enter("missing")
        return {key for key in keys if self.inner.get(key) is None}


def test_a_batch_asks_a_far_tier_once_and_is_kept_at_once(tmp_path: Path) -> None:
    """A thousand keys cost one call of the far tier, and one of the tier that keeps what came."""

    class Counted(DiskStore):
        batches = 0

        def put_many(self, records: Mapping[Key, Record]) -> None:
            Counted.batches += 1
            super().put_many(records)

    far, near = Remote(), Counted(tmp_path / "near")
    store = TieredStore([MemoryStore(), near, far])
    keys = [make_key(str(number)) for number in range(1000)]
    far.inner.put_many({key: make_record(key) for key in keys})  # type: ignore[attr-defined]
    assert set(store.get_many([*keys, KEY])) == set(keys)
    assert (far.calls["get_many"], far.calls["get"], Counted.batches) == (1, 0, 1)
    assert (store.fetched, store.fetched_bytes) == (1000, 7000)
    assert set(near.scan()) == set(keys)
    assert set(store.get_many(keys)) == set(keys)
    assert far.calls["get_many"] == 1, "what is near is not asked for again"
    store.close()


def test_what_is_missing_is_asked_tier_by_tier(disk: DiskStore) -> None:
    """A far tier is asked once, for what the near ones lack; one that fails has nothing."""
    far, other = Remote(), make_key("far")
    store = TieredStore([MemoryStore(), disk, far])
    disk.put(KEY, RECORD)
    far.inner.put(other, make_record(other))
    assert store.missing([KEY]) == set()
    assert far.calls["missing"] == 0
    assert store.missing([KEY, other, make_key("no")]) == {make_key("no")}
    assert far.calls["missing"] == 1
    far.fail("missing", DOWN)
    assert store.missing([KEY, other]) == {other}
    assert store.counters().faults == 1


def test_a_far_tier_is_not_walked(disk: DiskStore) -> None:
    """Keys, entries and sizes are those of the tier that lasts here; nothing asks the far one."""
    far = Remote()
    store = TieredStore([MemoryStore(), disk, far])
    far.inner.put(make_key("theirs"), make_record(make_key("theirs")))
    disk.put(KEY, RECORD)
    for operation in ("scan", "get", "get_many", "missing"):
        far.fail(operation, AssertionError(operation))
    assert list(store.scan()) == [KEY]
    assert [entry.key for entry in store.entries()] == [KEY]
    assert store.counters().entries == 1


def test_without_a_near_tier_that_lasts_the_far_one_is_walked() -> None:
    """Memory over a bucket: the keys are the bucket's. One that cannot be listed has none to give."""
    far = Remote()
    far.inner.put(KEY, RECORD)
    assert list(TieredStore([MemoryStore(), far]).scan()) == [KEY]
    far.info = far.info._replace(is_listed=False)
    store = TieredStore([MemoryStore(), far])
    assert list(store.scan()) == []
    assert list(store.entries()) == []
    assert store.counters().entries == 0


def test_a_far_entry_is_fetched_once_with_its_content(disk: DiskStore) -> None:
    """Who looks at an entry wants what it describes: the second look is answered near."""
    far = Remote()
    store = TieredStore([MemoryStore(), disk, far])
    far.inner.put(KEY, RECORD)
    assert store.entry(KEY) == RECORD.entry()
    assert store.get(KEY) is not None
    assert far.calls["get"] == 1


@pytest.mark.parametrize("comes", [True, False])
@pytest.mark.parametrize("has_memory", [True, False])
def test_who_asks_for_a_key_on_its_way_waits_for_it(
    disk: DiskStore, *, comes: bool, has_memory: bool
) -> None:
    """A far tier is asked for a key only if it is not brought near meanwhile."""
    far, asked = Remote(), []
    store = TieredStore([*([MemoryStore()] if has_memory else []), disk, far])
    far.inner.put(KEY, RECORD)

    def arriving(key: Key) -> bool:
        asked.append(key)
        if comes:
            disk.put(key, RECORD)
        return comes

    store.arriving = arriving
    assert found(store) == ("disk" if comes else "remote", b"content")
    assert found(store) is not None
    assert asked == [KEY]
    assert far.calls["get"] == (0 if comes else 1)


def test_a_file_goes_to_a_far_tier_as_a_view(disk: DiskStore, tmp_path: Path) -> None:
    """A large output is mapped, not read into memory, for the tiers below."""
    bodies: list[type] = []

    class Noting(Remote):
        def put(self, key: Key, record: Record) -> None:
            bodies.append(type(record.body))
            super().put(key, record)

    source = tmp_path / "source"
    source.write_bytes(bytes(1 << 20))
    TieredStore([disk, Noting()]).put_file(Entry(KEY, bytes(32), 0), source)
    assert bodies == [memoryview]


def test_keys_are_brought_near_and_only_those_that_are_not(disk: DiskStore) -> None:
    """A far tier is asked once, for what no near tier that lasts has; `fetch` asks it in any case."""
    far, other = Remote(), make_key("other")
    store = TieredStore([MemoryStore(), disk, far])
    for key in (KEY, other):
        far.inner.put(key, make_record(key, b"far"))
    disk.put(KEY, RECORD)
    assert set(store.bring([KEY, other, make_key("no")])) == {other}
    assert far.calls["get_many"] == 1
    assert store.bring([KEY, other]) == {}
    assert found(store) == ("disk", b"content")
    fetched = store.fetch(KEY)
    assert fetched is not None
    assert bytes(fetched.body) == b"far"
    assert found(store) == ("disk", b"far")


def test_what_is_forgotten_near_stays_far(disk: DiskStore) -> None:
    """`forget` leaves other machines what they have; `delete` does not."""
    far = Remote()
    store = TieredStore([MemoryStore(), disk, far])
    store.put(KEY, RECORD)
    store.get(KEY)
    store.forget(KEY)
    assert (disk.get(KEY), far.inner.get(KEY) is None) == (None, False)
    assert store.delete(KEY)
    assert far.inner.get(KEY) is None


def test_nothing_is_written_past_a_read_only_directory(tmp_path: Path) -> None:
    """A far tier below it is read, and not filled with what the directory would hide."""
    DiskStore(tmp_path / "c").close()
    near, far = DiskStore(tmp_path / "c", read_only=True), Remote()
    store = TieredStore([MemoryStore(), near, far])
    far.inner.put(KEY, RECORD)
    assert store.info.is_read_only
    assert found(store) == ("remote", b"content")
    with pytest.raises(StoreReadOnly):
        store.put(make_key("new"), make_record(make_key("new")))
    assert far.calls["put"] == 0
    store.close()
