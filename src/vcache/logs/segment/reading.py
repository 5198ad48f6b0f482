"""Reads segments: mapped, each chunk checked before it is used, damage told as gaps.

A column is decoded when it is asked for, and forgotten with its block. It must not know queries.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import DecodeError, StoreError
from vcache.hash import placement
from vcache.logs.base import Gap
from vcache.logs.ids import id_of
from vcache.logs.record import Record
from vcache.logs.segment.columns import Chunk
from vcache.logs.segment.layout import (
    MARK,
    Block,
    Group,
    SegmentInfo,
    Summary,
    claimed_bytes,
    is_footer,
    read_file_head,
    read_group_head,
    read_trailer,
    unpack_footer,
)
from vcache.logs.segment.tokens import may_have
from vcache.logs.segment.trust import check_within, checked_core, numbers_of
from vcache.logs.segment.values import Constant, Mixed, Values, decode_column, decode_more
from vcache.logs.segment.window import MINUTE_NS, MOST_LEVELS, MOST_MINUTES
from vcache.logs.segment.writing import info_of
from vcache.query.syntax import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OpenBlock", "Segment", "open_segment"]

_MOST_SCANNED: Final = 4  # times the file: marks may be planted so that each claims the rest of it
_MARKS: Final = 4_096
_COUNTED: Final = {"minute", "source", "level", "count"}
_RECORD: Final = ("@time", "@level", "@source", "@message", "@marks", "@repeats", "@seen")


class OpenBlock:
    """A block of an open segment.

    Attributes:
        about: what is known of it without reading.
    """

    __slots__ = ("_columns", "_filter", "_more", "_reader", "about")

    def __init__(self, reader: _Reader, about: Block) -> None:
        self._reader, self.about = reader, about
        self._columns: dict[str, Values] = {}
        self._filter: memoryview | None = None
        self._more: list[dict[str, Value]] | None = None

    def core(self, name: str) -> Values:
        """A column that all records have: "@time", "@level", "@source", "@message", "@seq" and so on.

        Raises:
            DecodeError: it is damaged.
        """
        key = f"core {name}"  # a field may have the same name
        found = self._columns.get(key)
        if found is None:
            column = self.about.core.get(name)
            if column is None:
                raise DecodeError(f"a block without {name}")
            found = decode_column(column, self.about.rows, self._reader)
            self._columns[key] = checked_core(name, found, len(self.about.runs))
        return found

    def field(self, name: str) -> Values:
        """The column of a field; of one that no record has, all are None.

        Raises:
            DecodeError: it is damaged.
        """
        column = self.about.fields.get(name)
        if column is None:
            if not self.has_more:
                return Constant(None)
            return Mixed([row.get(name) for row in self._rows_of_more()])
        key = f"field {name}"
        found = self._columns.get(key)
        if found is None:
            found = self._columns[key] = decode_column(column, self.about.rows, self._reader)
        return found

    @property
    def has_more(self) -> bool:
        """Whether rows may have fields that `about` does not name."""
        return "@more" in self.about.core

    def _rows_of_more(self) -> list[dict[str, Value]]:
        found = self._more
        if found is None:
            found = self._more = decode_more(self.about.core["@more"], self.about.rows, self._reader)
        return found

    def may_have(self, value: int) -> bool:
        """Whether the filter has what stands for a token or a pair; true where the filter is damaged."""
        if self._filter is None:
            try:
                self._filter = self._reader(self.about.filter) or memoryview(b"\xff")
            except DecodeError:
                self._filter = memoryview(b"\xff")
        return may_have(self._filter, value)

    def records(self, rows: NDArray[np.int64]) -> list[Record]:
        """Those rows, whole.

        Raises:
            DecodeError: something of them is damaged.
        """
        if not self.has_more:
            return self._records(rows)
        more = self._rows_of_more()
        return [
            record._replace(fields={**record.fields, **more[row]})
            for record, row in zip(self._records(rows), rows.tolist(), strict=True)
        ]

    def _records(self, rows: NDArray[np.int64]) -> list[Record]:
        """Those rows, with the fields that are columns."""
        core: Any = [self.core(name).take(rows) for name in _RECORD]
        made: Callable[..., Record] = Record
        names = list(self.about.fields)
        columns = [self.field(name).take(rows) for name in names]
        ids = self.ids(rows)
        if not columns:
            return [made(*head, {}, *tail) for head, tail in _zipped(core, ids)]
        return [
            made(
                *head,
                {name: value for name, value in zip(names, row, strict=True) if value is not None},
                *tail,
            )
            for (head, tail), row in zip(_zipped(core, ids), zip(*columns, strict=True), strict=True)
        ]

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """The ids of those rows."""
        return [id_of(stream, seq) for stream, seq in self.places(rows)]

    def places(self, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
        """The streams and sequences of those rows: in their order ids are."""
        runs = self.about.runs
        seqs: Sequence[int] = self.core("@seq").take(rows)  # type: ignore[assignment]
        if "@stream" not in self.about.core:
            return [(runs[0].stream, seq) for seq in seqs]
        which: Sequence[int] = self.core("@stream").take(rows)  # type: ignore[assignment]
        return [(runs[number].stream, seq) for number, seq in zip(which, seqs, strict=True)]

    def forget(self) -> None:
        """Give decoded columns up."""
        self._columns.clear()
        self._more = None

    def gap(self, error: Exception) -> Gap:
        """What this block is when it cannot be read."""
        about = self.about
        place = f"{self._reader.segment.path}: block at {self._reader.group.offset}"
        return Gap(place, str(error), about.rows, about.first_ns, about.last_ns)


class _Reader:
    """Gives the chunks of a group."""

    __slots__ = ("group", "owner", "segment")

    def __init__(self, segment: Segment, group: Group) -> None:
        self.segment, self.group = segment, group
        self.owner = segment.info.digest + group.offset.to_bytes(8, "little")

    def __call__(self, chunk: Chunk) -> memoryview:
        return self.segment.read(self.group, chunk)


class Segment:
    """An open segment. Its file may be removed meanwhile.

    Attributes:
        path: of the file.
        info: what it holds.
        blocks: those that are known to be there.
        gaps: what was found damaged when it was opened.

    Threads: all operations but `close`.
    """

    def __init__(
        self, path: Path, data: memoryview, info: SegmentInfo, groups: Sequence[Group], gaps: Sequence[Gap]
    ) -> None:
        self.path, self.info, self.groups, self.gaps = path, info, tuple(groups), list(gaps)
        self._data = data
        readers = [_Reader(self, group) for group in self.groups]
        self.blocks = [OpenBlock(reader, block) for reader in readers for block in reader.group.blocks]

    def read(self, group: Group, chunk: Chunk) -> memoryview:
        """The checked bytes of a chunk.

        Raises:
            DecodeError: they are not what was written.
        """
        if chunk.offset + chunk.size_bytes > group.size_bytes:
            raise DecodeError("a chunk beyond its group")
        begin = group.offset + chunk.offset
        data = self._data[begin : begin + chunk.size_bytes]
        if placement(data) != chunk.check:
            raise DecodeError(f"{chunk.size_bytes} bytes at {begin} are not what was written")
        return data

    def counts(self) -> Iterator[tuple[Sequence[str], dict[str, NDArray[np.int64]]]] | None:
        """How many records there are, by group: names of sources, and equally long columns.

        They are "minute" since the epoch, "source", "level" and "count". None where that was not counted.

        Raises:
            DecodeError: what was counted is damaged.
        """
        if any(group.summary is None for group in self.groups):
            return None
        return (self._counts_of(group, group.summary) for group in self.groups if group.summary is not None)

    def _counts_of(
        self, group: Group, summary: Summary
    ) -> tuple[Sequence[str], dict[str, NDArray[np.int64]]]:
        reader = _Reader(self, group)
        n_records = sum(block.rows for block in group.blocks)
        sizes = {0 if column.how is None else column.how.count for column in summary.columns}
        if len(sizes) != 1 or not 0 < (size := sizes.pop()) <= n_records:
            raise DecodeError("counts that do not go together")
        found = {column.name: numbers_of(decode_column(column, size, reader)) for column in summary.columns}
        if found.keys() != _COUNTED:
            raise DecodeError("no counts")
        check_within(found["source"], 0, len(summary.sources))
        check_within(found["level"], 0, MOST_LEVELS)
        check_within(found["count"], 1, n_records + 1)
        minutes = found["minute"]
        low = int(minutes.min())
        # Who counts by the minute has a place for each between them.
        check_within(minutes, low, low + MOST_MINUTES + 1)
        check_within(minutes, -(1 << 63) // MINUTE_NS, (1 << 63) // MINUTE_NS + 1)
        if int(found["count"].sum()) != n_records:
            raise DecodeError("not all are counted")
        return summary.sources, found

    def find(self, stream: int, seq: int) -> Record | None:
        """The record of a place; None where it is not here.

        Raises:
            DecodeError: it would be in a block that is damaged.
        """
        damage: DecodeError | None = None
        for block in self.blocks:
            for number, run in enumerate(block.about.runs):
                if run.stream != stream or not run.first_seq <= seq <= run.last_seq:
                    continue
                try:
                    found = _found_in(block, seq, number)
                except DecodeError as error:
                    damage = error  # another one may have it
                else:
                    if found is not None:
                        return found
        if damage is not None:
            raise damage
        return None

    def close(self) -> None:
        """Forget the file. May be called again."""
        self.blocks = []
        # The map itself goes when nobody looks at it any more.
        self._data = memoryview(b"")


def open_segment(path: Path, *, digest: bytes | None = None) -> Segment:
    """A segment, mapped; what is damaged is a gap.

    Args:
        digest: its name; otherwise the file's name says it.

    Raises:
        StoreError: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            data = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) if size else b"")
    except (OSError, ValueError) as error:
        raise StoreError(f"segment {path}: {error}") from error
    gaps: list[Gap] = []
    name = digest if digest is not None else _digest_of(path)
    groups, replaces = _contents(path, data, gaps)
    return Segment(path, data, info_of(name, len(data), groups, replaces), groups, gaps)


