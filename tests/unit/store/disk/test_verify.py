"""The thorough look: what it finds, and what a repair leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.entry import Encoding, Entry, Record, make_key
from vcache.hash import digest
from vcache.store.disk import DiskStore
from vcache.store.disk.index import ENTRY, FILE, HEADER_WORDS, LIVE, Word
from vcache.testing.records import body_of, make_record

KEY = make_key("name")
SIZES = (10, 9_000, 300_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "cache")
    yield store
    store.close()


def faults(store: DiskStore, *, repair: bool = False) -> list[tuple[bytes | None, str]]:
    return [(key, fault) for key, fault in store.verify(repair=repair) if fault is not None]


def lying(size_bytes: int) -> Record:
    """A record whose content is not what its digest says."""
    entry = Entry(KEY, digest(b"another content"), size_bytes, created_ns=1)
    return Record(entry.encode(), body_of(size_bytes))


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_sound_store_has_no_faults(store: DiskStore, size_bytes: int) -> None:
    """Every entry is given once, with its key."""
    keys = [make_key(f"{number}") for number in range(5)]
    for key in keys:
        store.put(key, make_record(key, body_of(size_bytes)))
    assert sorted(store.verify(), key=repr) == sorted([(key, None) for key in keys], key=repr)


@pytest.mark.parametrize("size_bytes", SIZES)
def test_content_that_is_not_its_digest_is_found_and_mended(store: DiskStore, size_bytes: int) -> None:
    """A checksum that is right does not hide a wrong content; after a repair a put brings the right one."""
    store.put(KEY, lying(size_bytes))
    assert faults(store) == [(KEY, "its content does not match its digest")]
    assert store.get(KEY) is not None  # looking alone changes nothing
    assert len(faults(store, repair=True)) == 1
    assert store.get(KEY) is None
    other = make_key("other")
    record = Record(
        Entry(other, digest(b"another content"), size_bytes, created_ns=1).encode(), b"x" * size_bytes
    )
    store.put(other, record)
    found = store.get(other)
    assert found is not None
    assert bytes(found.body) == b"x" * size_bytes  # not the body that was there under this name


def test_a_body_that_cannot_be_unpacked_is_found(store: DiskStore) -> None:
    """A packed body of noise is a fault of its entry."""
    entry = Entry(KEY, digest(b"x"), 100, encoding=Encoding.ZSTD, created_ns=1)
    store.put(KEY, Record(entry.encode(), body_of(50)))
    ((key, fault),) = faults(store)
    assert key == KEY
    assert "cannot be unpacked" in fault


def test_a_missing_file_is_found(store: DiskStore) -> None:
    """An entry whose file is gone is a fault, for each entry that shares it."""
    for name in ("a", "b"):
        store.put(make_key(name), make_record(make_key(name), body_of(300_000)))
    store.blobs.path(digest(body_of(300_000)), 0).unlink()
    found = faults(store, repair=True)
    assert sorted(key for key, _ in found if key) == [make_key("a"), make_key("b")]
    assert "missing" in found[0][1]
    assert faults(store) == []
    assert store.counters().entries == 0


def test_rows_that_lie_are_mended_without_a_loss(store: DiskStore) -> None:
    """Wrong kind bits are set right; a row that no key leads to is dropped; the entries stay."""
    for size in SIZES:
        key = make_key(f"of {size}")
        store.put(key, make_record(key, body_of(size)))
    table = store.current()
    survey = store.survey()
    for slot in survey.ids:
        table.words[slot + 1] ^= ENTRY if table.words[slot + 1] & FILE else FILE
    free = next(at for at in range(HEADER_WORDS, table.end, 4) if not table.words[at])
    table.words[free : free + 4] = table.words[survey.ids[0] : survey.ids[0] + 4]
    table.words[free] = 12345 | LIVE
    found = sorted(fault for _, fault in faults(store, repair=True))
    assert found == ["a row of another kind than its record"] * 5 + ["a row that its key does not lead to"]
    assert faults(store) == []
    for size in SIZES:
        record = store.get(make_key(f"of {size}"))
        assert record is not None
        assert bytes(record.body) == body_of(size)
    assert store.counters().entries == 3
    assert store.current().words[Word.LIVE] == 5


def test_what_goes_meanwhile_is_no_fault(store: DiskStore) -> None:
    """Entries deleted, overwritten or moved while the walk goes on are not reported as damaged."""
    keys = [make_key(f"{number}") for number in range(30)]
    for number, key in enumerate(keys):
        store.put(key, make_record(key, body_of(SIZES[number % 3], seed=number)))
    walk = store.verify()
    seen = [next(walk)]
    for number, key in enumerate(keys):
        if number % 3:
            store.delete(key)
        else:
            store.put(key, make_record(key, b"new"))
    with store.lock:
        store.new_segment(store.current())
    store.reclaim(target_bytes=0)
    seen += walk
    assert [fault for _, fault in seen if fault] == []
