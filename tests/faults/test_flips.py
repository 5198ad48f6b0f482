"""Flipped bits: in records, in shared bodies, in blob files, all over the index."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.crew import deadline
from tests.faults.test_kills import copy_sparse
from vcache import Cache
from vcache.entry import make_key
from vcache.errors import StoreError
from vcache.outcome import Miss
from vcache.store.disk import DiskStore
from vcache.store.disk.index import HEADER_WORDS, ROW_WORDS, TOMB, Word
from vcache.testing import flip_bit
from vcache.testing.records import body_of, make_record

KEY: Final = make_key("flipped")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "cache")
    yield store
    store.close()


def flip_in_segment(store: DiskStore, place: int, bit: int) -> None:
    """Invert a bit of the record at a place, in the file that all mappings show."""
    fd = os.open(store.segments.path(place >> 32), os.O_RDWR)
    try:
        at = (place & (1 << 26) - 1) + bit // 8
        byte = os.pread(fd, 1, at)[0]
        os.pwrite(fd, bytes((byte ^ 1 << bit % 8,)), at)
    finally:
        os.close(fd)


def place_of(store: DiskStore, key: bytes, key_at: int) -> int:
    found = store.find(store.current(), key, key_at)
    assert found is not None
    return found[1]


def quarantined(store: DiskStore) -> int:
    aside = store.directory / "quarantine"
    return len(os.listdir(aside)) if aside.exists() else 0


def test_no_flipped_bit_of_a_small_record_is_served(store: DiskStore) -> None:
    """Each single-bit flip in an entry's record is a miss, counted and kept aside; a put heals it."""
    record = make_record(KEY, body_of(60))
    store.put(KEY, record)
    bits = (28 + len(record.head) + 60) * 8
    for bit in range(bits):
        flip_in_segment(store, place_of(store, KEY, 84), bit)
        assert store.get(KEY) is None, bit
        assert store.counters().corrupt == bit + 1
        assert quarantined(store) == min(bit + 1, 64)
        store.put(KEY, record)
        found = store.get(KEY)
        assert found is not None
        assert found.body == record.body
    assert [fault for _, fault in store.verify() if fault] == []
    assert store.counters().entries == 1


def test_no_flipped_bit_of_a_shared_body_is_served(store: DiskStore) -> None:
    """Flips in a body that lies in a segment of its own are misses; a put heals each."""
    body = body_of(6_000)
    record = make_record(KEY, body)
    key = b"\0B\0" + record.entry().digest
    store.put(KEY, record)
    all_bits = range((28 + len(key) + len(body)) * 8)
    bits = [*all_bits[: 63 * 8 + 16], *random.Random(1).sample(all_bits, 600), *all_bits[-8:]]
    for count, bit in enumerate(bits, 1):
        flip_in_segment(store, place_of(store, key, 0), bit)
        assert store.get(KEY) is None, bit
        assert store.counters().corrupt == count
        store.put(KEY, record)
        found = store.get(KEY)
        assert found is not None
        assert found.body == body


@pytest.mark.parametrize("size_bytes", [300_000, 1_300_000])
def test_no_flipped_bit_of_a_blob_file_is_served(store: DiskStore, size_bytes: int) -> None:
    """Flips in a blob file are misses, whether it is read, mapped, streamed or held; a put heals each."""
    body = body_of(size_bytes)
    record = make_record(KEY, body, codec="numpy" if size_bytes > 1 << 20 else "bytes")
    store.put(KEY, record)
    path = store.blobs.path(record.entry().digest, 0)
    bits = [
        *range(8),
        *random.Random(1).sample(range(size_bytes * 8), 30),
        *range(size_bytes * 8 - 8, size_bytes * 8),
    ]
    for count, bit in enumerate(bits, 1):
        flip_bit(path, bit)
        if bit % 3 == 0:
            assert store.open(KEY) is None
        elif bit % 3 == 1:
            assert store.hold(KEY) is None
        assert store.get(KEY) is None, bit
        assert store.counters().corrupt == count
        assert not path.exists()
        assert quarantined(store) == 1  # under its own name, the latest
        store.put(KEY, record)
        found = store.get(KEY)
        assert found is not None
        assert bytes(found.body) == body


@pytest.mark.parametrize("size_bytes", [500, 9_000, 300_000])
def test_a_flip_is_a_miss_of_the_cache_and_counted(tmp_path: Path, size_bytes: int) -> None:
    """Through the cache, memory tier and all, a flipped value is a miss until it is put again."""
    value = body_of(size_bytes)
    with Cache(tmp_path / "cache") as cache:
        cache.put("flipped", value)
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        data = file.read_bytes()
        if (at := data.find(value)) >= 0:
            flip_bit(file, at * 8 + 3)
            break
    else:
        pytest.fail("the value is nowhere to be found")
    with Cache(tmp_path / "cache") as cache:
        assert isinstance(cache.lookup("flipped"), Miss)
        assert cache.get("flipped", "gone") == "gone"
        assert cache.stats().corrupt == 1
        assert cache.get_or_compute("flipped", lambda: value) == value
        assert cache.get("flipped") == value
        assert cache.verify().faults == ()


# -- the index -----------------------------------------------------------------------------

