"""The disk store's own promises, beyond the suite that every store passes."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.crew import in_threads
from vcache.entry import Encoding, Entry, Key, Record, make_key
from vcache.errors import StoreClosed, StoreFull
from vcache.hash import digest
from vcache.store.disk import DiskStore
from vcache.store.disk.index import BLOB, ENTRY, FILE, REF, TOMB, Table, Word
from vcache.testing.records import body_of, make_record

KEY = make_key("name")
SIZES = (10, 9_000, 300_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "cache")
    yield store
    store.close()


def slot_of(store: DiskStore, key: Key, key_at: int = 84) -> int:
    found = store.find(store.current(), key, key_at)
    assert found is not None
    return found[0]


def within(seconds: float, call: Callable[[], object]) -> object:
    """What a call gives, which must come well before the writer lock's deadline."""
    started = time.monotonic()
    try:
        return call()
    finally:
        assert time.monotonic() - started < seconds, "it waited for a lock that it holds itself"


# -- a writer that was killed while the table grew ----------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.put(KEY, make_record(KEY, b"new")),
        lambda store: store.put(KEY, make_record(KEY, body_of(9_000))),
        lambda store: store.delete(KEY),
        lambda store: store.get(KEY),
        lambda store: store.reclaim(),
        lambda store: store.tally([1]),
        lambda store: list(store.scan()),
    ],
)
def test_growth_that_was_cut_off_is_finished_by_whoever_comes(
    store: DiskStore, act: Callable[[DiskStore], object]
) -> None:
    """With the table marked and no new one in place, every operation sets it right and goes on at once."""
    store.put(KEY, make_record(KEY, b"old"))
    store.current().words[Word.STATE] = 1
    (store.directory / "index.new").write_bytes(b"half")
    within(5, lambda: act(store))
    assert store.current().words[Word.STATE] == 0
    assert store.counters().entries <= 1
    store.put(KEY, make_record(KEY, b"newer"))
    found = store.get(KEY)
    assert found is not None
    assert found.body == b"newer"


