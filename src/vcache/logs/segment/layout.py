"""The bytes of a segment: header, groups of blocks, footer, trailer (docs/design/logs-segments.md).

Pure: it turns descriptions into bytes and back, and opens nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vcache.errors import DecodeError
from vcache.hash import placement
from vcache.kit.data import NamedTuple
from vcache.logs.base import SourceStats
from vcache.logs.segment.columns import Chunk, Column
from vcache.logs.segment.ints import Ints
from vcache.serialize.plain import compress, decompress, pack_plain, unpack_plain

__all__ = [
    "GROUP", "MARK", "TRAILER", "Block", "Group", "Run", "SegmentInfo", "Summary", "claimed_bytes", "file_head", "group_head", "is_footer", "pack_footer",
    "read_file_head", "read_group_head", "read_trailer", "sources_of", "unpack_footer",
]  # fmt: skip

_MAGIC: Final = b"vcacheL1"
_START: Final = struct.Struct("<8sII")  # mark, number of replaced segments, 0
_DIGEST_BYTES: Final = 32
MARK: Final = b"\xb1\x0cL1"
GROUP: Final = struct.Struct(
    "<4sIIIQQ"
)  # mark, rows, length of the description, raw length, of the chunks, xxh
TRAILER: Final = struct.Struct("<QIIQ8s")  # where the footer begins, its length, raw length, xxh, mark
_END: Final = b"vcacheLE"
_MOST_ROWS: Final = 1 << 16  # of a window
_MOST_RAW_BYTES: Final = 1 << 26  # of a description
_MOST_ITEMS: Final = 1 << 17  # of a list in one
_VALUES: Final = frozenset((str, int, float, bool, type(None)))
_KINDS: Final = frozenset("ctdifshmn")
_INT_BOUND: Final = 1 << 63


class Run(NamedTuple):
    """Records of one stream, in a row or with others between; none where the last is before the first."""

    stream: int
    first_seq: int
    last_seq: int


class Block(NamedTuple):
    """What is known of a block without reading its columns.

    Attributes:
        first_ns, last_ns: the least and the greatest time.
        in_order: its rows are in the order of time.
        levels: how many records, by source and level.
        marks: all marks that any record has.
        runs: by the number that column "@stream" has.
        core, fields: the columns.
        filter: of tokens.
    """

    rows: int
    first_ns: int
    last_ns: int
    in_order: bool
    levels: Mapping[str, Mapping[int, int]]
    marks: int
    runs: tuple[Run, ...]
    core: Mapping[str, Column]
    fields: Mapping[str, Column]
    filter: Chunk


class Summary(NamedTuple):
    """How many records of a group there are, by minute, source and level: equally long columns.

    Attributes:
        sources: what the numbers in column "source" stand for.
        columns: "minute" since the epoch, "source", "level", "count".
    """

    sources: tuple[str, ...]
    columns: tuple[Column, ...]


class Group(NamedTuple):
    """The blocks of a window, and where the chunks are that they point into.

    Attributes:
        offset: of the first chunk, in the file.
        size_bytes: of all chunks.
        summary: None where it would be long, or blocks were dropped.
    """

    offset: int
    size_bytes: int
    blocks: tuple[Block, ...]
    summary: Summary | None


class SegmentInfo(NamedTuple):
    """What a segment holds.

    Attributes:
        digest: BLAKE3 of the file.
        replaces: digests of segments whose records are all in here, or were dropped on purpose.
    """

    digest: bytes
    size_bytes: int
    records: int
    first_ns: int
    last_ns: int
    sources: Mapping[str, SourceStats]
    streams: Sequence[Run]
    replaces: Sequence[bytes]


def file_head(replaces: Sequence[bytes]) -> bytes:
    """The first bytes of a segment."""
    head = _START.pack(_MAGIC, len(replaces), 0) + b"".join(replaces)
    return head + placement(head).to_bytes(8, "little")


def read_file_head(data: memoryview) -> tuple[list[bytes], int] | None:
    """What a segment replaces, and where its groups begin; None where the head is damaged."""
    if len(data) < _START.size:
        return None
    mark, count, _ = _START.unpack_from(data)
    end = _START.size + count * _DIGEST_BYTES
    if mark != _MAGIC or len(data) < end + 8:
        return None
    if placement(data[:end]) != int.from_bytes(data[end : end + 8], "little"):
        return None
    starts = range(_START.size, end, _DIGEST_BYTES)
    return [bytes(data[start : start + _DIGEST_BYTES]) for start in starts], end + 8


def group_head(blocks: Sequence[Block], summary: Summary | None, size_bytes: int) -> bytes:
    """The header of a group and its description; chunks of so many bytes follow."""
    packed = pack_plain([[_plain(block) for block in blocks], summary])
    stored = compress(packed)
    fields = (MARK, sum(block.rows for block in blocks), len(stored), len(packed), size_bytes)
    return GROUP.pack(*fields, placement(GROUP.pack(*fields, 0) + stored)) + stored


def read_group_head(data: memoryview, offset: int) -> Group | None:
    """The group that begins there; None where none does, or its header is damaged."""
    if offset + GROUP.size > len(data):
        return None
    mark, rows, stored_bytes, packed_bytes, size_bytes, check = GROUP.unpack_from(data, offset)
    begin = offset + GROUP.size
    if mark != MARK or begin + stored_bytes + size_bytes > len(data):
        return None
    if not 0 < rows <= _MOST_ROWS or max(stored_bytes, packed_bytes) > _MOST_RAW_BYTES:
        return None
    stored = bytes(data[begin : begin + stored_bytes])
    if placement(GROUP.pack(mark, rows, stored_bytes, packed_bytes, size_bytes, 0) + stored) != check:
        return None
    try:
        plain: Any = _unpacked(stored, packed_bytes)
        return _group(begin + stored_bytes, size_bytes, *plain)
    except (DecodeError, TypeError, ValueError):
        return None


def claimed_bytes(data: memoryview, offset: int) -> int:
    """How many bytes were looked at to see that no group begins there, where a mark is."""
    if offset + GROUP.size > len(data):
        return 0
    return min(int(GROUP.unpack_from(data, offset)[2]), len(data), _MOST_RAW_BYTES)


def pack_footer(groups: Sequence[Group], replaces: Sequence[bytes], offset: int) -> bytes:
    """What stands behind the groups: descriptions of all of them, and the trailer."""
    rows = [
        [group.offset, group.size_bytes, [_plain(block) for block in group.blocks], group.summary]
        for group in groups
    ]
    packed = pack_plain({"groups": rows, "replaces": list(replaces)})
    stored = compress(packed)
    return stored + TRAILER.pack(offset, len(stored), len(packed), placement(stored), _END)


def read_trailer(data: memoryview) -> tuple[int, int, int] | None:
    """Where a sound footer begins, its length, and that of its content; None where there is none."""
    if len(data) < TRAILER.size:
        return None
    offset, stored_bytes, packed_bytes, check, end = TRAILER.unpack_from(data, len(data) - TRAILER.size)
    if end != _END or offset + stored_bytes + TRAILER.size != len(data) or packed_bytes > _MOST_RAW_BYTES:
        return None
    if placement(data[offset : offset + stored_bytes]) != check:
        return None
    return offset, stored_bytes, packed_bytes


def is_footer(data: memoryview, offset: int) -> bool:
    """Whether a footer begins there, though it or the trailer is damaged: nothing is missing before it."""
    if offset + TRAILER.size > len(data):
        return False
    end = len(data) - TRAILER.size
    begin, stored_bytes, packed_bytes, _, mark = TRAILER.unpack_from(data, end)
    if (begin, begin + stored_bytes, mark) == (offset, end, _END):
        return True
    try:
        unpack_footer(data[offset:end], min(packed_bytes, _MOST_RAW_BYTES), offset)
    except DecodeError:
        return False
    return True


def unpack_footer(data: memoryview, packed_bytes: int, end: int) -> tuple[list[Group], list[bytes]]:
    """Groups, and what the segment replaces.

    Args:
        end: where the footer begins, before which all groups lie.

    Raises:
        DecodeError: it is no footer.
    """
    plain = _unpacked(data, packed_bytes)
    try:
        footer: Any = plain
        groups = [_group(*group) for group in footer["groups"]]
        replaces = list(footer["replaces"])
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"no footer of a segment: {error}") from None
    before = 0
    for group in groups:
        # No two have a byte in common: so there are no more rows than the length of the file bears.
        if group.offset < before + GROUP.size or group.offset + group.size_bytes > end:
            raise DecodeError(f"a group at {group.offset}, which is not its place")
        before = group.offset + group.size_bytes
    if not all(type(each) is bytes and len(each) == _DIGEST_BYTES for each in replaces):
        raise DecodeError("it replaces what is no digest")
    return groups, replaces


def sources_of(blocks: Sequence[Block]) -> dict[str, SourceStats]:
    """What blocks hold, by source. Times of a source are those of the blocks that have it."""
    found: dict[str, SourceStats] = {}
    for block in blocks:
        for source, levels in block.levels.items():
            before = found.get(source)
            counts = dict(levels) if before is None else dict(before.by_level)
            if before is not None:
                for level, count in levels.items():
                    counts[level] = counts.get(level, 0) + count
            first = block.first_ns if before is None else min(before.first_ns, block.first_ns)
            last = block.last_ns if before is None else max(before.last_ns, block.last_ns)
            found[source] = SourceStats(sum(counts.values()), counts, first, last)
    return found


def _unpacked(stored: bytes | memoryview, packed_bytes: int) -> object:
    return unpack_plain(decompress(stored, size_bytes=packed_bytes), most_items=_MOST_ITEMS)


def _group(offset: int, size_bytes: int, blocks: Any, summary: Any) -> Group:
    found = None
    if summary is not None:
        sources, columns = summary
        found = Summary(tuple(sources), tuple(map(_column, columns)))
        if not _are(str, *sources):
            raise DecodeError("a source that is no text")
    group = Group(offset, size_bytes, tuple(map(_of_plain, blocks)), found)
    if not _are(int, offset, size_bytes) or sum(block.rows for block in group.blocks) > _MOST_ROWS:
        raise DecodeError("a group that is none")
    return group


def _plain(block: Block) -> list[object]:
    runs = [[run.stream.to_bytes(16, "big"), run.first_seq, run.last_seq] for run in block.runs]
    return [*block[:6], runs, list(block.core.values()), list(block.fields.values()), block.filter]


def _of_plain(plain: Any) -> Block:
    try:
        rows, first, last, in_order, levels, marks, runs, core, fields, tokens = plain
        found = Block(
            rows, first, last, in_order, levels, marks, tuple(map(_run, runs)),
            {column.name: column for column in map(_column, core)},
            {column.name: column for column in map(_column, fields)},
            _chunk(tokens),
        )  # fmt: skip
        if _is_sound(found):
            return found
    except (TypeError, ValueError, AttributeError) as error:
        raise DecodeError(f"no description of a block: {error}") from None
    raise DecodeError("a description of a block that contradicts itself")


def _is_sound(block: Block) -> bool:
    """Whether types and bounds are those that a writer gives: what is shown and counted goes by them."""
    if not _are(int, block.rows, block.first_ns, block.last_ns, block.marks) or not block.runs:
        return False
    if type(block.in_order) is not bool or not _are(str, *block.levels):
        return False
    counts = [count for levels in block.levels.values() for count in levels.values()]
    numbers = [level for levels in block.levels.values() for level in levels]
    return (
        _are(int, *counts, *numbers)
        and 0 < block.rows == sum(counts)
        and min(counts) > 0
        and 0 <= min(numbers) <= max(numbers) < 256
        and -_INT_BOUND <= block.first_ns <= block.last_ns < _INT_BOUND
        and 0 <= block.marks < _INT_BOUND
    )


def _are(kind: type, *values: object) -> bool:
    """Whether all are of exactly that type: true is no number."""
    return {kind}.issuperset(map(type, values))


def _run(plain: Any) -> Run:
    stream, low, high = plain
    if type(stream) is not bytes or len(stream) != 16 or any(stream[12:]):
        raise DecodeError("no stream")
    if not _are(int, low, high) or not 0 <= low < 1 << 32 > high >= 0:
        raise DecodeError("no sequences")
    return Run(int.from_bytes(stream, "big"), low, high)


def _column(plain: Any) -> Column:
    name, kind, how, chunks, value = plain
    if type(name) is not str or kind not in _KINDS or type(value) not in _VALUES:
        raise DecodeError("no description of a column")
    if type(value) is int and value >= _INT_BOUND:
        raise DecodeError("a number of more than 64 bits")
    return Column(name, kind, None if how is None else _ints(how), tuple(map(_chunk, chunks)), value)


def _ints(plain: Any) -> Ints:
    count, width, base, step, first = plain
    # One type after the other: there are thousands of these to open.
    if not type(count) is type(width) is type(base) is type(step) is int:
        raise DecodeError("no description of numbers")
    if first is not None and type(first) is not int:
        raise DecodeError("no description of differences")
    return Ints(count, width, base, step, first)


def _chunk(plain: Any) -> Chunk:
    offset, size_bytes, check, raw_bytes = plain
    if not type(offset) is type(size_bytes) is type(check) is type(raw_bytes) is int:
        raise DecodeError("no description of a chunk")
    if offset < 0 or size_bytes < 0:
        raise DecodeError("a chunk before its group")
    return Chunk(offset, size_bytes, check, raw_bytes)
