"""The index: a mapped open-addressing table from keys to places in segments.

A row of four 64-bit words says where a record lies, when it was used, how large it is and
when it expires. Readers take no lock: a row is a hint that the record itself confirms, so a
torn or foreign row is a miss, never wrong bytes. Writers hold the store's writer lock and
order their stores so that a kill between any two leaves every older row intact: a row
becomes visible, moves or vanishes by one aligned 64-bit store. Normative bytes:
docs/design/format.md.

It knows nothing of records, of files other than its own, or of what a key means.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from array import array
from itertools import compress
from operator import and_
from pathlib import Path
from typing import Final

from vcache.errors import FormatError

__all__ = [
    "BLOB",
    "ENTRY",
    "FILE",
    "FREE",
    "HEADER_WORDS",
    "HOME_SHIFT",
    "KINDS",
    "LAST_SEGMENT",
    "LIVE",
    "PINNED",
    "REF",
    "ROW_WORDS",
    "TAGGED",
    "TOMB",
    "DamagedIndex",
    "Table",
    "Word",
    "live_flags",
    "location",
    "offset_of",
    "row_size",
    "segment_of",
]

MAGIC: Final = int.from_bytes(b"vcacheI1", "little")
VERSION: Final = 1
HEADER_WORDS: Final = 512  # one page
ROW_WORDS: Final = 4
LEAST_ROWS: Final = 1 << 10
_ROOM: Final = 4  # rows of a fresh table per live row: it doubles before it is half full
# No probe of a table that is half full goes as far (Knuth 6.4: for 2^24 rows about 90).
_LONGEST_PROBE: Final = 512
HOME_SHIFT: Final = 16  # a tag's low bits are not all random: it is never FREE or TOMB

FREE: Final = 0
TOMB: Final = 1
LIVE: Final = 2  # a bit of every tag; what is neither free nor dead and lacks it, no key leads to

# Kind bits of a location: bits 26..31 of its low half.
ENTRY: Final = 1 << 26  # a head, and a body behind it or elsewhere
BLOB: Final = 1 << 27  # a shared body inside a segment
FILE: Final = 1 << 28  # a shared body as a file of its own
PINNED: Final = 1 << 29
TAGGED: Final = 1 << 30
REF: Final = 1 << 31  # an entry whose body is a BLOB or FILE row
KINDS: Final = ENTRY | BLOB | FILE | PINNED | TAGGED | REF
_OFFSET_MASK: Final = (1 << 26) - 1

# A row's size is in bytes up to 2 GiB; beyond bit 31 it counts KiB (files only).
_IN_KIB: Final = 1 << 31

LAST_SEGMENT: Final = (1 << 32) - 2
_IS_LIVE: Final = bytes(bool(tag & LIVE) for tag in range(256))
_HAS_ENTRY: Final = bytes(bool(kind & ENTRY >> 24) for kind in range(256))

_ROW = struct.Struct("@QQQ")  # native: memcpy of whole words, not byte by byte
_COUNTS = struct.Struct("@QQQQ")  # the words FILLED, ENTRIES, LIVE, LIVE_BYTES
_COUNTS_AT: Final = 4 * 8


class DamagedIndex(FormatError):
    """The file cannot be an index: its rows are lost, what they pointed to is garbage."""


class Word:
    """Positions of the header's 64-bit words."""

    MAGIC: Final = 0
    VERSION: Final = 1
    STATE: Final = 2  # 0 in use; 1 superseded: open the path again
    ROWS_LOG2: Final = 3
    FILLED: Final = 4  # rows that are not FREE, tombs included
    ENTRIES: Final = 5
    LIVE: Final = 6  # entries and blobs
    LIVE_BYTES: Final = 7
    TAIL: Final = 8  # segment << 32 | offset: one word, so that both move at once
    BOOT: Final = 9  # which boot of the machine wrote last
    SEGMENT_BYTES: Final = 10  # appended to the segments that exist
    FILE_BYTES: Final = 11
    RETIRED: Final = 12  # how many segments were ever removed
    SURVEYED: Final = 13  # when a janitor last looked at all rows
    LEDGER: Final = 16  # the totals of all processes, 16 words


