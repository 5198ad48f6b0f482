"""Segments: append-only files of self-describing, self-checking records.

A record never changes once written, and its place is never given to another: a reader that
holds a mapping may read it for as long as it likes, even after the file was removed. Normative
bytes: docs/design/format.md.

It knows nothing of the index.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.hash import checksum, checksum_parts

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "CHECK_BYTES",
    "LENGTHS",
    "PREFIX",
    "PREFIX_BYTES",
    "SEGMENT_BYTES",
    "Raw",
    "Segments",
    "frame",
    "parse",
    "segment_numbers",
]

SEGMENT_BYTES: Final = 64 << 20  # offsets have 26 bits
CHECK_BYTES: Final = 16
LENGTHS: Final = struct.Struct("<III")  # record length, head length, key length
PREFIX: Final = struct.Struct("<16sIII")  # checksum of all that follows it, and the lengths
PREFIX_BYTES: Final = PREFIX.size
_ALIGN: Final = 8
_BLANK_BYTES: Final = 4096
# Each mapping keeps a descriptor open, of which a process may have 1024.
_MOST_MAPPED: Final = 256
# Up to here one joined buffer is cheaper than a gathered write (benchmarks/results: disk).
_JOINED_BYTES: Final = 16 << 10


class Raw:
    """A verified record: its head (or a blob's key) and a view of its body."""

    # Not a frozen dataclass: those cost 0.5 µs to make, and every read makes one.
    __slots__ = ("body", "head", "key_bytes")

    def __init__(self, head: bytes, key_bytes: int, body: memoryview) -> None:
        self.head = head
        self.key_bytes = key_bytes
        self.body = body


def frame(head: bytes, key_bytes: int, body: Buffer) -> tuple[int, list[Buffer]]:
    """The length and the pieces of a record as it lies in a segment."""
    size = len(body) if type(body) is bytes else memoryview(body).nbytes
    length = PREFIX_BYTES + len(head) + size
    front = LENGTHS.pack(length, len(head), key_bytes) + head
    if size <= _JOINED_BYTES:
        rest = front + body
        return length, [checksum(rest) + rest]
    return length, [checksum_parts((front, body)) + front, body]


def parse(view: memoryview, offset: int) -> Raw | None:
    """The record at an offset, or None when what lies there is not a sound record."""
    try:
        check, length, head_bytes, key_bytes = PREFIX.unpack_from(view, offset)
    except struct.error:
        return None
    end, body_at = offset + length, offset + PREFIX_BYTES + head_bytes
    if not offset + PREFIX_BYTES <= body_at <= end <= len(view):
        return None
    if checksum(view[offset + CHECK_BYTES : end]) != check:
        return None
    return Raw(bytes(view[offset + PREFIX_BYTES : body_at]), key_bytes, view[body_at:end])


def _map(path: Path) -> mmap.mmap | None:
    """A file's mapping; None when it is gone or empty."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(fd).st_size == 0:
            return None
        return mmap.mmap(fd, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments in a directory, ascending."""
    try:
        listing = os.listdir(directory)
    except FileNotFoundError:
        return []
    names = [name for name in listing if len(name) >= 8]
    return sorted(int(name, 16) for name in names if all(c in "0123456789abcdef" for c in name))


class Segments:
    """The segment files of one directory.

    Attributes:
        mapped: mapped segments by number, for the store's read path: the mapping, whose slices are
            bytes, and a view of it, whose slices cost nothing.
        tail: number, descriptor and capacity of the segment that was appended to last.

    Threads: mapping is free (the last of two racing threads wins); appending and removing
    need the writer lock.
    """

    def __init__(self, directory: Path, *, segment_bytes: int) -> None:
        self._directory = directory
        self._segment_bytes = min(segment_bytes, SEGMENT_BYTES)
        self.mapped: dict[int, tuple[mmap.mmap, memoryview]] = {}
        self.tail: tuple[int, int, int] | None = None

    def path(self, number: int) -> Path:
        """Where a segment lies."""
        return self._directory / f"{number:08x}"

    def numbers(self) -> list[int]:
        """The numbers of all segments that exist, ascending."""
        return segment_numbers(self._directory)

    def view(self, number: int) -> memoryview | None:
        """A segment's bytes, mapped; None when the file is gone.

        Raises:
            OSError: it cannot be opened or mapped, such as for lack of descriptors.
        """
        known = self.mapped.get(number)
        if known is not None:
            return known[1]
        try:
            mapping = _map(self.path(number))
        except OSError as error:
            if error.errno != errno.EMFILE or not self.mapped:
                raise
            self.mapped.clear()  # each mapping keeps a descriptor: give them back
            mapping = _map(self.path(number))
        if mapping is None:
            return None
        while len(self.mapped) >= _MOST_MAPPED:
            self.mapped.pop(next(iter(list(self.mapped))), None)
        view = memoryview(mapping)
        self.mapped[number] = mapping, view
        return view

    def view_again(self, number: int) -> memoryview | None:
        """A segment mapped anew if its length changed: somebody cut it; None if nothing is new.

        Raises:
            OSError: as `view`.
        """
        known = self.mapped.get(number)
        if known is None or known[0].size() == len(known[1]):
            return None
        self.mapped.pop(number, None)
        return self.view(number)

    def room(self, number: int) -> int:
        """The capacity of a segment in bytes; 0 when it does not exist."""
        if self.tail is not None and self.tail[0] == number:
            return self.tail[2]
        return self._open_tail(number)[2] if self.path(number).exists() else 0

    def is_blank(self, number: int, offset: int) -> bool:
        """Whether nothing was written at an offset: a damaged tail would point into what was.

        A writer that was killed may have written there as well; then a new segment does no harm.
        """
        return not any(os.pread(self._open_tail(number)[1], _BLANK_BYTES, offset))

    def create(self, number: int, *, least_bytes: int) -> int:
        """Make an empty segment that can hold at least that many bytes; its number.

        The number is the next one without a file: a file that is there belongs to a writer that was
        killed, or to an index that was lost or replaced. Its bytes may still be mapped and are not
        written again.
        """
        size = max(self._segment_bytes, least_bytes)
        number, fd = self._open_new(number)
        try:
            os.ftruncate(fd, size)  # sparse: it takes space as it fills
        finally:
            os.close(fd)
        return number

    def _open_new(self, number: int) -> tuple[int, int]:
        """The first number from here on without a file, and that file."""
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                return number, os.open(self.path(number), flags, 0o644)
            except FileExistsError:
                number = max(number, *self.numbers()) + 1
            except FileNotFoundError:
                self._directory.mkdir(exist_ok=True)  # somebody removed it; not if the store is gone

    def append(self, number: int, offset: int, parts: list[Buffer], length: int) -> int:
        """Write a record's pieces at an offset; the offset behind it.

        Raises:
            OSError: not everything could be written. The bytes there are then undefined, and
                nothing refers to them.
        """
        fd = self._open_tail(number)[1]
        written = os.pwrite(fd, parts[0], offset) if len(parts) == 1 else os.pwritev(fd, parts, offset)
        if written != length:
            self._finish(fd, b"".join(bytes(part) for part in parts), offset, written)
        return (offset + length + _ALIGN - 1) & -_ALIGN

    @staticmethod
    def _finish(fd: int, data: bytes, offset: int, written: int) -> None:
        # A short write is how a full disk announces itself: the next one says so.
        while written < len(data):
            written += os.pwrite(fd, memoryview(data)[written:], offset + written)

    def _open_tail(self, number: int) -> tuple[int, int, int]:
        tail = self.tail
        if tail is None or tail[0] != number:
            fd = os.open(self.path(number), os.O_RDWR | os.O_CLOEXEC)
            older = tail
            # In this order: a process forked in between must not find a closed descriptor here.
            tail = self.tail = (number, fd, os.fstat(fd).st_size)
            if older is not None:
                os.close(older[1])
        return tail

    def disk_bytes(self, number: int) -> int:
        """What a segment takes on the disk; 0 when it is gone."""
        try:
            return os.stat(self.path(number)).st_blocks * 512
        except FileNotFoundError:
            return 0

    def remove(self, number: int) -> int:
        """Remove a segment; the bytes given back. Mappings of it stay readable."""
        freed = self.disk_bytes(number)
        self.path(number).unlink(missing_ok=True)
        self.mapped.pop(number, None)
        return freed

    def forget_removed(self) -> None:
        """Drop the mappings of segments that no longer exist, so that their space returns."""
        present = set(self.numbers())
        for number in list(self.mapped):  # a copy: other threads map meanwhile
            if number not in present:
                self.mapped.pop(number, None)

    def forget_shrunk(self) -> None:
        """Drop the mappings of segments that lost bytes at their end: to touch those is a signal."""
        for number, (mapping, view) in list(self.mapped.items()):
            if mapping.size() < len(view):
                self.mapped.pop(number, None)

    def close(self) -> None:
        """Release descriptors and mappings."""
        tail, self.tail = self.tail, None
        if tail is not None:
            os.close(tail[1])
        self.mapped.clear()
