"""Segments for tests: made of records, and read and written by the page alone (docs/design/logs-segments.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import xxhash
import zstandard

from vcache.logs.base import Result
from vcache.logs.ids import id_of, new_stream
from vcache.logs.record import Record
from vcache.logs.search import search
from vcache.logs.segment import Segment, SegmentWriter, open_segment
from vcache.query.parser import parse as parse_query

START_NS = 1_760_000_000 * 10**9
STREAM = new_stream(lambda: START_NS, lambda bits: 5)

QUERIES = (
    "* | count", "* | count by source", "* | count by @time(1m), level", 'message contains "under"', "* | last 3", "message : step",
    'target = "all" | count', "* | stats max(pid), first(message), uniq(path) by target", "* | sort -pid", "* | count by mixed, @template",
)  # fmt: skip
"""Each way to answer."""


def make_records(count: int, *, sources: Sequence[str] = ("gcc", "ld", "make")) -> list[Record]:
    """Records with columns of each kind."""
    return [
        Record(
            START_NS + at * 1_000_003,
            (9, 13, 17)[at % 3],
            sources[at % len(sources)],
            f"step {at} of {count} ünder way" if at % 2 else f"compiled file{at}.c in {at * 7} ms",
            {
                "target": ("all", "test")[at % 2],
                "pid": 1_000 + at * 17,
                "took_s": at / 8,
                "trace": f"{at * 0x9E3779B97F4A7C15 % (1 << 128):032x}",
                "path": f"/src/file{at}",
                "host": "builder",
                **({"mixed": (1, 1.0, True, "1")[at % 4]} if at % 3 else {}),
            },
            (0, 0, 3)[at % 3],
            1 + at % 2,
            START_NS + at,
        )
        for at in range(count)
    ]


def named(records: Sequence[Record], stream: int = STREAM) -> list[Record]:
    """As a store gives them back, their fields in one order."""
    return [plain(record._replace(id=id_of(stream, at))) for at, record in enumerate(records)]


def plain(record: Record) -> Record:
    """A record with its fields in one order: a segment keeps none."""
    return record._replace(fields=dict(sorted(record.fields.items())))


def sealed(path: Path, records: Sequence[Record], stream: int = STREAM) -> Segment:
    with SegmentWriter(path) as writer:
        writer.add(stream, 0, records)
        info = writer.finish()
    return open_segment(path, digest=info.digest)


def ask(text: str, segments: Sequence[Segment], tail: Sequence[Record] = ()) -> tuple[list[Any], Result]:
    """All rows, and the answer."""
    result = search(parse_query(text, now_ns=START_NS), segments, tail)
    rows: list[Any] = list(result.rows)
    return [plain(row) if isinstance(row, Record) else row for row in rows], result


# --- the page, read anew ---------------------------------------------------------------------

_GROUP = struct.Struct("<4sIIIQQ")
_TRAILER = struct.Struct("<QIIQ8s")


class Parsed(NamedTuple):
    """Groups as `[blocks, summary, chunks]`, the first two as msgpack has them."""

    replaces: list[bytes]
    groups: list[list[Any]]


def check(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)


def unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=False)


def parse(data: bytes) -> Parsed:
    """What a segment says; every check holds."""
    assert data[:8] == b"vcacheL1"
    count, zero = struct.unpack_from("<II", data, 8)
    assert zero == 0
    at = 16 + 32 * count
    replaces = [data[begin : begin + 32] for begin in range(16, at, 32)]
    assert check(data[:at]) == int.from_bytes(data[at : at + 8], "little")
    at += 8
    end, stored_bytes, raw_bytes, wanted, mark = _TRAILER.unpack_from(data, len(data) - _TRAILER.size)
    assert mark == b"vcacheLE"
    assert end + stored_bytes + _TRAILER.size == len(data)
    stored = data[end : end + stored_bytes]
    assert check(stored) == wanted
    footer = unpacked(decompressed(stored, raw_bytes))
    groups, places = [], []
    while at < end:
        begin, rows, length, raw, size, is_sound = _group_at(data, at)
        chunks = data[begin + length : begin + length + size]
        blocks, summary = unpacked(decompressed(data[begin : begin + length], raw))
        assert sum(block[0] for block in blocks) == rows
        assert is_sound
        groups.append([blocks, summary, chunks])
        places.append([begin + length, size, blocks, summary])
        at = begin + length + size
    assert footer == {"groups": places, "replaces": replaces}
    return Parsed(replaces, groups)


def _group_at(data: bytes, at: int) -> tuple[int, int, int, int, int, bool]:
    mark, rows, length, raw, size, wanted = _GROUP.unpack_from(data, at)
    assert mark == b"\xb1\x0c\x4c\x31"
    begin = at + _GROUP.size
    head = _GROUP.pack(mark, rows, length, raw, size, 0)
    return begin, rows, length, raw, size, check(head + data[begin : begin + length]) == wanted


def decompressed(data: bytes, raw_bytes: int) -> bytes:
    found = zstandard.ZstdDecompressor().decompress(data)
    assert len(found) == raw_bytes
    return found


def build(parsed: Parsed, *, places: Callable[[list[Any]], None] = lambda groups: None) -> bytes:
    """The bytes of a segment, with checks that hold, whatever is in it.

    Args:
        places: changes the groups of the footer.
    """
    data = b"vcacheL1" + struct.pack("<II", len(parsed.replaces), 0) + b"".join(parsed.replaces)
    data += check(data).to_bytes(8, "little")
    footer = []
    for blocks, summary, chunks in parsed.groups:
        packed = msgpack.packb([blocks, summary])
        stored = zstandard.ZstdCompressor().compress(packed)
        rows = sum(block[0] for block in blocks if isinstance(block, list) and type(block[0]) is int) % (
            1 << 32
        )
        head = (b"\xb1\x0c\x4c\x31", rows, len(stored), len(packed), len(chunks))
        data += _GROUP.pack(*head, check(_GROUP.pack(*head, 0) + stored)) + stored
        footer.append([len(data), len(chunks), blocks, summary])
        data += chunks
    places(footer)
    packed = msgpack.packb({"groups": footer, "replaces": parsed.replaces})
    stored = zstandard.ZstdCompressor().compress(packed)
    return data + stored + _TRAILER.pack(len(data), len(stored), len(packed), check(stored), b"vcacheLE")


def chunk_of(group: list[Any], data: bytes, raw_bytes: int = 0) -> list[int]:
    """Puts bytes behind the chunks of a group; their description."""
    found = [len(group[2]), len(data), check(data), raw_bytes]
    group[2] += data
    return found
