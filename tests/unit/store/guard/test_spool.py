from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from vcache.entry import make_key
from vcache.hash import digest
from vcache.kit.ids import inspect_uuid
from vcache.store import objects
from vcache.store.guard.spool import Spool
from vcache.testing import FakeClock, make_record

KEY = make_key("k")


def spool_at(path: Path, *, most_bytes: int = 1 << 20, clock: FakeClock | None = None) -> Spool:
    clock = clock or FakeClock()
    return Spool(str(path / "spool"), most_bytes=most_bytes, clock=clock, monotonic=clock.monotonic)


def test_what_is_put_is_found_until_it_is_removed(tmp_path: Path) -> None:
    """By its key in this process, by its name in all."""
    spool = spool_at(tmp_path)
    record = make_record(KEY, b"content")
    assert spool.add(KEY, record)
    pending = spool.find(KEY)
    assert pending is not None
    assert pending.record is not None
    assert (pending.key, pending.record.head, pending.record.body) == (KEY, record.head, record.body)
    other = spool_at(tmp_path)
    assert other.find(KEY) is None
    (name,) = other.names()
    read = other.read(name)
    assert read is not None
    assert read.key == KEY
    other.remove(read)
    assert spool.find(KEY) is None
    assert spool.own == {}
    assert spool.names() == []


def test_a_file_is_as_specified(tmp_path: Path) -> None:
    """The bytes are those of docs/design/network.md, the name is a UUID of version 7, no link, for this user."""
    spool = spool_at(tmp_path)
    record = make_record(KEY, b"content")
    spool.add(KEY, record)
    spool.add(KEY, None)
    put, deletion = spool.names()
    body = b"".join(bytes(part) for part in objects.pack(record))
    start = b"vcs\x01" + struct.pack("<I", len(KEY)) + KEY
    assert (tmp_path / "spool" / put).read_bytes() == start + digest(body) + body
    assert (tmp_path / "spool" / deletion).read_bytes() == start + digest(b"")
    assert inspect_uuid(put).version == 7
    assert (tmp_path / "spool" / put).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_a_deletion_is_found_too(tmp_path: Path) -> None:
    """After a put it stands for the key."""
    spool = spool_at(tmp_path)
    spool.add(KEY, make_record(KEY))
    spool.add(KEY, None)
    pending = spool.find(KEY)
    assert pending is not None
    assert pending.record is None


@pytest.mark.parametrize("cut", [0, 3, 20, 60, -1])
def test_a_damaged_file_is_no_record(tmp_path: Path, cut: int) -> None:
    """Cut off, as a power loss leaves it, or with another bit: gone, and nobody is told a lie."""
    spool = spool_at(tmp_path)
    spool.add(KEY, make_record(KEY))
    (name,) = spool.names()
    path = tmp_path / "spool" / name
    path.write_bytes(path.read_bytes()[:cut])
    assert spool.find(KEY) is None
    assert not path.exists()
    assert spool.own == {}


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Wherever it is but in the key, which says only where a record goes that is not its own."""
    spool = spool_at(tmp_path)
    spool.add(KEY, make_record(KEY))
    (name,) = spool.names()
    path = tmp_path / "spool" / name
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 0x10,)) + whole[at + 1 :])
        assert spool.read(name) is None, at


def test_a_bound_is_kept(tmp_path: Path) -> None:
    """What does not fit is refused; when something was sent there is room again."""
    spool = spool_at(tmp_path, most_bytes=3 * 4096)
    assert [spool.add(make_key(str(n)), make_record(make_key(str(n)))) for n in range(5)] == [True] * 3 + [
        False
    ] * 2
    pending = spool.read(spool.names()[0])
    assert pending is not None
    spool.remove(pending)
    assert spool.add(KEY, make_record(KEY))
    assert not spool.add(KEY, make_record(KEY))
    assert not spool_at(tmp_path / "other", most_bytes=10_000).add(KEY, make_record(KEY, bytes(10_001)))


def test_what_other_processes_put_counts(tmp_path: Path) -> None:
    """They share the bound, seen anew every few seconds."""
    clock = FakeClock()
    one = spool_at(tmp_path, most_bytes=4 * 4096, clock=clock)
    two = spool_at(tmp_path, most_bytes=4 * 4096, clock=clock)
    for number in range(3):
        assert one.add(make_key(f"one {number}"), make_record(make_key(f"one {number}")))
    assert two.add(KEY, make_record(KEY))
    assert not two.add(KEY, make_record(KEY))
    clock.advance(6)
    assert not one.add(KEY, make_record(KEY))
    for name in two.names():
        pending = two.read(name)
        assert pending is not None
        two.remove(pending)
    clock.advance(1.1)
    assert one.add(KEY, make_record(KEY))


def test_order_is_kept_when_the_clock_goes_back(tmp_path: Path) -> None:
    """What is put later is sent later, in one process and by the next, whatever the clock says."""
    clock = FakeClock()
    first = spool_at(tmp_path, clock=clock)
    first.add(make_key("1"), None)
    clock.jump_to(clock() - 3600 * 10**9)
    first.add(make_key("2"), None)
    second = spool_at(tmp_path, clock=clock)
    second.add(make_key("3"), None)
    assert [pending.key for name in second.names() if (pending := second.read(name))] == [
        make_key(n) for n in "123"
    ]


def test_a_file_of_the_far_future_is_not_followed(tmp_path: Path) -> None:
    """A name with an absurd time does not push all later ones to the end of time."""
    clock = FakeClock()
    spool = spool_at(tmp_path, clock=clock)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "ffffffff-ffff-7fff-bfff-ffffffffffff").write_bytes(b"")
    spool.add(KEY, None)
    assert inspect_uuid(spool.names()[0]).created_ns == clock()


def test_strangers_are_left_alone(tmp_path: Path) -> None:
    """A file that is no spool's is neither sent nor removed, half-written ones go when they are old."""
    spool = spool_at(tmp_path)
    spool.add(KEY, None)
    (tmp_path / "spool" / "README").write_text("hello")
    (tmp_path / "spool" / ".vcache-tmp-old").write_text("half")
    os.utime(tmp_path / "spool" / ".vcache-tmp-old", (1, 1))
    (tmp_path / "spool" / ".vcache-tmp-new").write_text("half")
    assert len(spool.names()) == 1
    spool.sweep()
    assert sorted(name for name in os.listdir(tmp_path / "spool") if "-7" not in name) == [
        ".vcache-tmp-new",
        "README",
    ]


def test_a_spool_that_cannot_be_written_raises(tmp_path: Path) -> None:
    """The caller says what that means for the record."""
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(NotADirectoryError):
        spool_at(tmp_path).add(KEY, make_record(KEY))
    assert spool_at(tmp_path).names() == []


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    """Looking makes no directory."""
    spool = spool_at(tmp_path)
    assert spool.names() == []
    assert spool.find(KEY) is None
    spool.sweep()
    assert os.listdir(tmp_path) == []
