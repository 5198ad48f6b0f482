"""Makes one segment of several: groups are copied as they are, but for blocks that are to go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vcache.errors import DecodeError
from vcache.logs.segment.columns import Chunk, Column
from vcache.logs.segment.layout import Block, Group, SegmentInfo, Summary
from vcache.logs.segment.reading import Segment
from vcache.logs.segment.writing import SegmentWriter

__all__ = ["Drop", "merge"]

Drop = Callable[[str, int], bool]
"""Whether records of a source, the last of which is of that time, are to go."""


def merge(segments: Sequence[Segment], path: Path, *, drop: Drop | None = None) -> SegmentInfo | None:
    """One segment of all that several hold, which it replaces; None, and no file, when nothing is left.

    A block of several sources goes when all of them may.

    Raises:
        DecodeError: a segment is damaged: nothing is written.
        OSError: it could not be written.
    """
    replaces = [segment.info.digest for segment in segments]
    with SegmentWriter(path, replaces=replaces) as writer:
        for segment in segments:
            if segment.gaps:
                raise DecodeError(f"{segment.path}: {segment.gaps[0].reason}")
            for group in segment.groups:
                kept = [block for block in group.blocks if drop is None or not _may_go(block, drop)]
                if kept:
                    writer.add_group(*_copied(segment, group, kept))
        return writer.finish() if writer.n_groups else None


def _may_go(block: Block, drop: Drop) -> bool:
    return all(drop(source, block.last_ns) for source in block.levels)


def _copied(
    segment: Segment, group: Group, blocks: Sequence[Block]
) -> tuple[list[Block], Summary | None, list[memoryview]]:
    """Blocks and the chunks they point into, packed close again. Every byte is checked on its way."""
    places: dict[Chunk, Chunk] = {}
    parts: list[memoryview] = []
    end = 0

    def moved(chunk: Chunk) -> Chunk:
        nonlocal end
        found = places.get(chunk)
        if found is None:
            parts.append(segment.read(group, chunk))
            found = places[chunk] = chunk._replace(offset=end)
            end += chunk.size_bytes
        return found

    def columns(own: Mapping[str, Column]) -> dict[str, Column]:
        return {name: column_moved(column) for name, column in own.items()}

    def column_moved(column: Column) -> Column:
        return column._replace(chunks=tuple(moved(chunk) for chunk in column.chunks))

    found = [
        block._replace(core=columns(block.core), fields=columns(block.fields), filter=moved(block.filter))
        for block in blocks
    ]
    summary = group.summary
    if len(blocks) < len(group.blocks) or summary is None:
        return found, None, parts  # it counts what went, too
    return found, summary._replace(columns=tuple(map(column_moved, summary.columns))), parts
