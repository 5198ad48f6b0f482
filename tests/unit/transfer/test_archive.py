"""Transfer files: what is written is read back, whatever is damaged is left out and said."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from vcache.entry import Encoding, Key, Record, make_key
from vcache.errors import FormatError
from vcache.hash import digest
from vcache.serialize import pack
from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.testing import make_record
from vcache.transfer import Writer, everything, receive, send
from vcache.transfer.archive import _SPOOLED_BYTES


def output(body: bytes) -> tuple[Key, Record]:
    key = make_key(digest(body), namespace=".outputs")
    return key, make_record(key, body)


def filled() -> MemoryStore:
    store = MemoryStore()
    for number in range(5):
        store.put(make_key(str(number)), make_record(make_key(str(number)), b"content %d" % number))
    store.put(*output(b"an output"))
    return store


def written(store: Store) -> bytes:
    stream = io.BytesIO()
    writer = Writer(stream)
    assert send(store, everything(store), writer)
    writer.end()
    return stream.getvalue()


def content(store: Store) -> dict[Key, tuple[bytes, bytes]]:
    found = {key: store.get(key) for key in store.scan()}
    return {key: (record.head, bytes(record.body)) for key, record in found.items() if record is not None}


class Trickle(io.RawIOBase):
    """A pipe that gives three bytes at a time and cannot be sought."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 3))


def test_what_is_written_is_read_back() -> None:
    """Heads and bodies are as they were, from a file or a pipe."""
    source = filled()
    for stream in (io.BytesIO(written(source)), Trickle(written(source))):
        target = MemoryStore()
        report = receive(cast("BinaryIO", stream), target)
        assert report
        assert report.moved == 6
        assert content(target) == content(source)


def test_an_empty_store_makes_a_whole_file() -> None:
    """It is read as nothing."""
    data = written(MemoryStore())
    assert data == b"vcx\x01" + bytes(8) + digest(b"vcx\x01" + bytes(8))
    assert receive(io.BytesIO(data), MemoryStore())


def test_what_is_there_stays() -> None:
    """Equal content is skipped; what differs is counted and left, unless it is to be replaced."""
    data = written(filled())
    target = MemoryStore()
    target.put(make_key("0"), make_record(make_key("0"), b"content 0", created_ns=1))
    target.put(make_key("1"), make_record(make_key("1"), b"mine"))
    report = receive(io.BytesIO(data), target)
    assert report
    assert (report.moved, report.skipped, report.kept) == (4, 1, 1)
    assert content(target)[make_key("1")][1] == b"mine"
    report = receive(io.BytesIO(data), target, replace=True)
    assert (report.moved, report.skipped, report.kept) == (1, 5, 0)
    assert content(target)[make_key("1")][1] == b"content 1"


def test_a_dry_run_keeps_nothing() -> None:
    """It counts what would be kept."""
    target = MemoryStore()
    assert receive(io.BytesIO(written(filled())), target, is_dry_run=True).moved == 6
    assert content(target) == {}


def test_every_cut_is_noticed_and_what_is_whole_is_kept() -> None:
    """Of a file that ends anywhere all objects before are taken, and the end is said."""
    source = filled()
    data = written(source)
    counts = []
    for size in range(4, len(data)):
        target = MemoryStore()
        report = receive(io.BytesIO(data[:size]), target)
        assert not report
        assert report.stopped
        assert content(target).items() <= content(source).items()
        counts.append(report.moved)
    assert counts == sorted(counts)
    assert set(counts) == set(range(7))


def test_every_flipped_byte_is_noticed() -> None:
    """Nothing that differs from what was written is ever kept, and the damage is said."""
    source = filled()
    data = written(source)
    for at in range(4, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        target = MemoryStore()
        report = receive(io.BytesIO(damaged), target)
        assert not report, at
        assert content(target).items() <= content(source).items(), at


def test_a_damaged_entry_is_named() -> None:
    """Whose content does not fit its digest is left out by name, and the rest is kept."""
    data = written(filled()).replace(b"content 3", b"context 3")
    target = MemoryStore()
    report = receive(io.BytesIO(data), target)
    assert [name for name, _ in report.lost] == ["3"]
    assert "seal" in report.stopped
    assert len(content(target)) == 5


def test_what_stands_behind_the_end_is_said() -> None:
    """Two files in one are not taken for one."""
    assert "behind" in receive(io.BytesIO(written(filled()) + b"x"), MemoryStore()).stopped


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "no transfer"), (b"PK\x03\x04", "no transfer"), (b"vcx\x02", "newer")]
)
def test_other_files_are_refused(data: bytes, words: str) -> None:
    """The message says what it is not."""
    with pytest.raises(FormatError, match=words):
        receive(io.BytesIO(data), MemoryStore())


def test_an_output_must_have_the_content_that_it_is_named_by() -> None:
    """A sound record under another content's name would be restored in its place."""
    source = MemoryStore()
    key = make_key(bytes(32), namespace=".outputs")
    source.put(key, make_record(key, b"evil"))
    target = MemoryStore()
    assert len(receive(io.BytesIO(written(source)), target).lost) == 1
    assert content(target) == {}


def test_notes_of_another_machine_are_not_taken() -> None:
    """A file that claims digests of files by their signatures is not believed."""
    key = make_key(b"signature", namespace=".digests")
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.put({key: make_record(key)})
    writer.end()
    target = MemoryStore()
    assert receive(io.BytesIO(stream.getvalue()), target)
    assert content(target) == {}


def test_a_bomb_is_a_damaged_entry() -> None:
    """A claim that its bytes cannot bear out is not unpacked."""
    body = bytes(1 << 20)
    encoding, packed = pack([body], len(body), compress="lz4")
    assert encoding is Encoding.LZ4
    key = make_key("bomb")
    entry = make_record(key, body, encoding=encoding).entry()
    from vcache.kit.data import replace

    head = replace(entry, size_bytes=1 << 40).encode()
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.put({key: Record(head, packed)})
    writer.end()
    assert [name for name, _ in receive(io.BytesIO(stream.getvalue()), MemoryStore()).lost] == ["bomb"]


def test_a_large_body_goes_through_a_file(tmp_path: Path) -> None:
    """What is larger than a batch is mapped from a temporary file, and kept as it is."""
    source, target = DiskStore(tmp_path / "a"), DiskStore(tmp_path / "b")
    key = make_key("big")
    body = bytes(range(256)) * (_SPOOLED_BYTES // 256 + 1)
    source.put(key, make_record(key, body))
    with open(tmp_path / "file", "wb") as stream:
        writer = Writer(stream)
        assert send(source, everything(source), writer)
        writer.end()
    with open(tmp_path / "file", "rb") as stream:
        assert receive(stream, target).moved == 1
    found = target.get(key)
    assert found is not None
    assert bytes(found.body) == body
    source.close()
    target.close()


def test_a_store_that_refuses_is_said() -> None:
    """What could not be kept is named."""

    class Full(MemoryStore):
        def put_many(self, records: Mapping[Key, Record]) -> None:
            raise OSError(28, "No space left on device")

        def put(self, key: Key, record: Record) -> None:
            raise OSError(28, "No space left on device")

    report = receive(io.BytesIO(written(filled())), Full())
    assert not report
    assert "No space left" in report.stopped
