"""What a janitor does to a disk store: survey its rows, evict some, give space back.

Each step holds the writer lock for a short batch only. Nothing is dropped that changed or was
used since the survey, nor a file that somebody holds.
"""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from typing import TYPE_CHECKING, Final

from vcache.entry import FIXED, Encoding
from vcache.errors import StoreFull, StoreUnavailable
from vcache.kit.data import dataclass
from vcache.store.base import Survey
from vcache.store.disk import layout
from vcache.store.disk.blobs import BLOB_KEY_BYTES, Seal, blob_key, split_blob_key
from vcache.store.disk.index import (
    ENTRY,
    FILE,
    LEAST_ROWS,
    LIVE,
    PINNED,
    REF,
    TOMB,
    Table,
    Word,
    live_flags,
    offset_of,
    row_size,
)
from vcache.store.disk.segments import PREFIX, PREFIX_BYTES

if TYPE_CHECKING:
    from vcache.store.disk.segments import Raw
    from vcache.store.disk.writing import Writer

__all__ = ["DiskSurvey", "evict", "reclaim", "survey"]

_BATCH: Final = 128
_IN_KIB: Final = 1 << 31
# What a FILE row takes in its segment; its size counts the file as well.
_FILE_RECORD_BYTES: Final = 88
# A file that no row knows may belong to a put that has not published yet; if it is swept, that put
# writes it again.
_ORPHAN_AGE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class DiskSurvey(Survey):
    """A survey that also knows where each row's record was."""

    table: Table
    places: Sequence[int]


def survey(table: Table) -> DiskSurvey:
    """A snapshot of all live rows, column by column: no object per row."""
    rows = table.columns()
    octets = memoryview(rows).cast("B")
    halves = octets.cast("I")
    live = live_flags(rows)
    places = array("Q", compress(rows[1::4], live))
    sizes = array("Q", compress(halves[7::8], live))
    if sizes and max(sizes) >= _IN_KIB:
        sizes = array("Q", map(row_size, sizes))
    kinds = bytes(compress(octets[11::32], live))  # the byte of a location that holds its kind bits
    first = (table.end - len(rows)) if rows else 0
    return DiskSurvey(
        ids=array("Q", compress(range(first, table.end, 4), live)),
        used_ns=array("Q", compress(rows[2::4], live)),
        expires_s=array("Q", compress(halves[6::8], live)),
        size_bytes=sizes,
        is_pinned=kinds.translate(_IS_PINNED),
        is_entry=kinds.translate(_IS_ENTRY),
        table=table,
        places=places,
    )


_IS_PINNED: Final = bytes(bool(kind & PINNED >> 24) for kind in range(256))
_IS_ENTRY: Final = bytes(bool(kind & ENTRY >> 24) for kind in range(256))


def evict(store: Writer, survey: Survey, rows: Iterable[int]) -> int:
    """Drop rows that did not change since the survey; how many."""
    if not isinstance(survey, DiskSurvey):
        raise TypeError("a disk store evicts by its own survey only")
    dropped, wanted = 0, iter(rows)
    while batch := list(islice(wanted, _BATCH)):
        with store.lock:
            table = store.current()
            if table is not survey.table:
                return dropped  # it grew meanwhile: positions mean something else
            for row in batch:
                dropped += _evict_row(store, survey, row)
    return dropped


def _evict_row(store: Writer, survey: DiskSurvey, row: int) -> bool:
    table, slot, place = survey.table, survey.ids[row], survey.places[row]
    words = table.words
    if words[slot] <= TOMB or words[slot + 1] != place or words[slot + 2] != survey.used_ns[row]:
        return False
    return _drop_row(store, table, slot)


def _drop_row(store: Writer, table: Table, slot: int) -> bool:
    """Make a row dead, and remove its file if it has one; False if somebody holds that. The lock is held."""
    place = table.words[slot + 1]
    raw = None if place & ENTRY else store.read(place)
    name = None if raw is None else split_blob_key(raw.head)
    seal = None if raw is None else Seal.of(raw.body)
    if name is not None and seal is not None:
        if store.blobs.remove(*name) is None:
            return False  # somebody holds it
        table.add(Word.FILE_BYTES, -seal.size_bytes)
    table.remove(slot)
    return True


def reclaim(store: Writer, *, target_bytes: int | None) -> int:
    """Give the space of dead records and orphaned files back; bytes freed."""
    before = store.measure()
    _drop_orphan_rows(store)
    _reclaim_segments(store, target_bytes)
    _sweep_orphan_files(store)
    store.blobs.sweep_scratch()
    layout.sweep_evidence(store.directory, target_bytes)
    with contextlib.suppress(OSError, StoreFull):  # no room for a fresh table: the old one serves on
        _shrink_table(store)
    return max(0, before - store.measure())


def _drop_orphan_rows(store: Writer) -> None:
    """Drop shared bodies that no entry refers to, and entries whose body was dropped.

    A put that begins to refer to a body touches its row under the lock, and so keeps it.
    """
    with store.lock:  # or a put that is half done would look like an orphan
        view = survey(store.current())
    bodies = {
        _shared_key(store, place): row for row, place in enumerate(view.places) if not view.is_entry[row]
    }
    bodies.pop(None, None)  # damaged, or moved since
    needed = set()
    for place, raw in _referring(store, view):
        key = blob_key(raw.head[FIXED.size - 32 : FIXED.size], raw.head[3])
        needed.add(key)
        if key not in bodies:
            store.drop_torn(raw.head[FIXED.size : FIXED.size + raw.key_bytes], place)
    evict(store, view, [row for key, row in bodies.items() if key not in needed])