def test_growth_without_room_leaves_the_old_table(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no larger table can be written, the put fails and everything else goes on."""
    store.put(KEY, make_record(KEY, b"old"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    store.current().words[Word.FILLED] = 600
    with monkeypatch.context() as patch:
        patch.setattr(Table, "write_new", full)
        with pytest.raises(StoreFull):
            store.put(make_key("other"), make_record(make_key("other"), b"x"))
    assert store.current().words[Word.STATE] == 0
    found = store.get(KEY)
    assert found is not None
    assert found.body == b"old"


# -- damage met by a writer ------------------------------------------------------------------------


def damage(store: DiskStore, slot: int) -> None:
    """Flip a bit in the record that a row points to."""
    place = store.current().words[slot + 1]
    fd = os.open(store.segments.path(place >> 32), os.O_RDWR)
    at = (place & (1 << 26) - 1) + 30
    os.pwrite(fd, bytes((os.pread(fd, 1, at)[0] ^ 1,)), at)
    os.close(fd)


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_writer_that_meets_damage_waits_for_nobody(store: DiskStore, size_bytes: int) -> None:
    """Deleting, overwriting, sharing and collecting damaged records takes no lock twice."""
    record = make_record(KEY, body_of(size_bytes))
    shared = b"\0B\0" + record.entry().digest
    for act in (
        lambda: store.delete(KEY),
        lambda: store.put(KEY, record),
        lambda: store.put_many({KEY: record}),
        store.reclaim,
        lambda: list(store.verify(repair=True)),
    ):
        store.put(KEY, record)
        damage(store, slot_of(store, KEY))
        if size_bytes > 4096:
            damage(store, slot_of(store, shared, 0))
        within(5, act)
        store.put(KEY, record)
        found = store.get(KEY)
        assert found is not None
        assert bytes(found.body) == record.body


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("kind", [ENTRY, BLOB, FILE, REF, ENTRY | REF, BLOB | FILE])
def test_kind_bits_that_lie_give_no_wrong_bytes(store: DiskStore, size_bytes: int, kind: int) -> None:
    """Whatever kind a damaged row claims, the record says itself what it is."""
    body = body_of(size_bytes)
    record = make_record(KEY, body)
    store.put(KEY, record)
    words = store.current().words
    words[slot_of(store, KEY) + 1] ^= kind
    if size_bytes > 4096:
        words[slot_of(store, b"\0B\0" + record.entry().digest, 0) + 1] ^= kind
    found = store.get(KEY)
    assert found is None or bytes(found.body) == body
    held = store.hold(KEY)
    assert held is None or held.path.read_bytes() == body
    survey = store.survey()
    store.evict(survey, range(len(survey.ids)))
    store.put(KEY, record)
    store.reclaim()
    list(store.verify(repair=True))
    assert [fault for _, fault in store.verify() if fault] == []
    store.put(KEY, record)
    found = store.get(KEY)
    assert found is not None
    assert bytes(found.body) == body


def test_rows_of_others_are_not_served(store: DiskStore) -> None:
    """A row that points to another key's record, or to a shared body, is passed over."""
    other = make_key("other")
    store.put(KEY, make_record(KEY, b"mine"))
    store.put(other, make_record(other, body_of(9_000)))
    words = store.current().words
    mine = slot_of(store, KEY)
    for slot in (slot_of(store, other), slot_of(store, b"\0B\0" + digest(body_of(9_000)), 0)):
        words[mine + 1] = words[slot + 1]
        assert store.get(KEY) is None
        assert KEY not in list(store.scan())


def test_a_deleted_key_stays_deleted_though_it_had_two_rows(store: DiskStore) -> None:
    """Where damage left two rows of one key, a delete forgets both."""
    store.put(KEY, make_record(KEY, b"older"))
    table = store.current()
    place = table.words[slot_of(store, KEY) + 1]
    tag = table.words[slot_of(store, KEY)]
    table.insert(tag, place, 1, 1, 0)
    assert store.delete(KEY)
    assert store.get(KEY) is None
    assert not store.delete(KEY)


# -- counters --------------------------------------------------------------------------------------


def test_what_was_dropped_by_right_is_not_counted_as_damage(store: DiskStore, tmp_path: Path) -> None:
    """A body evicted or moved under a reader is a plain miss, or a hit, and no corruption."""
    reader = DiskStore(tmp_path / "cache")
    for size in SIZES:
        key = make_key(f"of {size}")
        store.put(key, make_record(key, body_of(size)))
        assert reader.get(key) is not None
    survey = store.survey()
    store.evict(survey, range(len(survey.ids)))
    with store.lock:
        store.new_segment(store.current())
    store.reclaim()
    for size in SIZES:
        assert reader.get(make_key(f"of {size}")) is None
    assert store.counters().corrupt == reader.counters().corrupt == 0
    reader.close()


def test_a_superseded_table_misses_nothing(store: DiskStore, tmp_path: Path) -> None:
    """A reader in the middle of a superseded table, whose segments are gone, looks in the new one."""
    reader = DiskStore(tmp_path / "cache")
    for number in range(20):
        key = make_key(f"entry {number}")
        store.put(key, make_record(key, body_of(9_000, seed=number)))
    old = reader.current()
    with store.lock:
        store.rebuild(store.current())
        store.new_segment(store.current())
    store.reclaim(target_bytes=0)  # nothing is where it was
    reader._table = old
    old.words[Word.STATE] = 0  # as the reader saw it when it began
    for number in range(20):
        key = make_key(f"entry {number}")
        assert store.get(key) is not None
    old.words[Word.STATE] = 1
    for number in range(20):
        assert reader.get(make_key(f"entry {number}")) is not None
    assert reader.counters().corrupt == 0
    reader.close()


def test_totals_wrap_instead_of_failing(store: DiskStore) -> None:
    """Totals that damage made absurd are still added to."""
    store.current().words[Word.LEDGER] = (1 << 64) - 1
    store.tally([2, -1])
    assert store.totals()[:2] == (1, (1 << 64) - 1)


@pytest.mark.parametrize(
    "word", [Word.SEGMENT_BYTES, Word.FILE_BYTES, Word.LIVE_BYTES, Word.TAIL, Word.FILLED]
)
def test_absurd_counters_are_set_right_at_opening(tmp_path: Path, word: int) -> None:
    """A header with impossible numbers is measured anew when the store is opened; entries stay."""
    store = DiskStore(tmp_path / "cache")
    store.put(KEY, make_record(KEY, body_of(300_000)))
    store.current().words[word] = (1 << 64) - 1
    store.close()
    store = DiskStore(tmp_path / "cache")
    assert store.get(KEY) is not None
    assert store.counters().entries == 1
    assert 300_000 < store.disk_bytes() < 600_000
    store.put(make_key("more"), make_record(make_key("more"), b"x"))
    store.close()


# -- closing -----------------------------------------------------------------------------------------


def test_closing_under_busy_threads_is_told_to_all_of_them(tmp_path: Path) -> None:
    """Threads that read and write while the store is closed end with StoreClosed, nothing else."""
    for _ in range(10):
        store = DiskStore(tmp_path / "cache")
        started = threading.Barrier(4)

        def work(number: int, store: DiskStore = store, started: threading.Barrier = started) -> str:
            key = make_key(f"of {number}")
            started.wait()
            if number == 3:
                store.close()
                return "closed"
            try:
                while True:
                    store.put(key, make_record(key, body_of(SIZES[number])))
                    store.get(key)
            except StoreClosed:
                return "closed"

        assert in_threads(4, work) == ["closed"] * 4


def test_a_dropped_store_gives_back_its_descriptors(tmp_path: Path) -> None:
    """A store that nobody closed closes itself when it is dropped."""
    DiskStore(tmp_path / "cache").close()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        store = DiskStore(tmp_path / "cache")
        store.put(KEY, make_record(KEY, b"x"))
        store.get(KEY)
        del store
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# -- files -------------------------------------------------------------------------------------------


def test_streaming_reads_no_more_than_it_is_asked_for(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is opened and held without reading it into memory."""
    store.put(KEY, make_record(KEY, body_of(400_000)))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the whole file was read")

    monkeypatch.setattr(store.blobs, "read", refuse)
    opened = store.open(KEY)
    assert opened is not None
    assert opened[0].size_bytes == 400_000
    with opened[1] as stream:
        assert stream.read(10) == body_of(400_000)[:10]
    held = store.hold(KEY)
    assert held is not None
    assert held.path.stat().st_size == 400_000


def test_one_content_packed_in_two_ways_is_read(store: DiskStore, tmp_path: Path) -> None:
    """Two writers that pack one content differently under one name leave a file that can be read."""
    other = DiskStore(tmp_path / "cache")
    entry = Entry(KEY, digest(b"content"), 7, encoding=Encoding.ZSTD, created_ns=1)
    first, second = body_of(300_000, seed=1), body_of(301_000, seed=2)
    seals = [store._write_blob_file(Record(entry.encode(), body)) for body in (first, second)]
    for writer, body, seal in ((other, second, seals[1]), (store, first, seals[0])):
        with writer.lock:
            writer._put_locked(KEY, Record(entry.encode(), body), seal)
    found = store.get(KEY)
    assert found is not None
    assert bytes(found.body) in (first, second)
    assert store.counters().corrupt == 0
    other.close()


def test_a_body_put_again_replaces_its_damaged_file(store: DiskStore) -> None:
    """A put of a content whose file is damaged writes it anew, though its row is there."""
    record = make_record(KEY, body_of(300_000))
    store.put(KEY, record)
    path = store.blobs.path(record.entry().digest, 0)
    path.chmod(0o644)
    path.write_bytes(bytes(300_000))
    store.put(make_key("other"), make_record(make_key("other"), body_of(300_000)))
    found = store.get(KEY)
    assert found is not None
    assert found.body == record.body


def test_an_entry_of_a_later_version_is_passed_over(store: DiskStore) -> None:
    """A head that this version cannot read hinders neither walks nor look-ups of entries."""
    other = make_key("other")
    store.put(other, make_record(other, b"x"))
    head = bytearray(make_record(KEY, b"y").head)
    head[0] = 9
    store.put(KEY, Record(bytes(head), b"y"))
    assert [entry.key for entry in store.entries()] == [other]
    assert store.entry(KEY) is None
    assert store.current().words[slot_of(store, KEY)] > TOMB