def _digest_of(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.name.partition(".")[0])
    except ValueError:
        return b""


def _contents(path: Path, data: memoryview, gaps: list[Gap]) -> tuple[list[Group], list[bytes]]:
    trailer = read_trailer(data)
    if trailer is not None:
        offset, stored_bytes, packed_bytes = trailer
        try:
            return unpack_footer(data[offset : offset + stored_bytes], packed_bytes, offset)
        except DecodeError as error:
            gaps.append(Gap(f"{path}: footer", str(error), 0))
    else:
        gaps.append(Gap(f"{path}: footer", "it is damaged: what was found without it is shown", 0))
    head = read_file_head(data)
    if head is None:
        gaps.append(Gap(f"{path}: head", "it is damaged", 0))
    replaces, begin = head or ([], 0)
    return list(_walked(path, data, begin, gaps)), replaces


def _walked(path: Path, data: memoryview, begin: int, gaps: list[Gap]) -> Iterator[Group]:
    """The groups that are found by their own headers."""
    raw: Any = data.obj
    at, left = begin, _MOST_SCANNED * (len(data) + _MARKS)
    while at < len(data):
        group = read_group_head(data, at)
        if group is not None:
            yield group
            at = group.offset + group.size_bytes
            continue
        following = raw.find(MARK, at + 1)
        while following >= 0 and left > 0 and read_group_head(data, following) is None:
            left -= _MARKS + claimed_bytes(data, following)
            following = raw.find(MARK, following + 1)
        if following < 0 or left <= 0:
            break
        gaps.append(Gap(f"{path}: {at} to {following}", "no group of blocks begins here"))
        at = following
    if not is_footer(data, at):
        # What was between the last group and the footer, nobody knows.
        gaps.append(Gap(f"{path}: from {at} on", "neither a group of blocks nor the footer begins here"))


def _zipped(core: Sequence[Sequence[Any]], ids: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    """The attributes of records before their fields, and those behind."""
    return zip(zip(*core[:4], strict=True), zip(*core[4:], ids, strict=True), strict=True)


def _found_in(block: OpenBlock, seq: int, number: int) -> Record | None:
    """The record of a sequence of a run."""
    import numpy as np

    is_it = numbers_of(block.core("@seq")) == seq
    if "@stream" in block.about.core:
        is_it &= numbers_of(block.core("@stream")) == number
    rows = np.flatnonzero(is_it)
    found = block.records(rows[:1])[0] if len(rows) else None
    block.forget()
    return found
