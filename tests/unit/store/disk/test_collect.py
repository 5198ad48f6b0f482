"""Surveying, evicting and giving space back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.entry import make_key
from vcache.errors import StoreFull
from vcache.store.base import Survey
from vcache.store.disk import DiskStore
from vcache.store.disk.index import Table, Word
from vcache.testing.records import body_of, make_record

SIZES = (10, 9_000, 300_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "cache")
    store.segments._segment_bytes = 256 << 10
    yield store
    store.close()


def fill(store: DiskStore, count: int, size_bytes: int, **fields: object) -> list[bytes]:
    keys = [make_key(f"of {size_bytes}, {number}") for number in range(count)]
    for number, key in enumerate(keys):
        store.put(key, make_record(key, body_of(size_bytes, seed=number), **fields))  # type: ignore[arg-type]
    return keys


def test_a_survey_has_a_row_for_each_entry_and_each_shared_body(store: DiskStore) -> None:
    """Sizes, times, expiry and pins of all rows are those that were put."""
    now = time.time_ns()
    fill(store, 2, 10, expires_ns=now + 5_000_000_000)
    fill(store, 2, 9_000)
    fill(store, 1, 300_000, is_pinned=True)
    survey = store.survey()
    assert len(survey.ids) == 8
    assert sum(survey.is_entry) == 5
    assert sum(survey.is_pinned) == 2  # the entry and its body
    assert sum(time_s > 0 for time_s in survey.expires_s) == 2
    assert all(now <= used <= time.time_ns() for used in survey.used_ns)
    bodies = sorted(
        size for size, is_entry in zip(survey.size_bytes, survey.is_entry, strict=True) if not is_entry
    )
    assert [size // 1000 for size in bodies] == [9, 9, 300]


def test_only_its_own_survey_can_be_acted_on(store: DiskStore) -> None:
    """A survey of another store is refused before anything is dropped."""
    fill(store, 1, 10)
    with pytest.raises(TypeError, match="own survey"):
        store.evict(Survey([0], [0], [0], [0], [0], [1]), [0])
    assert store.counters().entries == 1


def test_evicted_files_are_gone_at_once(store: DiskStore) -> None:
    """Dropping a row of a file removes the file and takes it off the account."""
    fill(store, 3, 300_000)
    survey = store.survey()
    before = store.disk_bytes()
    assert store.evict(survey, range(6)) == 6
    assert before - store.disk_bytes() == 900_000
    assert [path for path in (store.directory / "blobs").rglob("*") if path.is_file()] == []
    assert store.counters().evicted == 6
    assert store.counters().entries == 0


@pytest.mark.parametrize("size_bytes", SIZES)
def test_space_of_what_is_deleted_comes_back(store: DiskStore, size_bytes: int) -> None:
    """After deleting most entries and reclaiming, the directory takes little more than the rest."""
    keys = fill(store, 60 if size_bytes < 300_000 else 6, size_bytes)
    for key in keys[1:]:
        store.delete(key)
    store.reclaim()
    found = store.get(keys[0])
    assert found is not None
    assert bytes(found.body) == body_of(size_bytes)
    segments = sum(map(store.segments.disk_bytes, store.segments.numbers()))
    assert segments < 20_000 + (size_bytes if size_bytes < 300_000 else 0)
    files = [path for path in (store.directory / "blobs").rglob("*") if path.is_file()]
    assert len(files) == (size_bytes == 300_000)


def test_a_full_disk_does_not_stop_a_collection(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither a table nor a record can be written, wholly dead segments and files still go."""
    keys = fill(store, 80, 9_000) + fill(store, 3, 300_000)
    (kept,) = fill(store, 1, 10)
    for key in keys:
        store.delete(key)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Table, "write_new", full)
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "pwritev", full)
    assert store.reclaim() > 900_000
    found = store.get(kept)
    assert found is not None
    with pytest.raises(StoreFull):
        store.put(kept, make_record(kept, b"x"))


@pytest.mark.parametrize("pinned", [True, False])
def test_a_budget_on_a_full_disk_costs_what_is_not_pinned(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    """Over a budget, without room to move anything, the emptiest segment goes, unless it holds a pin."""
    keys = fill(store, 20, 3_000, is_pinned=pinned)
    for key in keys[2:]:
        store.delete(key)
    with store.lock:
        store.new_segment(store.current())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "pwritev", full)
    assert store.reclaim() == 0
    assert store.get(keys[0]) is not None
    freed = store.reclaim(target_bytes=0)
    assert (freed > 50_000) != pinned
    assert (store.get(keys[0]) is not None) == pinned
    assert store.counters().evicted == (0 if pinned else 2)


def test_counters_that_drifted_are_set_right(store: DiskStore) -> None:
    """What killed writers left miscounted is right after a collection."""
    fill(store, 5, 10)
    fill(store, 2, 300_000)
    words = store.current().words
    words[Word.ENTRIES], words[Word.LIVE], words[Word.LIVE_BYTES] = 99, 100, 5
    words[Word.SEGMENT_BYTES], words[Word.FILE_BYTES] = 1, 1
    store.reclaim()
    assert store.counters().entries == 7
    assert 600_000 < store.counters().size_bytes < 610_000
    assert 600_000 < store.disk_bytes() < 800_000


def test_files_of_killed_writers_go_when_they_are_old(store: DiskStore) -> None:
    """A blob file that no row knows is left alone while young, and removed later."""
    store.blobs.write(bytes(32), 0, body_of(300_000))
    store.reclaim()
    path = store.blobs.path(bytes(32), 0)
    assert path.exists()
    os.utime(path, (0, time.time() - 3600))
    assert store.reclaim() > 200_000
    assert not path.exists()


def test_a_pin_and_a_tag_survive_compaction(store: DiskStore) -> None:
    """Moved records keep what their rows said of them."""
    kept = make_key("kept")
    store.put(kept, make_record(kept, body_of(9_000), is_pinned=True, tags=frozenset({"t"})))
    place = store.find(store.current(), kept, 84)
    for key in fill(store, 60, 9_000):
        store.delete(key)
    with store.lock:
        store.new_segment(store.current())
    store.reclaim()
    moved = store.find(store.current(), kept, 84)
    assert place is not None
    assert moved is not None
    assert moved[1] != place[1]
    assert sum(store.survey().is_pinned) == 2
    assert [entry.key for entry in store.entries(tagged_only=True)] == [kept]
    assert [fault for _, fault in store.verify() if fault] == []