def location(segment: int, offset: int, kind: int) -> int:
    """Segment, kind and offset in one word."""
    return segment << 32 | kind | offset


def segment_of(place: int) -> int:
    """The segment number of a location."""
    return place >> 32


def offset_of(place: int) -> int:
    """The byte offset of a location."""
    return place & _OFFSET_MASK


def row_size(field: int) -> int:
    """The bytes that a size field stands for."""
    return field if field < _IN_KIB else (field - _IN_KIB) << 10


def _size_field(size_bytes: int) -> int:
    if size_bytes < _IN_KIB:
        return size_bytes
    return _IN_KIB + min((size_bytes + 1023) >> 10, _IN_KIB - 1)


class Table:
    """One mapped index file.

    Attributes:
        words: the whole file as unsigned 64-bit words.
        mask: number of rows minus one.
        end: the word behind the last row.

    Threads: reading is free; every method that changes something needs the writer lock.
    """

    __slots__ = ("_map", "end", "inode", "mask", "words")

    def __init__(self, mapping: mmap.mmap, inode: int) -> None:
        self._map = mapping
        self.inode = inode
        self.words = memoryview(mapping).cast("Q")
        self.mask = (1 << self.words[Word.ROWS_LOG2]) - 1
        self.end = HEADER_WORDS + ROW_WORDS * (self.mask + 1)

    @classmethod
    def open(cls, path: Path, *, read_only: bool) -> Table:
        """Map an existing index.

        Raises:
            OSError: it cannot be opened or mapped.
            DamagedIndex: not an index of this version, or damaged in its header. What versions
                a directory may hold is decided by its `format` file, before it comes to this.
        """
        fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        try:
            stat = os.fstat(fd)
            if stat.st_size < HEADER_WORDS * 8 or stat.st_size % 8:
                raise DamagedIndex(f"{path}: an index of {stat.st_size} bytes is cut short")
            prot = mmap.PROT_READ if read_only else mmap.PROT_READ | mmap.PROT_WRITE
            mapping = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED, prot=prot)
        finally:
            os.close(fd)
        words = memoryview(mapping).cast("Q")
        magic, version, rows_log2 = words[Word.MAGIC], words[Word.VERSION], words[Word.ROWS_LOG2]
        words.release()
        if magic != MAGIC or sys.byteorder != "little":
            raise DamagedIndex(f"{path}: not an index of this machine's byte order")
        if version != VERSION:
            raise DamagedIndex(f"{path}: index version {version}, this program writes {VERSION}")
        if rows_log2 > 40 or stat.st_size != (HEADER_WORDS + (ROW_WORDS << rows_log2)) * 8:
            raise DamagedIndex(f"{path}: {stat.st_size} bytes do not hold 2^{rows_log2} rows")
        return cls(mapping, stat.st_ino)

    @staticmethod
    def write_new(path: Path, *, source: Table | None = None) -> None:
        """Write a fresh index to a path that does not exist, with the live rows of another.

        Its space is allocated before it is mapped: a full disk is an OSError here, not a
        signal at the first store through the mapping.
        """
        # Counted, not read from the header: a damaged count would make a table without room.
        live = 0 if source is None else source.count_live()
        rows = 1 << (max(live * _ROOM, LEAST_ROWS) - 1).bit_length()
        words = array("Q", bytes(8 * (HEADER_WORDS + ROW_WORDS * rows)))
        if source is not None:
            words[:HEADER_WORDS] = array("Q", source.words[:HEADER_WORDS].tobytes())
            words[Word.FILLED] = words[Word.LIVE] = _place_rows(words, rows, source)
        words[Word.MAGIC], words[Word.VERSION] = MAGIC, VERSION
        words[Word.STATE], words[Word.ROWS_LOG2] = 0, rows.bit_length() - 1
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(words).cast("B")
            os.posix_fallocate(fd, 0, len(view))
            done = 0
            while done < len(view):
                done += os.write(fd, view[done : done + (1 << 20)])
        finally:
            os.close(fd)

    def slots(self, tag: int) -> list[int]:
        """The word positions of all rows with a tag, in probe order."""
        words, found = self.words, []
        slot = first = HEADER_WORDS + (tag >> HOME_SHIFT & self.mask) * ROW_WORDS
        while here := words[slot]:
            if here == tag:
                found.append(slot)
            slot += ROW_WORDS
            if slot == self.end:
                slot = HEADER_WORDS
            if slot == first:
                break
        return found

    def insert(self, tag: int, place: int, used_ns: int, size_bytes: int, expires_s: int) -> int:
        """Add a row, visible at once; its word position.

        Raises:
            DamagedIndex: every row is taken, which the counters deny.
        """
        words = self.words
        slot = first = HEADER_WORDS + (tag >> HOME_SHIFT & self.mask) * ROW_WORDS
        while words[slot] > TOMB:
            slot += ROW_WORDS
            if slot == self.end:
                slot = HEADER_WORDS
            if slot == first:
                raise DamagedIndex(f"all {self.mask + 1} rows of an index are taken")
        was_free = words[slot] == FREE
        _ROW.pack_into(self._map, (slot + 1) * 8, place, used_ns, _size_field(size_bytes) << 32 | expires_s)
        words[slot] = tag  # the commit: until here a reader finds a free or dead row
        filled, entries, live, live_bytes = _COUNTS.unpack_from(self._map, _COUNTS_AT)
        is_entry = place >> 26 & 1
        _COUNTS.pack_into(
            self._map, _COUNTS_AT, filled + was_free, entries + is_entry, live + 1, live_bytes + size_bytes
        )
        if slot - first > _LONGEST_PROBE * ROW_WORDS:
            words[Word.FILLED] = self.mask  # fuller than it counts: to be rebuilt before the next one
        return slot

    def fill(self, slot: int, tag: int, place: int, used_ns: int, size_bytes: int) -> None:
        """`insert` of an entry without expiry into a row that is known to be free."""
        _ROW.pack_into(self._map, (slot + 1) * 8, place, used_ns, size_bytes << 32)
        self.words[slot] = tag
        filled, entries, live, live_bytes = _COUNTS.unpack_from(self._map, _COUNTS_AT)
        _COUNTS.pack_into(self._map, _COUNTS_AT, filled + 1, entries + 1, live + 1, live_bytes + size_bytes)

    def move(self, slot: int, place: int, used_ns: int, size_bytes: int, expires_s: int) -> None:
        """Point a row to a newer record. One store commits; the rest is bookkeeping."""
        words = self.words
        old_bytes = row_size(words[slot + 3] >> 32)
        words[slot + 1] = place
        words[slot + 2] = used_ns
        words[slot + 3] = _size_field(size_bytes) << 32 | expires_s
        self._add_bytes(size_bytes - old_bytes)

    def remove(self, slot: int) -> None:
        """Make a row dead."""
        words = self.words
        size_bytes, place = row_size(words[slot + 3] >> 32), words[slot + 1]
        words[slot] = TOMB
        words[Word.LIVE] -= words[Word.LIVE] > 0
        if place & ENTRY:
            words[Word.ENTRIES] -= words[Word.ENTRIES] > 0
        self._add_bytes(-size_bytes)

    def _add_bytes(self, delta: int) -> None:
        # Bookkeeping may drift when a writer is killed; it must not underflow meanwhile.
        self.words[Word.LIVE_BYTES] = max(0, self.words[Word.LIVE_BYTES] + delta)

    def add(self, word: int, delta: int) -> None:
        """Add to a counter of the header, never below zero."""
        self.words[word] = max(0, self.words[word] + delta)

    def is_crowded(self, extra: int) -> bool:
        """Whether that many more rows would make probing slow (above half full)."""
        return (self.words[Word.FILLED] + extra) * 2 > self.mask + 1

    def columns(self) -> array[int]:
        """A copy of all rows as words: column k is `[k::ROW_WORDS]`."""
        rows = array("Q")
        rows.frombytes(self.words[HEADER_WORDS : self.end].cast("B"))
        return rows

    def drop_twins(self) -> None:
        """Of rows with one tag, make all dead but the one with the latest record.

        Writers make no such rows. A power loss that keeps one page and loses another does, and then
        the older record would come back when the newer is dropped.
        """
        rows = self.columns()
        latest: dict[int, int] = {}
        for i, tag in enumerate(rows[0::ROW_WORDS]):
            if not tag & LIVE:
                continue
            rival = latest.setdefault(tag, i)
            if rival != i:
                older, latest[tag] = sorted((rival, i), key=lambda row: _age(rows[row * ROW_WORDS + 1]))
                self.remove(HEADER_WORDS + older * ROW_WORDS)

    def count_live(self) -> int:
        """The rows that are neither free nor dead, counted one by one."""
        return sum(live_flags(self.columns()))

    def recount(self) -> None:
        """Compute the counters anew from the rows."""
        rows = self.columns()
        view = memoryview(rows).cast("B")
        tags = rows[0::ROW_WORDS]
        is_live = live_flags(rows)
        is_entry = bytes(view[11::32]).translate(_HAS_ENTRY)  # the byte of a place with the kind bits
        sizes = array("I", compress(view.cast("I")[7::8], is_live))
        words = self.words
        words[Word.FILLED], words[Word.LIVE] = len(tags) - tags.count(FREE), sum(is_live)
        words[Word.ENTRIES] = sum(map(and_, is_live, is_entry))
        words[Word.LIVE_BYTES] = sum(sizes if not sizes or max(sizes) < _IN_KIB else map(row_size, sizes))

    def is_plausible(self) -> bool:
        """Whether the header's counters can be true: a look at one page, not at the rows."""
        words = self.words
        return (
            words[Word.ENTRIES] <= words[Word.LIVE] <= words[Word.FILLED] <= self.mask + 1
            and max(words[Word.LIVE_BYTES], words[Word.SEGMENT_BYTES], words[Word.FILE_BYTES]) < 1 << 62
            and words[Word.TAIL] >> 32 < LAST_SEGMENT
        )

    def is_whole(self) -> bool:
        """Whether the file still has all that is mapped: to touch what it lost would be a signal."""
        return self._map.size() >= self.end * 8

    def close(self) -> None:
        """Unmap, unless a token still looks at it."""
        self.words.release()
        self._map.close()


def live_flags(rows: array[int]) -> bytes:
    """A byte for each row of a copy of all: 1 where it is live, else 0."""
    return bytes(memoryview(rows).cast("B")[0::32]).translate(_IS_LIVE)


def _age(place: int) -> tuple[int, int]:
    return segment_of(place), offset_of(place)


def _place_rows(words: array[int], rows: int, source: Table) -> int:
    """Copy the live rows of a table into the rows of a larger one; how many."""
    old = source.columns()
    mask, end, live = rows - 1, HEADER_WORDS + ROW_WORDS * rows, 0
    for i, tag in enumerate(old[0::4]):
        if not tag & LIVE:
            continue
        slot = HEADER_WORDS + (tag >> HOME_SHIFT & mask) * ROW_WORDS
        while words[slot]:
            slot += ROW_WORDS
            if slot == end:
                slot = HEADER_WORDS
        words[slot : slot + ROW_WORDS] = old[i * 4 : i * 4 + 4]
        live += 1
    return live