def _referring(store: Writer, view: DiskSurvey) -> Iterator[tuple[int, Raw]]:
    """The entries whose body is elsewhere: where they are now, and their records."""
    for row, place in enumerate(view.places):
        if place & REF:
            # Another collector may have moved it since: then the row says where to.
            raw = store.read(place)
            if raw is None:
                place = view.table.words[view.ids[row] + 1]
                raw = store.read(place)
            if raw is not None:
                yield place, raw


def _shared_key(store: Writer, place: int) -> bytes | None:
    """The key of a shared body, without reading the body for its checksum; None if there is none."""
    view, offset = store.segments.view(place >> 32), offset_of(place) + PREFIX_BYTES
    key = b"" if view is None else bytes(view[offset : offset + BLOB_KEY_BYTES])
    return None if split_blob_key(key) is None else key


def _shrink_table(store: Writer) -> None:
    """A fresh table where tombs or emptiness make the old one slow or large."""
    with store.lock:
        table = store.current()
        table.recount()  # killed writers leave counters behind
        words, rows = table.words, table.mask + 1
        tombs = words[Word.FILLED] - words[Word.LIVE]
        if tombs * 4 > rows or (rows > LEAST_ROWS and words[Word.LIVE] * 16 < rows):
            store.rebuild(table)


def _reclaim_segments(store: Writer, target_bytes: int | None) -> None:
    """Remove dead segments, and move the live records out of mostly dead ones."""
    for number, rows in _by_liveness(store):
        takes = store.segments.disk_bytes(number)
        lives = sum(size for _, _, size in rows)
        over = target_bytes is not None and store.disk_bytes() > target_bytes
        worth = lives * 2 < takes or (over and lives * 16 < takes * 15)
        if rows and not worth:
            continue
        if number == store.current().words[Word.TAIL] >> 32:
            if not takes or not (rows or over or takes > 1 << 20):
                continue
            with store.lock:
                store.new_segment(store.current())
        try:
            _move_out(store, rows)
        except (OSError, StoreFull, StoreUnavailable):
            # No room to move anything. A budget is kept all the same; else what is there stays.
            if not over or not _give_up(store, rows):
                return
        _remove_segment(store, number)


def _by_liveness(store: Writer) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """Each segment with its live rows (tag, place, bytes in it), the emptiest first."""
    segments: dict[int, list[tuple[int, int, int]]] = {number: [] for number in store.segments.numbers()}
    columns = store.current().columns()
    for tag, place, packed in zip(columns[0::4], columns[1::4], columns[3::4], strict=True):
        if tag & LIVE and place >> 32 in segments:
            size = _FILE_RECORD_BYTES if place & FILE else row_size(packed >> 32)
            segments[place >> 32].append((tag, place, size))
    yield from sorted(segments.items(), key=lambda item: sum(size for _, _, size in item[1]))


def _move_out(store: Writer, rows: list[tuple[int, int, int]]) -> None:
    """Append copies of live records at the tail and point their rows there."""
    wanted = iter(rows)
    while batch := list(islice(wanted, _BATCH)):
        with store.lock:
            table = store.current()
            for tag, place, _ in batch:
                for slot in table.slots(tag):
                    if table.words[slot + 1] == place:
                        _move_row(store, table, slot, place)


def _give_up(store: Writer, rows: list[tuple[int, int, int]]) -> bool:
    """Drop the live records of a segment that cannot be moved; False with nothing done if one is pinned."""
    if any(place & PINNED for _, place, _ in rows):
        return False
    with store.lock:
        table = store.current()
        for tag, place, _ in rows:
            for slot in table.slots(tag):
                if table.words[slot + 1] == place:
                    store._evicted += _drop_row(store, table, slot)  # two halves of one store
    return True


def _move_row(store: Writer, table: Table, slot: int, place: int) -> None:
    view, offset = store.segments.view(place >> 32), offset_of(place)
    if view is None or store.read(place) is None:
        table.remove(slot)  # damaged: do not carry it along
        return
    length = PREFIX.unpack_from(view, offset)[1]
    kind = place & 0xFFFFFFFF & ~((1 << 26) - 1)
    table.words[slot + 1] = store.write_at_tail(table, [view[offset : offset + length]], length) | kind


def _remove_segment(store: Writer, number: int) -> None:
    with store.lock:
        table = store.current()
        words = table.words
        if number == words[Word.TAIL] >> 32:
            return
        columns = table.columns()
        if any(
            place >> 32 == number and tag & LIVE
            for tag, place in zip(columns[0::4], columns[1::4], strict=True)
        ):
            return
        table.add(Word.SEGMENT_BYTES, -store.segments.remove(number))
        words[Word.RETIRED] += 1


def _sweep_orphan_files(store: Writer) -> None:
    """Remove blob files that no row knows, left by writers that were killed."""
    before = time.time() - _ORPHAN_AGE_S
    for digest, encoding, stat in store.blobs.walk():
        if stat.st_mtime < before and not _is_known(store, digest, encoding):
            with store.lock, contextlib.suppress(OSError):
                if not _is_known(store, digest, encoding):
                    store.blobs.remove(digest, encoding)


def _is_known(store: Writer, digest: bytes, encoding: Encoding) -> bool:
    return store.find(store.current(), blob_key(digest, encoding), 0) is not None
