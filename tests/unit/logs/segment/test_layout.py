"""A segment is what its page says, to the byte: it is read here by the page alone."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.unit.logs.segment.yard import (
    START_NS,
    STREAM,
    Parsed,
    ask,
    build,
    make_records,
    named,
    parse,
    sealed,
    unpacked,
)
from vcache.hash import digest
from vcache.logs.record import Record
from vcache.logs.segment import SegmentWriter, open_segment, writing


class Reader:
    """Columns of one block, as the page has them."""

    def __init__(self, block: list[Any], chunks: bytes) -> None:
        self.block, self.chunks = block, chunks
        self.rows: int = block[0]

    def data(self, chunk: list[int]) -> bytes:
        offset, size, _, raw = chunk
        found = self.chunks[offset : offset + size]
        if raw:
            found = zstandard.ZstdDecompressor().decompress(found)
            assert len(found) == raw
        return found

    def numbers(self, how: list[Any], chunk: list[int]) -> list[int]:
        count, width, base, step, first = how
        stored = count - (first is not None)
        if width:
            raw = zstandard.ZstdDecompressor().decompress(self.data(chunk))
            planes = [raw[place * stored : (place + 1) * stored] for place in range(width)]
            values = [sum(planes[place][at] << 8 * place for place in range(width)) for at in range(stored)]
        else:
            assert self.data(chunk) == b""
            values = [0] * stored
        values = [value * step + base for value in values]
        if first is not None:
            sums = [first]
            for value in values:
                sums.append(sums[-1] + value)
            values = sums
        return [(value + (1 << 63)) % (1 << 64) - (1 << 63) for value in values]

    def column(self, plain: list[Any]) -> list[Any]:
        _, kind, how, chunks, value = plain
        if kind == "c":
            return [value] * self.rows
        if kind == "m":
            return list(unpacked(self.data(chunks[0])))
        if kind == "t":
            texts = self.data(chunks[0]).decode("utf-8", "surrogatepass").split("\0")
            assert texts.pop() == ""
            assert len(texts) == value
            return [[*texts, None][number] for number in self.numbers(how, chunks[1])]
        if kind == "d":
            values = unpacked(self.data(chunks[0]))
            return [values[number] for number in self.numbers(how, chunks[1])]
        there = [True] * self.rows
        if len(chunks) > (2 if kind == "s" else 1):
            bits = self.data(chunks[-1])
            there = [bool(bits[row >> 3] >> (row & 7) & 1) for row in range(self.rows)]
        return [
            found.pop(0) if is_there else None
            for found in [self.values(kind, how, chunks, value)]
            for is_there in there
        ]

    def values(self, kind: str, how: list[Any], chunks: list[list[int]], value: Any) -> list[Any]:
        if kind == "h":
            digits = self.data(chunks[0]).hex()
            return [digits[at : at + value] for at in range(0, len(digits), value)]
        numbers = self.numbers(how, chunks[0])
        if kind == "i":
            return list(numbers)
        if kind == "f":
            return [number / 10.0**value for number in numbers]
        assert kind == "s"
        text, at, found = self.data(chunks[1]), 0, []
        for length in numbers:
            found.append(text[at : at + length].decode("utf-8", "surrogatepass"))
            at += length
        return found

    def records(self) -> list[tuple[Any, ...]]:
        core = {plain[0]: self.column(plain) for plain in self.block[7]}
        fields = {plain[0]: self.column(plain) for plain in self.block[8]}
        streams = [
            int.from_bytes(self.block[6][number][0], "big") for number in core.get("@stream", [0] * self.rows)
        ]
        found = []
        for row in range(self.rows):
            own = {name: column[row] for name, column in fields.items() if column[row] is not None}
            head = [core[name][row] for name in ("@time", "@level", "@source", "@message")]
            tail = [core[name][row] for name in ("@marks", "@repeats", "@seen")]
            found.append((streams[row] | core["@seq"][row], *head, dict(sorted(own.items())), *tail))
        return found


def read_by_the_page(parsed: Parsed) -> list[tuple[Any, ...]]:
    return sorted(
        row
        for blocks, _, chunks in parsed.groups
        for block in blocks
        for row in Reader(block, chunks).records()
    )


def wanted(records: list[Record]) -> list[tuple[Any, ...]]:
    return sorted((int(record.id.replace("-", ""), 16), *record[:-1]) for record in records)


def test_a_segment_is_read_by_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows nothing but the page gets all records, of several windows, blocks, streams and kinds."""
    monkeypatch.setattr(writing, "WINDOW_ROWS", 400)
    records = make_records(900)
    other = STREAM + (1 << 32)
    odd = Record(
        -(1 << 63), 0, "", "\udcff\x00", {"": "", "@time": 3, "n": float("inf")}, 0, 1, (1 << 63) - 1
    )
    with SegmentWriter(tmp_path / "a", replaces=[b"r" * 32]) as writer:
        writer.add(STREAM, 0, records)
        writer.add(other, 0, [odd])
        info = writer.finish()
    data = (tmp_path / "a").read_bytes()
    parsed = parse(data)
    assert parsed.replaces == [b"r" * 32]
    assert digest(data) == info.digest
    assert repr(read_by_the_page(parsed)) == repr(wanted([*named(records), *named([odd], other)]))
    kinds = {plain[1] for blocks, _, _ in parsed.groups for block in blocks for plain in block[8]}
    assert kinds == set("ctdifshm")


