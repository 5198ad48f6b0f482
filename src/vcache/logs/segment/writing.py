"""Writes a segment: records in windows, parted by source, in columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, Self

from vcache.hash import Hasher
from vcache.logs.record import Record
from vcache.logs.segment.layout import (
    Block,
    Group,
    Run,
    SegmentInfo,
    Summary,
    file_head,
    group_head,
    pack_footer,
    sources_of,
)
from vcache.logs.segment.window import Window

__all__ = ["WINDOW_ROWS", "SegmentWriter", "info_of"]

WINDOW_ROWS: Final = 65_536
_WINDOW_CHARS: Final = 16 << 20  # of messages: a window of long ones is shorter
_WINDOW_CELLS: Final = 1 << 24  # rows times names of fields
_PART_ROWS: Final = 4_096


class SegmentWriter:
    """A segment under way: `add` what it is to hold, then `finish`; else nothing is left behind.

    Args:
        path: of the file, which must not be there.
        replaces: digests of segments that this one stands for.

    Threads: one.
    """

    def __init__(self, path: Path, *, replaces: Sequence[bytes] = ()) -> None:
        self._path, self._replaces = path, tuple(replaces)
        self._file: BinaryIO = path.open("xb", buffering=0)
        self._hasher = Hasher()
        self._offset = 0
        self._groups: list[Group] = []
        self._window = Window()
        self._is_finished = False
        try:
            self._write(file_head(self._replaces))
        except BaseException:
            self.close()  # no `with` does it yet
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what was not finished. May be called again."""
        self._file.close()
        if not self._is_finished:
            self._path.unlink(missing_ok=True)
            self._is_finished = True

    @property
    def n_groups(self) -> int:
        """How many groups were written, or are to be."""
        return len(self._groups) + bool(self._window.n_rows)

    def add(
        self, stream: int, first_seq: int, records: Sequence[Record], *, seen_ns: int | None = None
    ) -> None:
        """Take records of a stream, the next ones behind each other, in the order of arrival.

        Args:
            seen_ns: when a store takes them, which has not seen them before: they are marked as they are due.
        """
        at = 0
        while at < len(records):
            # A part is taken apart while the processor has it at hand; more at once takes twice as long.
            end = min(len(records), at + _PART_ROWS, at + WINDOW_ROWS - self._window.n_rows)
            while end > at + 1 and sum(len(record.message) for record in records[at:end]) > _WINDOW_CHARS:
                end = at + (end - at) // 2
            self._window.add(stream, first_seq + at, records[at:end], seen_ns=seen_ns)
            window = self._window
            if (
                window.n_rows >= WINDOW_ROWS
                or window.n_chars >= _WINDOW_CHARS
                or window.n_cells >= _WINDOW_CELLS
            ):
                self._flush()
            at = end

    def add_group(
        self, blocks: Sequence[Block], summary: Summary | None, chunks: Sequence[bytes | memoryview]
    ) -> None:
        """Take blocks of another segment, with the chunks that they point into."""
        self._flush()
        self._put(blocks, summary, chunks)

    def finish(self) -> SegmentInfo:
        """Write what is left and the footer; it survives a power loss when this returns.

        Raises:
            OSError: it could not be written; it is removed.
        """
        self._flush()
        self._write(pack_footer(self._groups, self._replaces, self._offset))
        os.fsync(self._file.fileno())
        self._is_finished = True
        self._file.close()
        return info_of(self._hasher.digest(), self._offset, self._groups, self._replaces)

    def _flush(self) -> None:
        if self._window.n_rows:
            self._put(*self._window.encode())
            self._window = Window()

    def _put(
        self, blocks: Sequence[Block], summary: Summary | None, chunks: Sequence[bytes | memoryview]
    ) -> None:
        data = b"".join(chunks)
        head = group_head(blocks, summary, len(data))
        self._groups.append(Group(self._offset + len(head), len(data), tuple(blocks), summary))
        self._write(head)
        self._write(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        self._hasher.update(view)
        self._offset += len(view)
        while view:  # a raw file may take a part
            view = view[self._file.write(view) :]


def info_of(
    digest: bytes, size_bytes: int, groups: Sequence[Group], replaces: Sequence[bytes]
) -> SegmentInfo:
    """What a segment of those groups holds."""
    blocks = [block for group in groups for block in group.blocks]
    runs: dict[int, Run] = {}
    for block in blocks:
        for run in block.runs:
            if run.last_seq < run.first_seq:
                continue
            known = runs.get(run.stream, run)
            runs[run.stream] = Run(
                run.stream, min(known.first_seq, run.first_seq), max(known.last_seq, run.last_seq)
            )
    return SegmentInfo(
        digest, size_bytes, sum(block.rows for block in blocks),
        min((block.first_ns for block in blocks), default=0), max((block.last_ns for block in blocks), default=0),
        sources_of(blocks), tuple(runs.values()), tuple(replaces),
    )  # fmt: skip
