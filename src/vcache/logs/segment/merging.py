"""Makes one segment of several: blocks are copied as they are, but for those of which records are to go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from vcache.errors import DecodeError
from vcache.logs.ids import parse_id
from vcache.logs.record import Record
from vcache.logs.segment.columns import Chunk, Column
from vcache.logs.segment.layout import Group, SegmentInfo
from vcache.logs.segment.reading import OpenBlock, Segment
from vcache.logs.segment.writing import SegmentWriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Going = Mapping[OpenBlock, NDArray[np.bool_]]
    """Which rows of a block are to go; all of the others stay."""

__all__ = ["merge", "runs_of"]


def merge(
    segments: Sequence[Segment], path: Path, *, going: Going | None = None, keeps_damage: bool = False
) -> SegmentInfo | None:
    """One segment of all that several hold, which it replaces; None, and no file, when nothing is left.

    Args:
        going: rows that are left out. Blocks of which some stay are written anew, behind the others.
        keeps_damage: what is damaged in a block is damaged in its copy, too.

    Raises:
        DecodeError: a segment is damaged: nothing is written.
        OSError: it could not be written.
    """
    replaces = [segment.info.digest for segment in segments]
    with SegmentWriter(path, replaces=replaces) as writer:
        for segment in segments:
            if segment.gaps:
                raise DecodeError(f"{segment.path}: {segment.gaps[0].reason}")
            _Copy(segment, writer, going or {}, keeps_damage=keeps_damage).write()
        return writer.finish() if writer.n_groups else None


def runs_of(segment: Segment, going: Going | None = None) -> Iterator[tuple[int, int, list[Record]]]:
    """The records of a segment, window by window in the order of arrival: streams, first sequences, records.

    Raises:
        DecodeError: it is damaged.
    """
    for _, blocks in _by_group(segment):
        records = [record for block in blocks for record in _left(block, going or {})]
        yield from _in_rows(records)


class _Copy:
    """What is left of a segment, on its way into another one."""

    def __init__(self, segment: Segment, writer: SegmentWriter, going: Going, *, keeps_damage: bool) -> None:
        self._segment, self._writer, self._going = segment, writer, going
        self._keeps_damage = keeps_damage

    def write(self) -> None:
        # What is written anew comes last and together: a copied group would cut its window short.
        parted: list[tuple[Group, list[OpenBlock]]] = []
        for group, blocks in _by_group(self._segment):
            self._copy(group, [block for block in blocks if block not in self._going])
            parts = [block for block in blocks if block in self._going and not self._going[block].all()]
            parted.append((group, parts))
        damaged = [(group, self._write_anew(parts)) for group, parts in parted]
        for group, blocks in damaged:
            self._copy(group, blocks)

    def _write_anew(self, blocks: Sequence[OpenBlock]) -> list[OpenBlock]:
        """Write what is left of blocks; which of them could not be read."""
        records: list[tuple[int, int, Record]] = []
        damaged = []
        for block in blocks:
            try:
                records += _left(block, self._going)
            except DecodeError:
                if not self._keeps_damage:
                    raise
                damaged.append(block)
        for stream, first_seq, run in _in_rows(records):
            self._writer.add(stream, first_seq, run)
        return damaged

    def _copy(self, group: Group, blocks: Sequence[OpenBlock]) -> None:
        """Copy blocks and the chunks they point into, packed close again. Every byte is checked on its way."""
        if not blocks:
            return
        chunks = _Chunks(self._segment, group, keeps_damage=self._keeps_damage)
        found = [
            block.about._replace(
                core=chunks.of_columns(block.about.core),
                fields=chunks.of_columns(block.about.fields),
                filter=chunks.moved(block.about.filter),
            )
            for block in blocks
        ]
        # Of fewer blocks the summary counts what went, too.
        summary = group.summary if len(blocks) == len(group.blocks) else None
        if summary is not None:
            summary = summary._replace(columns=tuple(map(chunks.of_column, summary.columns)))
        self._writer.add_group(found, summary, chunks.parts)


class _Chunks:
    """The chunks of a group that are copied, each once."""

    def __init__(self, segment: Segment, group: Group, *, keeps_damage: bool) -> None:
        self._segment, self._group, self._keeps_damage = segment, group, keeps_damage
        self._places: dict[Chunk, Chunk] = {}
        self._end = 0
        self.parts: list[memoryview] = []

    def moved(self, chunk: Chunk) -> Chunk:
        """Where a chunk is now."""
        found = self._places.get(chunk)
        if found is None:
            data = self._read(chunk)
            found = self._places[chunk] = chunk._replace(offset=self._end, size_bytes=len(data))
            self.parts.append(data)
            self._end += len(data)
        return found

    def of_columns(self, own: Mapping[str, Column]) -> dict[str, Column]:
        return {name: self.of_column(column) for name, column in own.items()}

    def of_column(self, column: Column) -> Column:
        return column._replace(chunks=tuple(map(self.moved, column.chunks)))

    def _read(self, chunk: Chunk) -> memoryview:
        try:
            return self._segment.read(self._group, chunk)
        except DecodeError:
            if not self._keeps_damage:
                raise
            return memoryview(b"")  # the checksum is not that of nothing: it stays damaged


def _by_group(segment: Segment) -> Iterator[tuple[Group, list[OpenBlock]]]:
    blocks = iter(segment.blocks)
    for group in segment.groups:
        yield group, list(islice(blocks, len(group.blocks)))


def _left(block: OpenBlock, going: Going) -> list[tuple[int, int, Record]]:
    """The records of a block that stay, with streams and sequences."""
    import numpy as np

    gone = going.get(block)
    rows = np.arange(block.about.rows) if gone is None else np.flatnonzero(~gone)
    try:
        return [(*parse_id(record.id), record) for record in block.records(rows)]
    finally:
        block.forget()


def _in_rows(records: Iterable[tuple[int, int, Record]]) -> Iterator[tuple[int, int, list[Record]]]:
    """Runs of sequences that follow each other. Streams in the order of their first time, as they were begun."""
    ordered = sorted(records, key=itemgetter(0, 1))
    at = 0
    while at < len(ordered):
        stream, first_seq, _ = ordered[at]
        end = at + 1
        while end < len(ordered) and ordered[end][:2] == (stream, first_seq + end - at):
            end += 1
        yield stream, first_seq, [record for _, _, record in ordered[at:end]]
        at = end
