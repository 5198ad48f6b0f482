"""Faults on demand do exactly what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcache.entry import make_key
from vcache.errors import StoreFull, UsageError
from vcache.store.memory import MemoryStore
from vcache.testing import FaultyStore, flip_bit, flip_stored, make_record

KEY = make_key("k")


def test_one_bit_is_flipped(tmp_path: Path) -> None:
    """That bit and no other, also in a read-only file, whose mode stays; twice is never."""
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\0")
    path.chmod(0o444)
    flip_bit(path, 9)
    assert path.read_bytes() == b"\0\2\0"
    assert path.stat().st_mode & 0o777 == 0o444
    flip_bit(path, 9)
    assert path.read_bytes() == b"\0\0\0"


@pytest.mark.parametrize("bit", [-1, 24])
def test_a_bit_that_is_not_there_is_refused(tmp_path: Path, bit: int) -> None:
    """The message says how many there are."""
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\0")
    with pytest.raises(UsageError, match="24 bits"):
        flip_bit(path, bit)


def test_content_is_found_wherever_it_is(tmp_path: Path) -> None:
    """In every file below the directory, more than once in one, behind a hole."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "one").write_bytes(b"..needle..needle")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(50 << 20)
        file.seek(40 << 20)
        file.write(b"needle")
    (tmp_path / "empty").write_bytes(b"")
    assert flip_stored(tmp_path, b"needle", bit=0) == 3
    assert (tmp_path / "deep" / "er" / "one").read_bytes() == b"..oeedle..oeedle"
    assert flip_stored(tmp_path, b"needle") == 0


def test_operations_fail_as_told() -> None:
    """So many times, or until healed; calls are counted all the same, and the work is not done."""
    store = FaultyStore(MemoryStore())
    store.fail("put", StoreFull("no space"), times=2)
    for _ in range(2):
        with pytest.raises(StoreFull):
            store.put(KEY, make_record(KEY))
    assert store.get(KEY) is None
    store.put(KEY, make_record(KEY))
    assert store.calls == {"put": 3, "get": 1}
    store.fail("scan", OSError("gone"))
    store.tamper = lambda _key, _record: None
    for _ in range(3):
        with pytest.raises(OSError, match="gone"):
            store.scan()
    assert store.get(KEY) is None
    store.heal()
    assert list(store.scan()) == [KEY]
    assert store.get(KEY) is not None


def test_it_claims_what_it_is_told_to() -> None:
    """The rest of its info is the inner store's."""
    info = FaultyStore(MemoryStore(), name="far", is_trusted=False, is_shared=True).info
    assert (info.name, info.url, info.is_trusted, info.is_shared) == ("far", "far:", False, True)
    assert not info.is_persistent
    assert not info.is_read_only
