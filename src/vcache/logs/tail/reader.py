"""Reads a tail file, as far as it goes, and then on from there. Damage is a gap, a torn end is not.

It must not know who writes the file, and writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.logs.base import Gap
from vcache.logs.record import Record
from vcache.logs.tail.frames import HEADER_BYTES, Damage, Frame, frames, is_file_header, unpack

__all__ = ["TailReader", "TailRun"]

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class TailRun(NamedTuple):
    """Records of one frame, which follow each other."""

    first_seq: int
    records: list[Record]


class TailReader:
    """One tail file. Threads: one at a time.

    Attributes:
        path, stream: of what.
        next_seq: of the record that comes next; what was read lies below.
        size_bytes: of the file when it was read.
        is_reset: the writer took back what it could not keep: the last call of `read` began anew.
    """

    def __init__(self, path: Path, stream: int) -> None:
        self.path = path
        self.stream = stream
        self._restart()
        self.is_reset = False

    def _restart(self) -> None:
        self.is_reset = True
        self.size_bytes = 0
        self.next_seq = 0
        self._offset = 0  # all before it is read, and will not change
        self._gaps: list[Gap] = []
        self._at_end: Gap | None = None
        self._parts: list[TailRun] = []  # of an append whose last frame did not come yet

    @property
    def gaps(self) -> list[Gap]:
        """What cannot be read; damage at the end as well, behind which more may be written."""
        return [*self._gaps, self._at_end] if self._at_end else self._gaps

    def read(self) -> list[TailRun]:
        """What came since the last call; after a reset (`is_reset`) all there is.

        Raises:
            OSError: there is no such file, or it cannot be read.
        """
        return list(self.runs())

    def runs(self) -> Iterator[TailRun]:
        """The same, decoded as it is taken; to be taken to its end.

        Raises:
            OSError: as `read`.
        """
        self.is_reset = False
        fd = os.open(self.path, _OPEN)
        try:
            size = os.fstat(fd).st_size
            if size < self.size_bytes:
                self._restart()
            data = _pread(fd, size - self._offset, self._offset)
        finally:
            os.close(fd)
        self.size_bytes = self._offset + len(data)
        yield from self._read(data)

    def _read(self, data: bytes) -> Iterator[TailRun]:
        start = self._offset
        if start == 0:
            if len(data) < HEADER_BYTES:
                return
            start = HEADER_BYTES
            if not is_file_header(data, self.stream):
                # The file's name says the stream as well, and frames are checked with it.
                self._gaps.append(self._gap(0, start, "the header is damaged", 0))
            data = data[start:]
        self._offset = start
        self._at_end = None
        for each in frames(data, start, self.stream):
            if isinstance(each, Damage):
                if each.is_at_end:
                    self._at_end = self._gap(each.at, each.end, "damaged, or cut off by a power loss", -1)
                    break
                self._gaps.append(self._gap(each.at, each.end, "damaged", -1))
            elif each.is_torn:
                break
            else:
                yield from self._take(each)
            self._offset = each.end

    def _take(self, frame: Frame) -> Iterator[TailRun]:
        lost = frame.first_seq - self.next_seq
        if lost > 0:
            if self._gaps and self._gaps[-1].records < 0:
                self._gaps[-1] = self._gaps[-1]._replace(records=lost)
            else:
                self._gaps.append(self._gap(frame.at, frame.at, "records are missing", lost))
            # What follows was written when the append before was whole.
            yield from self._release()
        self.next_seq = frame.first_seq + frame.records
        records = self._records(frame)
        if records:
            self._parts.append(TailRun(frame.first_seq, records))
        if not frame.is_part:
            yield from self._release()

    def _release(self) -> list[TailRun]:
        parts, self._parts = self._parts, []
        return parts

    def _records(self, frame: Frame) -> list[Record]:
        reason = "damaged"
        if frame.payload is not None:
            try:
                return unpack(frame, self.stream)
            except DecodeError as error:
                reason = str(error)
        at_ns = frame.seen_ns
        gap = self._gap(frame.at, frame.end, reason, frame.records)
        self._gaps.append(gap._replace(first_ns=at_ns, last_ns=at_ns))
        return []

    def _gap(self, at: int, end: int, reason: str, records: int) -> Gap:
        return Gap(f"tail/{self.path.name}, bytes {at} to {end}", reason, records)


def _pread(fd: int, length: int, at: int) -> bytes:
    """So much of a file, or all that is left: one read takes at most 2 GiB."""
    data = os.pread(fd, length, at) if length > 0 else b""
    while 0 < len(data) < length:
        more = os.pread(fd, length - len(data), at + len(data))
        if not more:
            break
        data += more
    return data
