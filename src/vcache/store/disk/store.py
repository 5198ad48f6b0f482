"""The local disk store: records in append-only segments, found through a mapped index.

Every read is verified; a read takes no lock and makes no system call for what is mapped; a
put is one gathered write and one store that makes it visible. Many processes share one
directory. A kill at any moment leaves every acknowledged record in place: docs/design/states.md
walks through the order of each operation. Bytes: docs/design/format.md. Why not a database:
docs/adr/0003.

It knows nothing of values, of expiry's meaning, or of policy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from vcache.entry import FIXED, Encoding, Entry, Flag, Key, Record
from vcache.errors import DecodeError, StoreClosed, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from vcache.hash import checksum, placement
from vcache.hash import digest as content_digest
from vcache.store.base import StoreCounters, StoreInfo
from vcache.store.disk import index, layout
from vcache.store.disk.blobs import Blobs, Held, Seal, Staged, blob_key, is_referring
from vcache.store.disk.index import (
    BLOB,
    ENTRY,
    FILE,
    LAST_SEGMENT,
    PINNED,
    REF,
    TAGGED,
    TOMB,
    DamagedIndex,
    Table,
    Word,
)
from vcache.store.disk.lock import WriterLock
from vcache.store.disk.segments import (
    CHECK_BYTES,
    PREFIX,
    PREFIX_BYTES,
    SEGMENT_BYTES,
    Raw,
    Segments,
    frame,
    parse,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.store.base import Survey

__all__ = ["DiskStore"]

# Up to here a body lies in its entry's record: sharing it would cost more than it saves.
INLINE_BYTES: Final = 4 << 10
# Up to here a shared body lies in a segment, beyond in a file (benchmarks/results: disk).
SEGMENT_BLOB_BYTES: Final = 256 << 10
_MAX_HEAD_BYTES: Final = 32 << 20
_LOCK_DEADLINE_S: Final = 10.0
_LEDGER_WORDS: Final = 16
_KIND_FLAGS: Final = int(Flag.TAGS | Flag.PINNED)
_VERBATIM: Final = int(Flag.VERBATIM)
_NS: Final = 1_000_000_000
# How often a reader sees to it that no mapped file was cut (0.3 µs a file): to touch what a mapping
# lost would kill the process. Nothing here cuts a file, so that once in 2 ms is often.
_LOOK_EVERY_NS: Final = 2_000_000
_TRIES: Final = 4

_OFFSET = (1 << 26) - 1
_HEADER_WORDS, _ROW_WORDS = index.HEADER_WORDS, index.ROW_WORDS
_CHECK_BYTES, _PREFIX_BYTES = CHECK_BYTES, PREFIX_BYTES
_KEY_AT = FIXED.size
_DIGEST = slice(FIXED.size - 32, FIXED.size)
_CONTENT_BYTES = slice(FIXED.size - 48, FIXED.size - 40)  # of a head: the length of the content
_EMPTY: Final = bytes(8)
_unpack_prefix = PREFIX.unpack_from

Token = tuple[Table, int, int]
Framed = tuple[int, list["Buffer"]]


class DiskStore:
    """A directory of records. Satisfies Store and every optional protocol of `store.base`.

    Args:
        path: the directory; made when missing.
        max_bytes: a budget for what the directory takes on the disk. The store only says
            when it is exceeded (`is_over_budget`); a janitor acts.
        max_entries, max_age_s: further limits for the janitor, kept here as data.
        read_only: never write, not even access times. Chosen by itself when the directory
            cannot be written to.
        clock: UTC epoch nanoseconds.

    Raises:
        FormatError: the directory holds something else, or a newer format.
        StoreUnavailable: it cannot be made or opened.

    Threads: every method from any thread; after `fork` in both processes.

    What `store.base` does not name is for this package's own rooms (collect, verify).
    """

    def __init__(
        self,
        path: Path | str,
        *,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        max_age_s: float | None = None,
        read_only: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.directory = Path(os.path.abspath(path))
        self.max_bytes, self.max_entries, self.max_age_s = max_bytes, max_entries, max_age_s
        self._clock = clock
        self._index_path = self.directory / "index"
        self.lock = WriterLock(self.directory / "lock", deadline_s=_LOCK_DEADLINE_S)
        self.blobs = Blobs(self.directory)
        # Small budgets get small segments, or none would ever be all dead.
        wanted = SEGMENT_BYTES if max_bytes is None else max(256 << 10, max_bytes // 16)
        self.segments = Segments(self.directory / "segments", segment_bytes=wanted)
        self._mapped = self.segments.mapped
        self._corrupt = self._evicted = self._faults = 0
        self._retired_seen = self._looked_ns = 0
        self._closed = False
        with _Translated(self.directory):
            self._writable = layout.prepare(self.directory, self.lock, read_only=read_only)
            self._table = self._open_table()
            if self._writable:
                self._adopt_boot()
        self._info = StoreInfo(
            "disk", _address(self.directory), True, True, True, is_read_only=not self._writable
        )
        weakref.finalize(self, self.lock.close, self.segments.close)
        _stores.add(self)

    # -- reading ---------------------------------------------------------------------------

    @property
    def info(self) -> StoreInfo:
        return self._info

    def get(self, key: Key) -> Record | None:
        """The verified record of a key, or None. A large body may be a read-only view.

        Raises:
            StoreUnavailable, StoreFull: a segment or file that is there cannot be opened.
        """
        now = self._clock()
        try:
            if not 0 <= now - self._looked_ns < _LOOK_EVERY_NS:
                self._look(now)
            table = self._table
            words = table.words
            if words[2]:  # Word.STATE, spelled out on the hot path
                table = self._follow()
                words = table.words
            tag = placement(key) | 2
            slot = first = _HEADER_WORDS + (tag >> 16 & table.mask) * _ROW_WORDS
            while here := words[slot]:
                if here == tag:
                    place = words[slot + 1]
                    head: bytes | None = None
                    body: Buffer | None = None
                    check, key_bytes = b"", 0
                    # `segments.parse`, spelled out: a call and an object less on the hottest path.
                    mapped = self._mapped.get(place >> 32)
                    if mapped is not None:
                        mapping, view = mapped
                        offset = place & _OFFSET
                        try:
                            check, length, head_bytes, key_bytes = _unpack_prefix(view, offset)
                        except struct.error:
                            length = head_bytes = 0  # no room for a record: taken for damaged
                        end, body_at = offset + length, offset + _PREFIX_BYTES + head_bytes
                        # A slice past the end is short, so its checksum does not fit.
                        if body_at <= end and checksum(view[offset + _CHECK_BYTES : end]) == check:
                            head, body = mapping[offset + _PREFIX_BYTES : body_at], mapping[body_at:end]
                    if head is None:
                        place, raw = self._look_closer(table, slot, tag)
                        if raw is not None:
                            head, key_bytes, body = raw.head, raw.key_bytes, raw.body
                        elif words[2]:
                            return self._get_slowly(key)
                    if head is not None and key_bytes == len(key) and head.startswith(key, _KEY_AT):
                        if not body and head[_CONTENT_BYTES] != _EMPTY:
                            body = self._referred(head)
                            if body is None:
                                return self._get_slowly(key)
                        assert body is not None
                        if self._writable:
                            words[slot + 2] = now
                        return Record(head, body, (table, slot, place))
                slot += _ROW_WORDS
                if slot == table.end:
                    slot = _HEADER_WORDS
                if slot == first:
                    break
        except ValueError:
            raise self._was_closed() from None
        return None

    def _get_slowly(self, key: Key) -> Record | None:
        """`get`, after a row led nowhere: others moved, replaced or dropped what it pointed to."""
        for _ in range(_TRIES):
            table = self.current()
            found = self.find(table, key, _KEY_AT)
            if found is None:
                if table is self.current():
                    return None
                continue
            slot, place, raw = found
            body = self._referred(raw.head) if is_referring(raw) else raw.body
            if body is not None:
                return Record(raw.head, body, (table, slot, place))
            self._drop_torn(key, place)
        return None

    def is_current(self, key: Key, token: object) -> bool:
        """Whether a copied record is still the one in place. Counts as a use of it."""
        if token is None:
            return False  # a record that no get gave
        table, slot, place = cast("Token", token)
        words = table.words
        now = self._clock()
        try:
            if not 0 <= now - self._looked_ns < _LOOK_EVERY_NS and self._look(now):
                return False
            if words[slot + 1] != place or words[slot] == TOMB or words[2]:
                return False
        except ValueError:
            if self._closed:
                raise self._was_closed() from None
            return False
        if self._writable:
            words[slot + 2] = now
        return True

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The verified records of those keys that are present."""
        found = ((key, self.get(key)) for key in keys)
        return {key: record for key, record in found if record is not None}

    def entry(self, key: Key) -> Entry | None:
        """The entry of a key, without reading its body."""
        found = self.find(self.current(), key, _KEY_AT)
        return None if found is None else _entry(found[2])

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys that start with a prefix."""
        for raw, _ in self._walk(ENTRY):
            if raw.head.startswith(prefix, _KEY_AT) and len(prefix) <= raw.key_bytes:
                yield raw.head[_KEY_AT : _KEY_AT + raw.key_bytes]

    def entries(self, prefix: bytes = b"", *, tagged_only: bool = False) -> Iterator[Entry]:
        """Walk the entries whose key starts with a prefix, without reading bodies."""
        for raw, _ in self._walk(ENTRY | TAGGED if tagged_only else ENTRY):
            if raw.head.startswith(prefix, _KEY_AT) and len(prefix) <= raw.key_bytes:
                entry = _entry(raw)
                if entry is not None:
                    yield entry

    def open(self, key: Key) -> tuple[Entry, BinaryIO] | None:
        """The entry and a stream of its packed body. A large one is read from its file."""
        held = self._hold(key)
        if held is not None:
            return held[0], self.blobs.open(held[1])
        record = self.get(key)
        return None if record is None else (record.entry(), BytesIO(record.body))

    def hold(self, key: Key) -> Held | None:
        """The body of an unpacked record as a verified read-only file."""
        held = self._hold(key)
        if held is None:
            record = self.get(key)
            if record is None or record.head[3] != Encoding.IDENTITY or not self._writable:
                return None
            self._put_blob_file(record.head[_DIGEST], Encoding.IDENTITY, record.body)
            held = self._hold(key)
        return held[1] if held is not None and held[0].encoding == Encoding.IDENTITY else None

    # -- writing ---------------------------------------------------------------------------

    def put(self, key: Key, record: Record) -> None:
        """Keep a record; see `Store.put`.

        Raises:
            StoreReadOnly, StoreFull, StoreBusy, StoreUnavailable: the older record is intact.
        """
        body = record.body
        if len(body) > INLINE_BYTES or not self._writable or self._closed:  # type: ignore[arg-type]
            self.put_many({key: record})
            return
        framed = frame(record.head, len(key), body)  # before the lock: others need not wait for it
        try:
            with self.lock:
                self._append_entry(key, record.head, framed, 0)
        except OSError as error:
            raise translate(error, self.directory) from error
        except ValueError:
            raise self._was_closed() from None

    def stage(self, body: Buffer) -> Staged | None:
        """Write a large body while its digest is computed; see `Staging`."""
        if memoryview(body).nbytes <= SEGMENT_BLOB_BYTES or not self._writable or self._closed:
            return None
        with _Translated(self.directory):
            return self.blobs.stage(body)

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep several records under one hold of the writer lock."""
        self._require_writable()
        with _Translated(self.directory):
            large = [record for record in records.values() if len(record.body) > SEGMENT_BLOB_BYTES]  # type: ignore[arg-type]
            seals = {id(record): self._write_blob_file(record) for record in large}
            with self.lock:
                for key, record in records.items():
                    self._put_locked(key, record, seals.get(id(record)))

    def put_file(self, entry: Entry, source: Path, *, move: bool = False) -> Entry:
        """Keep the content of a file as it is; see `Files.put_file`."""
        self._require_writable()
        with _Translated(self.directory):
            if os.stat(source).st_size <= SEGMENT_BLOB_BYTES:
                body = source.read_bytes()
                entry = _with_content(entry, content_digest(body), len(body))
                self.put(entry.key, Record(entry.encode(), body))
                if move:
                    source.unlink(missing_ok=True)
                return entry
            digest, seal = self.blobs.adopt(source, move=move)
            entry = _with_content(entry, digest, seal.size_bytes)
            with self.lock:
                if not self.blobs.exists(digest, Encoding.IDENTITY):
                    raise StoreUnavailable(f"{source}: its copy was removed meanwhile; put it again")
                self._publish_blob(digest, Encoding.IDENTITY, seal)
                head = entry.encode()
                self._append_entry(entry.key, head, frame(head, len(entry.key), b""), REF)
            return entry

    def delete(self, key: Key) -> bool:
        """Forget a key; whether there was one. Space returns with `reclaim`."""
        self._require_writable()
        with _Translated(self.directory), self.lock:
            table = self.current()
            found = self.find(table, key, _KEY_AT)
            if found is None:
                return False
            while found is not None:  # one row, but for what a damaged index may hold
                table.remove(found[0])
                found = self.find(table, key, _KEY_AT)
            return True

    # -- keeping house ---------------------------------------------------------------------

    def counters(self) -> StoreCounters:
        """What the store holds: read from the index header."""
        words = self.current().words
        return StoreCounters(
            words[Word.ENTRIES], words[Word.LIVE_BYTES], self._corrupt, self._evicted, self._faults
        )

    def disk_bytes(self) -> int:
        """What the directory takes, as kept by the header's counters."""
        table = self.current()
        return table.words[Word.SEGMENT_BYTES] + table.words[Word.FILE_BYTES] + table.end * 8

    def measure(self) -> int:
        """What the directory takes, measured; sets the header's counters right."""
        words = self.current().words
        before = words[Word.SEGMENT_BYTES], words[Word.FILE_BYTES]
        segments = sum(map(self.segments.disk_bytes, self.segments.numbers()))
        files = sum(stat.st_blocks * 512 for _, _, stat in self.blobs.walk())
        with self.lock.joined():
            words = self.current().words  # writers went on meanwhile: what they added counts as well
            words[Word.SEGMENT_BYTES] = max(0, segments + words[Word.SEGMENT_BYTES] - before[0])
            words[Word.FILE_BYTES] = max(0, files + words[Word.FILE_BYTES] - before[1])
        return self.disk_bytes()

    def is_over_budget(self) -> bool:
        """Whether a janitor has something to do."""
        if self.max_bytes is not None and self.disk_bytes() > self.max_bytes:
            return True
        return self.max_entries is not None and self.current().words[Word.ENTRIES] > self.max_entries

    def survey(self) -> Survey:
        """A snapshot of all rows."""
        from vcache.store.disk.collect import survey  # 2 ms of imports that only a janitor needs

        return survey(self.current())

    def evict(self, survey: Survey, rows: Iterable[int]) -> int:
        """Drop rows that did not change since the survey; how many."""
        from vcache.store.disk.collect import evict

        self._require_writable()
        with _Translated(self.directory):
            dropped = evict(self, survey, rows)
        self._evicted += dropped
        return dropped

    def reclaim(self, *, target_bytes: int | None = None) -> int:
        """Give the space of dead records back; bytes freed."""
        from vcache.store.disk.collect import reclaim

        self._require_writable()
        with _Translated(self.directory):
            return reclaim(self, target_bytes=target_bytes)

    def verify(self, *, repair: bool = False) -> Iterator[tuple[Key | None, str | None]]:
        """Walk everything, reading every byte against its BLAKE3 digest."""
        from vcache.store.disk.verify import verify

        return verify(self, repair=repair and self._writable)

    def tally(self, deltas: Sequence[int]) -> None:
        """Add to the totals that all processes share (at most 16 numbers)."""
        if not self._writable:
            return
        with _Translated(self.directory), self.lock:
            words = self.current().words
            for position, delta in enumerate(deltas[:_LEDGER_WORDS], Word.LEDGER):
                words[position] = words[position] + delta & 0xFFFFFFFFFFFFFFFF

    def totals(self) -> tuple[int, ...]:
        """The totals of all processes since the directory was made."""
        return tuple(self.current().words[Word.LEDGER : Word.LEDGER + _LEDGER_WORDS])

    def close(self) -> None:
        """Release mappings and descriptors. May be called again."""
        if self._closed:
            return
        self._closed = True
        _stores.discard(self)
        self.lock.close(self.segments.close, self._close_table)

    def _close_table(self) -> None:
        with contextlib.suppress(BufferError):
            self._table.close()

    def _was_closed(self) -> Exception:
        """What a ValueError in the middle of work means: another thread took the mapping away."""
        if self._closed:
            return StoreClosed(f"{self.directory} was closed")
        return cast("Exception", sys.exception())

    # -- inside: finding -------------------------------------------------------------------

    def current(self) -> Table:
        """The table in use."""
        try:
            return self._follow() if self._table.words[Word.STATE] else self._table
        except ValueError:
            raise self._was_closed() from None

    def _look(self, now_ns: int) -> bool:
        """See to it that no mapped file was cut; whether the table was, and another took its place."""
        self._looked_ns = now_ns
        self.segments.forget_shrunk()
        if self._table.is_whole():
            return False
        with _Translated(self.directory):
            if self._writable:
                with self.lock.joined():
                    layout.replace_index(self.directory)
            self._table = self._open_table()
            if self._writable:
                self._adopt_boot()
        return True

    def _follow(self) -> Table:
        """The table that took the place of a superseded one."""
        with _Translated(self.directory):
            table = self._open_table()
            if table.words[Word.STATE] and self._writable:
                with self.lock.joined():  # its writer is at work, or was killed at it
                    table = self._open_table()
                    if table.words[Word.STATE]:
                        table = self.rebuild(table)
        self._table = table
        self._forget_removed()
        return table

    def _forget_removed(self) -> None:
        """Let go of segments that others removed: their space returns with the last mapping."""
        retired = self._table.words[Word.RETIRED]
        if retired != self._retired_seen:
            self._retired_seen = retired
            self.segments.forget_removed()

    def find(self, table: Table, key: bytes, key_at: int) -> tuple[int, int, Raw] | None:
        """(word position, location, record) of a key, without its referred body.

        Args:
            key_at: where the key starts in a record's head.
        """
        tag = placement(key) | 2
        for slot in table.slots(tag):
            place = table.words[slot + 1]
            raw = self.read(place)
            if raw is None:
                place, raw = self._look_closer(table, slot, tag)
            if raw is not None and raw.key_bytes == len(key) and raw.head.startswith(key, key_at):
                return slot, place, raw
        return None

    def read(self, place: int) -> Raw | None:
        """The sound record at a location, or None."""
        number, offset = place >> 32, place & _OFFSET
        try:
            view = self.segments.view(number)
            raw = None if view is None else parse(view, offset)
            if raw is None and (again := self.segments.view_again(number)) is not None:
                raw = parse(again, offset)
        except OSError as error:
            raise translate(error, self.directory) from error
        return raw

    def _look_closer(self, table: Table, slot: int, tag: int) -> tuple[int, Raw | None]:
        """Read a row again that gave no record at first sight.

        It may have moved (compaction), its segment may not be mapped yet, or it is damaged:
        only a row that stays the same under two looks is.
        """
        words = table.words
        self._forget_removed()
        place = words[slot + 1]
        for _ in range(_TRIES):
            raw = self.read(place)
            if raw is not None or words[slot] != tag:
                return place, raw
            if words[slot + 1] == place:
                break
            place = words[slot + 1]
        # The rows of a superseded table are not kept up: what they point to may be gone by right.
        if not words[Word.STATE]:
            self._quarantine_row(table, slot, tag, place)
        return place, None

    def _quarantine_row(self, table: Table, slot: int, tag: int, place: int) -> None:
        if not self._writable:
            self._corrupt += 1
            return
        with contextlib.suppress(StoreError, OSError), self.lock.joined():
            words = table.words
            if words[slot] != tag or words[slot + 1] != place or words[Word.STATE]:
                return
            self._corrupt += 1
            table.remove(slot)
            view = self.segments.view(place >> 32)
            if view is not None:
                layout.keep_aside(self.directory, place, view, place & _OFFSET)
            elif place >> 32 == words[Word.TAIL] >> 32:
                self.new_segment(table)  # somebody removed the file that is written to

    def _referred(self, head: bytes) -> Buffer | None:
        """The verified body that an entry refers to, or None."""
        digest, encoding = head[_DIGEST], head[3]
        table = self.current()
        found = self.find(table, blob_key(digest, encoding), 0)
        if found is None:
            return None
        slot, place, raw = found
        seal = Seal.of(raw.body)
        body: Buffer | None = raw.body
        if seal is not None:
            with _Translated(self.directory):
                body = self.blobs.read(digest, encoding, seal, mapped=_is_mappable(head))
            if body is None:
                self._drop_blob(table, slot, place, digest, encoding)
        if self._writable:
            table.words[slot + 2] = self._clock()
        return body

    def _drop_blob(self, table: Table, slot: int, place: int, digest: bytes, encoding: int) -> None:
        """A blob file that is gone or damaged: forget it, keep the damaged bytes aside."""
        if not self._writable:
            self._corrupt += 1
            return
        with contextlib.suppress(StoreError, OSError), self.lock.joined():
            words = table.words
            if words[Word.STATE] or words[slot] <= TOMB or words[slot + 1] != place:
                return  # dropped by right
            raw = self.read(place)
            seal = None if raw is None else Seal.of(raw.body)
            if seal is not None and not self.blobs.is_sound(digest, encoding, seal):
                self._corrupt += 1
                table.remove(slot)
                table.add(Word.FILE_BYTES, -seal.size_bytes)
                self.blobs.quarantine(digest, encoding, self.directory / "quarantine")

    def _drop_torn(self, key: Key, place: int) -> None:
        """An entry whose body is gone: absent from here on."""
        if not self._writable:
            return
        with contextlib.suppress(StoreError, OSError), self.lock.joined():
            table = self.current()
            found = self.find(table, key, _KEY_AT)
            if found is not None and found[1] == place:
                head = found[2].head
                if self.find(table, blob_key(head[_DIGEST], head[3]), 0) is None:
                    table.remove(found[0])

    def _hold(self, key: Key) -> tuple[Entry, Held] | None:
        """The entry of a key and its verified file under a lock, if it has one."""
        found = self.find(self.current(), key, _KEY_AT)
        entry = None if found is None else _entry(found[2])
        if found is None or entry is None:
            return None
        table = self.current()
        blob = self.find(table, blob_key(entry.digest, entry.encoding), 0)
        seal = None if blob is None else Seal.of(blob[2].body)
        if blob is None or seal is None:
            return None
        with _Translated(self.directory):
            held = self.blobs.hold(entry.digest, entry.encoding, seal)
        if held is None:
            return None
        if self._writable:
            table.words[blob[0] + 2] = self._clock()
            self.is_current(key, (table, found[0], found[1]))
        return entry, held

    def _walk(self, kinds: int) -> Iterator[tuple[Raw, int]]:
        """All sound records of rows that have all of some kind bits, with their location."""
        rows = self.current().columns()
        tags, places = rows[0::4], rows[1::4]
        for tag, place in zip(tags, places, strict=True):
            if tag <= TOMB or place & kinds != kinds:
                continue
            with _Translated(self.directory):
                raw = self.read(place)
            if raw is None:  # moved, removed or damaged since: look where it is now
                table = self.current()
                for slot in table.slots(tag):
                    now = table.words[slot + 1]
                    if now != place and now & kinds == kinds and (raw := self.read(now)) is not None:
                        yield raw, now
                continue
            yield raw, place

    # -- inside: writing (the lock is held) --------------------------------------------------

    def _require_writable(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self.directory} was closed")
        if not self._writable:
            raise StoreReadOnly(f"{self.directory} is read-only: open a writable directory to store")

    def _put_locked(self, key: Key, record: Record, seal: Seal | None) -> None:
        head, body = record.head, record.body
        size = len(body)  # type: ignore[arg-type]
        if size <= INLINE_BYTES:
            self._append_entry(key, head, frame(head, len(key), body), 0)
            return
        digest, encoding = head[_DIGEST], head[3]
        if seal is None:
            self._share_in_segment(digest, encoding, body)
        else:
            if not self.blobs.exists(digest, encoding):
                seal = self.blobs.write(digest, encoding, body)
            self._publish_blob(digest, encoding, seal)
        self._append_entry(key, head, frame(head, len(key), b""), REF)

    def _append_entry(self, key: Key, head: bytes, framed: Framed, kind: int) -> None:
        flags = head[1]
        if len(head) > _MAX_HEAD_BYTES:
            raise StoreFull(f"an entry whose description takes {len(head)} bytes (at most {_MAX_HEAD_BYTES})")
        if flags & _KIND_FLAGS:
            kind |= (TAGGED if flags & Flag.TAGS else 0) | (PINNED if flags & Flag.PINNED else 0)
        expires_s = 0
        if flags != _VERBATIM:  # those never expire
            expires_s = min(-(-int.from_bytes(head[20:28], "little") // _NS), 0xFFFFFFFF)
        self._append(key, framed, kind | ENTRY, _KEY_AT, expires_s, 0)

    def _append(
        self, key: bytes, framed: Framed, kind: int, key_at: int, expires_s: int, charge_bytes: int
    ) -> None:
        """Write a record at the tail, then point its key's row to it.

        Args:
            key_at: where the key starts in the head.
            charge_bytes: what the record takes outside its segment.
        """
        now = self._clock()
        if not 0 <= now - self._looked_ns < _LOOK_EVERY_NS:
            self._look(now)
        table = self.current()
        if table.words[4] * 2 >= table.mask:  # Word.FILLED: above half full, probing gets slow
            table = self.rebuild(table)
        length, parts = framed
        place = self.write_at_tail(table, parts, length) | kind
        tag = placement(key) | 2
        old = self._row_of(table, tag, key, key_at)
        if old is not None:
            table.move(old, place, now, length + charge_bytes, expires_s)
            return
        try:
            table.insert(tag, place, now, length + charge_bytes, expires_s)
        except DamagedIndex:  # full, against what it counts
            self.rebuild(table).insert(tag, place, now, length + charge_bytes, expires_s)

    def _row_of(self, table: Table, tag: int, key: bytes, key_at: int) -> int | None:
        """The row a key has, if any; a damaged one with its tag is taken for it."""
        if table.words[_HEADER_WORDS + (tag >> 16 & table.mask) * _ROW_WORDS] == 0:
            return None  # most new keys: their home is free
        for slot in table.slots(tag):
            raw = self.read(table.words[slot + 1])
            if raw is None or (raw.key_bytes == len(key) and raw.head.startswith(key, key_at)):
                return slot
        return None

    def write_at_tail(self, table: Table, parts: list[Buffer], length: int) -> int:
        """Append a record's pieces; its location without kind bits. The lock is held."""
        words = table.words
        tail = words[8]  # Word.TAIL
        number, offset = tail >> 32, tail & 0xFFFFFFFF
        if offset + length > self.segments.room(number):
            number, offset = self.new_segment(table, length), 0
        behind = self.segments.append(number, offset, parts, length)
        words[8] = number << 32 | behind
        words[10] += behind - offset  # Word.SEGMENT_BYTES
        return number << 32 | offset

    def new_segment(self, table: Table, least_bytes: int = 0) -> int:
        """Open the next segment as the tail; its number. The lock is held."""
        number = self.segments.create((table.words[Word.TAIL] >> 32) + 1, least_bytes=least_bytes)
        table.words[Word.TAIL] = number << 32
        self._forget_removed()
        return number

    def _share_in_segment(self, digest: bytes, encoding: int, body: Buffer) -> None:
        key = blob_key(digest, encoding)
        table = self.current()
        found = self.find(table, key, 0)
        if found is not None and Seal.of(found[2].body) is None:  # verified by being found
            table.words[found[0] + 2] = self._clock()
        else:
            self._append(key, frame(key, len(key), body), BLOB, 0, 0, 0)

    def _publish_blob(self, digest: bytes, encoding: int, seal: Seal) -> None:
        key = blob_key(digest, encoding)
        table = self.current()
        found = self.find(table, key, 0)
        kept = None if found is None else Seal.of(found[2].body)
        # Two writers may pack one content differently: the file is that of the last one.
        if found is not None and kept is not None:
            same = kept.to_bytes() == seal.to_bytes()
            if same or self.blobs.is_sound(digest, encoding, kept):
                table.words[found[0] + 2] = self._clock()
                return
        self._append(key, frame(key, len(key), seal.to_bytes()), FILE, 0, 0, seal.size_bytes)
        self.current().add(Word.FILE_BYTES, seal.size_bytes)

    def rebuild(self, table: Table) -> Table:
        """Put a fresh table in place of a crowded or superseded one.

        The old one is marked first: a kill before the new one has its name leaves a table that
        says of itself that it must be rebuilt, never two that both take rows.
        """
        table.words[Word.STATE] = 1
        fresh = self.directory / "index.new"
        fresh.unlink(missing_ok=True)
        try:
            Table.write_new(fresh, source=table)
        except OSError:
            fresh.unlink(missing_ok=True)
            table.words[Word.STATE] = 0  # no room to grow: the old one serves on
            raise
        os.rename(fresh, self._index_path)
        self._table = self._open_table()
        return self._table

    # -- inside: files written outside the lock -----------------------------------------------

    def _write_blob_file(self, record: Record) -> Seal:
        """A large body as a file, written only if a sound one is not there."""
        digest, encoding = record.head[_DIGEST], record.head[3]
        found = self.find(self.current(), blob_key(digest, encoding), 0)
        seal = None if found is None else Seal.of(found[2].body)
        if found is not None and seal is not None:
            if self.blobs.is_sound(digest, encoding, seal):
                return seal
            self._drop_blob(self.current(), found[0], found[1], digest, encoding)
        staged = record.token if isinstance(record.token, Staged) else self.blobs.stage(record.body)
        return self.blobs.publish(staged, digest, encoding)

    def _put_blob_file(self, digest: bytes, encoding: int, body: Buffer) -> None:
        """Give a body that lies in a segment a file as well, to hand out by path."""
        with _Translated(self.directory):
            seal = self.blobs.write(digest, encoding, body)
            with self.lock:
                if self.blobs.exists(digest, encoding):
                    self._publish_blob(digest, encoding, seal)

    # -- inside: opening -------------------------------------------------------------------

    def _open_table(self) -> Table:
        return Table.open(self._index_path, read_only=not self._writable)

    def _adopt_boot(self) -> None:
        """After a reboot, trust neither counters nor rows' order nor the tail; see docs/design/states.md.

        A power loss keeps some pages and loses others: rows may be there twice or behind a gap.
        """
        boot = layout.boot_stamp()
        if self._is_adopted(boot):
            return
        with self.lock.joined():
            table = self.current()
            if self._is_adopted(boot):
                return
            is_plausible = table.is_plausible()
            table.drop_twins()
            table.recount()
            if table.words[Word.TAIL] >> 32 >= LAST_SEGMENT:
                table.words[Word.TAIL] = 0
            with contextlib.suppress(OSError):  # a full disk: the old one serves on
                table = self.rebuild(table)
            last = max(self.segments.numbers(), default=0)
            table.words[Word.TAIL] = max(last, table.words[Word.TAIL] >> 32) << 32
            self.new_segment(table)
            if not is_plausible:
                table.words[Word.SEGMENT_BYTES] = table.words[Word.FILE_BYTES] = 0
                self.measure()
            table.words[Word.BOOT] = boot

    def _is_adopted(self, boot: int) -> bool:
        return self.current().words[Word.BOOT] == boot and self._table.is_plausible()

    def after_fork(self) -> None:
        """In a child process: share nothing with the parent's lock."""
        self.lock.after_fork()


_stores: weakref.WeakSet[DiskStore] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _entry(raw: Raw) -> Entry | None:
    """The entry of a record, None if it is of a later version."""
    try:
        return Entry.decode(raw.head)
    except DecodeError:
        return None


def _address(directory: Path) -> str:
    """The URL that opens a directory again."""
    text = str(directory)
    if any(mark in text for mark in " ?%#") or not text.isprintable():
        from urllib.parse import quote  # 2 ms of imports that hardly any directory needs

        text = quote(text)
    return f"disk:{text}"


def _is_mappable(head: bytes) -> bool:
    """Whether a view serves as well as bytes: not for the codecs that hand bytes out."""
    codec_at = _KEY_AT + int.from_bytes(head[4:8], "little")
    return head[codec_at : codec_at + head[2]] not in (b"bytes", b"str")


def _with_content(entry: Entry, digest: bytes, size_bytes: int) -> Entry:
    from dataclasses import replace

    return replace(entry, digest=digest, size_bytes=size_bytes, encoding=Encoding.IDENTITY)


class _Translated:
    """Turns an OSError into the StoreError that says whether a retry helps."""

    __slots__ = ("_where",)

    def __init__(self, where: Path) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise translate(error, self._where) from error


def translate(error: OSError, where: Path) -> StoreError:
    """The StoreError that says whether a retry helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return StoreFull(f"{where}: {error.strerror}")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreReadOnly(f"{where}: {error.strerror}")
    return StoreUnavailable(f"{where}: {error}")