ENTRIES: Final = [
    (make_key(f"entry {number}"), body_of(size, seed=number))
    for number, size in enumerate([0, 1, 30, 500, 4_000, 6_000, 20_000, 300_000, 24, 25])
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("flips") / "template"
    with_rows = DiskStore(directory)
    with_rows.segments._segment_bytes = 64 << 10
    for key, body in ENTRIES:
        with_rows.put(key, make_record(key, body))
        with_rows.put(key + b" dead", make_record(key + b" dead", body))
        with_rows.delete(key + b" dead")
    with_rows.close()
    return directory


def examine(directory: Path) -> None:
    """Open it, read, write, collect and verify: no wrong bytes, and what is put afterwards stays."""
    store = DiskStore(directory)
    store.segments._segment_bytes = 64 << 10
    for key, body in ENTRIES:
        found = store.get(key)
        assert found is None or bytes(found.body) == body, key
    for key in store.scan():
        assert key in dict(ENTRIES)
    store.delete(ENTRIES[3][0])
    assert store.get(ENTRIES[3][0]) is None
    survey = store.survey()
    store.evict(survey, [row for row, is_entry in enumerate(survey.is_entry) if not is_entry][:1])
    for key, body in ENTRIES:
        store.put(key, make_record(key, body))
    store.reclaim()
    for key, body in ENTRIES:
        found = store.get(key)
        assert found is not None, key
        assert bytes(found.body) == body, key
    for _ in store.verify(repair=True):
        pass
    assert sorted(key for key, fault in store.verify() if key is not None and fault is None) == sorted(
        key for key, _ in ENTRIES
    )
    assert [fault for _, fault in store.verify() if fault] == []
    assert store.counters().entries == len(ENTRIES)
    store.tally([1] * 16)
    store.close()


def flip_index(template: Path, directory: Path, bits: list[int]) -> None:
    shutil.copytree(template, directory, copy_function=copy_sparse)
    for bit in bits:
        flip_bit(directory / "index", bit)
    with deadline(5):
        examine(directory)
    shutil.rmtree(directory)


def live_bits(template: Path) -> list[int]:
    """Every bit of every row that is not free."""
    store = DiskStore(template, read_only=True)
    words = store.current().words
    slots = [at for at in range(HEADER_WORDS, store.current().end, ROW_WORDS) if words[at] >= TOMB]
    bits = [slot * 64 + bit for slot in slots for bit in range(64 * ROW_WORDS)]
    store.close()
    return bits


USED_WORDS: Final = [number for name, number in vars(Word).items() if name.isupper()]
HEADER_BITS: Final = [word * 64 + bit for word in USED_WORDS for bit in range(64)]


def test_a_flip_in_the_indexs_header_gives_no_wrong_bytes(tmp_path: Path, template: Path) -> None:
    """After a flip in the header the store opens, serves nothing wrong, and takes what is put."""
    for bit in random.Random(1).sample(HEADER_BITS, 160):
        flip_index(template, tmp_path / "copy", [bit])


def test_a_flip_in_a_row_gives_no_wrong_bytes(tmp_path: Path, template: Path) -> None:
    """After a flip in a row the store opens, serves nothing wrong, and takes what is put."""
    for bit in random.Random(2).sample(live_bits(template), 160):
        flip_index(template, tmp_path / "copy", [bit])


def test_many_flips_at_once_give_no_wrong_bytes(tmp_path: Path, template: Path) -> None:
    """After fifty flips anywhere in the index, header and all, nothing wrong is served."""
    draw = random.Random(3)
    size_bits = (template / "index").stat().st_size * 8
    rows = live_bits(template)
    for _ in range(40):
        bits = draw.sample(rows, 40) + draw.sample(range(size_bits), 8) + draw.sample(HEADER_BITS, 2)
        flip_index(template, tmp_path / "copy", bits)


@pytest.mark.slow
def test_every_flip_in_header_and_rows_gives_no_wrong_bytes(tmp_path: Path, template: Path) -> None:
    """The same for each bit of the header's words and of all rows."""
    for bit in HEADER_BITS + live_bits(template):
        flip_index(template, tmp_path / "copy", [bit])


def test_an_index_of_garbage_is_replaced_or_harmless(tmp_path: Path, template: Path) -> None:
    """Rows of random words behind a sound header make no crash, no hang and no wrong bytes."""
    draw = random.Random(4)
    for _ in range(10):
        directory = tmp_path / "copy"
        shutil.copytree(template, directory, copy_function=copy_sparse)
        with open(directory / "index", "r+b") as file:
            file.seek(HEADER_WORDS * 8)
            file.write(draw.randbytes((1 << 10) * ROW_WORDS * 8))
        with deadline(5):
            examine(directory)
        shutil.rmtree(directory)


def test_a_flip_under_a_running_process_is_no_error(tmp_path: Path, template: Path) -> None:
    """A process that has the index mapped goes on without wrong bytes, whatever flips in its rows."""
    directory = tmp_path / "copy"
    shutil.copytree(template, directory, copy_function=copy_sparse)
    store = DiskStore(directory)
    for bit in random.Random(5).sample(live_bits(template), 300):
        flip_bit(directory / "index", bit)
        with deadline(5):
            for key, body in ENTRIES:
                try:
                    found = store.get(key)
                except StoreError:
                    continue
                assert found is None or bytes(found.body) == body
    store.close()
