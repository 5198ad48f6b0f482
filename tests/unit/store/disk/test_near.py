"""What a disk store gives to whoever must not wait."""

from __future__ import annotations

from contextlib import closing
from unittest.mock import patch

import pytest

from vcache.entry import Record, make_key
from vcache.store.disk import DiskStore
from vcache.testing.records import body_of, make_record

KEY = make_key("k")


@pytest.fixture
def store(tmp_path):
    with closing(DiskStore(tmp_path / "store")) as store:
        yield store


@pytest.mark.parametrize("size_bytes", [0, 1000, 5000, 100_000, 300_000, 2_000_000])
def test_what_is_at_hand_is_given_whole(store, size_bytes):
    record = make_record(KEY, body_of(size_bytes))
    store.put(KEY, record)
    found = store.get_near(KEY)
    assert isinstance(found, Record)
    assert (found.head, bytes(found.body)) == (record.head, bytes(record.body))


def test_what_is_not_there_is_known_not_to_be(store):
    assert store.get_near(KEY) is False


def test_what_is_large_takes_a_get(store):
    store.put(KEY, make_record(KEY, body_of(3_000_000)))
    assert store.get_near(KEY) is True


def test_what_the_kernel_has_to_read_first_takes_a_get(store):
    store.put(KEY, make_record(KEY, body_of(300_000)))
    with patch("os.preadv", side_effect=BlockingIOError):
        assert store.get_near(KEY) is True


@pytest.mark.parametrize("harm", ["flip", "cut", "grow", "unlink"])
def test_a_damaged_file_is_left_to_get_which_puts_it_aside(store, harm):
    store.put(KEY, make_record(KEY, body_of(300_000)))
    (path,) = (path for path in (store.directory / "blobs").glob("??/*"))
    path.chmod(0o644)
    if harm == "unlink":
        path.unlink()
    else:
        content = path.read_bytes()
        changed = {"flip": b"?" + content[1:], "cut": content[:-1], "grow": content + b"?"}
        path.write_bytes(changed[harm])
    assert store.get_near(KEY) is True
    assert store.get(KEY) is None
    assert store.get_near(KEY) is False


def test_a_look_counts_as_a_use(tmp_path):
    times = iter(range(1, 1000))
    with closing(DiskStore(tmp_path / "store", clock=lambda: next(times))) as store:
        store.put(KEY, make_record(KEY, body_of(300_000)))
        before = max(store.survey().used_ns)
        store.get_near(KEY)
        assert min(store.survey().used_ns) > before
        before = max(store.survey().used_ns)
        assert store.missing([KEY]) == set()
        assert min(store.survey().used_ns) > before


def test_an_entry_whose_file_is_gone_is_missing(store):
    store.put(KEY, make_record(KEY, body_of(300_000)))
    for path in (store.directory / "blobs").glob("??/*"):
        path.unlink()
    assert store.missing([KEY]) == {KEY}


def test_a_store_that_always_maps_reads_no_large_body_into_memory(store):
    store.put(KEY, make_record(KEY, body_of(3_000_000), codec="bytes"))
    found = store.get(KEY)
    assert isinstance(found.body, bytes)
    store.always_maps = True
    again = store.get(KEY)
    assert isinstance(again.body, memoryview)
    assert again.body == found.body