def test_what_is_said_of_blocks_holds(tmp_path: Path) -> None:
    """Bounds, counters, marks and runs of a block, and the counts by the minute, are those of its records."""
    records = make_records(3_000)
    sealed(tmp_path / "a", records)
    parsed = parse((tmp_path / "a").read_bytes())
    ((blocks, summary, chunks),) = parsed.groups
    minutes: dict[tuple[int, str, int], int] = {}
    for block in blocks:
        rows = Reader(block, chunks).records()
        times = [row[1] for row in rows]
        assert block[:4] == [len(rows), min(times), max(times), times == sorted(times)]
        levels: dict[str, dict[int, int]] = {}
        marks = 0
        for row in rows:
            own = levels.setdefault(row[3], {})
            own[row[2]] = own.get(row[2], 0) + 1
            marks |= row[6]
            key = (row[1] // (60 * 10**9), row[3], row[2])
            minutes[key] = minutes.get(key, 0) + 1
        assert (block[4], block[5]) == (levels, marks)
        seqs = [row[0] & 0xFFFFFFFF for row in rows]
        assert block[6] == [[STREAM.to_bytes(16, "big"), min(seqs), max(seqs)]]
    sources, columns = summary
    whole = Reader([len(minutes)], chunks)
    said = {plain[0]: whole.numbers(plain[2], plain[3][0]) for plain in columns}
    keys = zip(said["minute"], [sources[at] for at in said["source"]], said["level"], strict=True)
    assert dict(zip(keys, said["count"], strict=True)) == minutes


def test_the_smallest_segment_is_these_bytes(tmp_path: Path) -> None:
    """Heads and places of the format, byte by byte; what zstd makes of descriptions may differ."""
    sealed(tmp_path / "a", [Record(START_NS, 9, "gcc", "hello", seen_ns=START_NS)])
    data = (tmp_path / "a").read_bytes()
    assert data[:24].hex() == "7663616368654c310000000000000000" + "c7efee41de67079e"
    mark, rows, length, _, size, _ = struct.unpack_from("<4sIIIQQ", data, 24)
    assert (mark.hex(), rows) == ("b10c4c31", 1)
    assert data[24 + 32 :][:4].hex() == "28b52ffd"
    assert data[-8:] == b"vcacheLE"
    assert struct.unpack_from("<Q", data, len(data) - 32)[0] == 24 + 32 + length + size
    (((block,), _, _),) = parse(data).groups
    assert block[:7] == [
        1,
        START_NS,
        START_NS,
        True,
        {"gcc": {9: 1}},
        0,
        [[STREAM.to_bytes(16, "big"), 0, 0]],
    ]
    assert [plain[0] for plain in block[7]] == [
        "@time", "@level", "@marks", "@repeats", "@seen", "@seq", "@source", "@message",
    ]  # fmt: skip


def test_what_the_page_allows_is_read(tmp_path: Path) -> None:
    """A segment that another program wrote by the page is read."""
    records = make_records(50)
    sealed(tmp_path / "a", records)
    parsed = parse((tmp_path / "a").read_bytes())
    for group in parsed.groups:
        group[1] = None
    (tmp_path / "b").write_bytes(build(parsed))
    segment = open_segment(tmp_path / "b", digest=b"b" * 32)
    assert segment.gaps == []
    assert segment.counts() is None
    found, result = ask("*", [segment])
    assert (found, result.gaps) == (named(records), [])
