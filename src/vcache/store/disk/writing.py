"""Writing a disk store: a record at the tail, then one store that makes it visible.

The order of every step is that of docs/design/states.md: a kill between any two loses nothing
that was acknowledged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.entry import Encoding, Entry, Flag, Key, Record
from vcache.errors import StoreFull, StoreUnavailable
from vcache.hash import digest as content_digest
from vcache.hash import placement
from vcache.store.disk import index
from vcache.store.disk.blobs import Held, Seal, Staged, blob_key
from vcache.store.disk.engine import DIGEST, KEY_AT, LOOK_EVERY_NS
from vcache.store.disk.index import BLOB, ENTRY, FILE, PINNED, REF, TAGGED, TOMB, DamagedIndex, Table, Word
from vcache.store.disk.reading import Reader
from vcache.store.disk.segments import frame
from vcache.store.disk.trouble import Translated, translate

if TYPE_CHECKING:
    from typing_extensions import Buffer


__all__ = ["Writer"]

# Up to here a body lies in its entry's record: sharing it would cost more than it saves.
INLINE_BYTES: Final = 4 << 10
# Up to here a shared body lies in a segment, beyond in a file (benchmarks/results: disk).
SEGMENT_BLOB_BYTES: Final = 256 << 10
_MAX_HEAD_BYTES: Final = 32 << 20
_KIND_FLAGS: Final = int(Flag.TAGS | Flag.PINNED)
_VERBATIM: Final = int(Flag.VERBATIM)
_NS: Final = 1_000_000_000
_HEADER_WORDS, _ROW_WORDS = index.HEADER_WORDS, index.ROW_WORDS
Framed = tuple[int, list["Buffer"]]


class Writer(Reader):
    """The writing half of a disk store."""

    def hold(self, key: Key) -> Held | None:
        """The body of an unpacked record as a verified read-only file."""
        held = self._hold(key)
        if held is None:
            record = self.get(key)
            if record is None or record.head[3] != Encoding.IDENTITY or not self._writable:
                return None
            self._put_blob_file(record.head[DIGEST], Encoding.IDENTITY, record.body)
            held = self._hold(key)
        return held[1] if held is not None and held[0].encoding == Encoding.IDENTITY else None

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
                if record.head[1] != _VERBATIM or not self._append_simple(key, framed):
                    self._append_entry(key, record.head, framed, 0)
        except OSError as error:
            raise translate(error, self.directory) from error
        except ValueError:
            raise self._was_closed() from None

    def stage(self, body: Buffer) -> Staged | None:
        """Write a large body while its digest is computed; see `Staging`."""
        if memoryview(body).nbytes <= SEGMENT_BLOB_BYTES or not self._writable or self._closed:
            return None
        with Translated(self.directory):
            return self.blobs.stage(body)

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep several records under one hold of the writer lock."""
        self._require_writable()
        with Translated(self.directory):
            large = [record for record in records.values() if len(record.body) > SEGMENT_BLOB_BYTES]  # type: ignore[arg-type]
            seals = {id(record): self._write_blob_file(record) for record in large}
            with self.lock:
                for key, record in records.items():
                    self._put_locked(key, record, seals.get(id(record)))

    def put_file(self, entry: Entry, source: Path, *, move: bool = False) -> Entry:
        """Keep the content of a file as it is; see `Files.put_file`."""
        self._require_writable()
        with Translated(self.directory):
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
        with Translated(self.directory), self.lock:
            table = self.current()
            found = self.find(table, key, KEY_AT)
            if found is None:
                return False
            while found is not None:  # one row, but for what a damaged index may hold
                table.remove(found[0])
                found = self.find(table, key, KEY_AT)
            return True

    def _put_locked(self, key: Key, record: Record, seal: Seal | None) -> None:
        head, body = record.head, record.body
        size = len(body)  # type: ignore[arg-type]
        if size <= INLINE_BYTES:
            self._append_entry(key, head, frame(head, len(key), body), 0)
            return
        digest, encoding = head[DIGEST], head[3]
        if seal is None:
            self._share_in_segment(digest, encoding, body)
        else:
            if not self.blobs.exists(digest, encoding):
                seal = self.blobs.write(digest, encoding, body)
            self._publish_blob(digest, encoding, seal)
        if head[1] & Flag.PINNED:
            self._pin_blob(digest, encoding)
        self._append_entry(key, head, frame(head, len(key), b""), REF)

    def _pin_blob(self, digest: bytes, encoding: int) -> None:
        """Keep a shared body as long as somebody refers to it: without it a pinned entry is lost."""
        table = self.current()
        found = self.find(table, blob_key(digest, encoding), 0)
        if found is not None:
            table.words[found[0] + 1] |= PINNED

    def _append_simple(self, key: Key, framed: Framed) -> bool:
        """`_append_entry` for what most puts are, in one piece: a third of their time.

        A verbatim entry, a key that the index does not know, room in table and segment. False for
        anything else, with nothing done.
        """
        table, tail_file, now = self._table, self.segments.tail, self._clock()
        words = table.words
        length, parts = framed
        is_due = not 0 <= now - self._looked_ns < LOOK_EVERY_NS
        if is_due or words[2] or words[4] * 2 >= table.mask or tail_file is None:  # Word.STATE, Word.FILLED
            return False
        tag = placement(key) | 2
        slot = _HEADER_WORDS + (tag >> 16 & table.mask) * _ROW_WORDS
        while here := words[slot]:
            slot += _ROW_WORDS
            if here in (tag, TOMB) or slot == table.end:
                return False
        number, fd, capacity = tail_file
        tail = words[8]  # Word.TAIL
        offset = tail & 0xFFFFFFFF
        if tail >> 32 != number or offset + length > capacity or os.pwrite(fd, parts[0], offset) != length:
            return False
        behind = offset + length + 7 & -8
        words[8] = number << 32 | behind
        words[10] += behind - offset  # Word.SEGMENT_BYTES
        table.fill(slot, tag, number << 32 | ENTRY | offset, now, length)
        return True

    def _append_entry(self, key: Key, head: bytes, framed: Framed, kind: int) -> None:
        flags = head[1]
        if len(head) > _MAX_HEAD_BYTES:
            raise StoreFull(f"an entry whose description takes {len(head)} bytes (at most {_MAX_HEAD_BYTES})")
        if flags & _KIND_FLAGS:
            kind |= (TAGGED if flags & Flag.TAGS else 0) | (PINNED if flags & Flag.PINNED else 0)
        expires_s = 0
        if flags != _VERBATIM:  # those never expire
            expires_s = min(-(-int.from_bytes(head[20:28], "little") // _NS), 0xFFFFFFFF)
        self._append(key, framed, kind | ENTRY, KEY_AT, expires_s, 0)

    def _append(
        self, key: bytes, framed: Framed, kind: int, key_at: int, expires_s: int, charge_bytes: int
    ) -> None:
        """Write a record at the tail, then point its key's row to it.

        Args:
            key_at: where the key starts in the head.
            charge_bytes: what the record takes outside its segment.
        """
        now = self._clock()
        if not 0 <= now - self._looked_ns < LOOK_EVERY_NS:
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

    def _write_blob_file(self, record: Record) -> Seal:
        """A large body as a file, written only if a sound one is not there."""
        digest, encoding = record.head[DIGEST], record.head[3]
        found = self.find(self.current(), blob_key(digest, encoding), 0)
        seal = None if found is None else Seal.of(found[2].body)
        if found is not None and seal is not None:
            if self.blobs.is_sound(digest, encoding, seal):
                return seal
            self._drop_blob(self.current(), found[0], found[1], digest, encoding)
        token = record.token  # of another store of the same tiers, perhaps
        staged = token if self.blobs.is_staged(token) else self.blobs.stage(record.body)
        return self.blobs.publish(staged, digest, encoding)

    def _put_blob_file(self, digest: bytes, encoding: int, body: Buffer) -> None:
        """Give a body that lies in a segment a file as well, to hand out by path."""
        with Translated(self.directory):
            seal = self.blobs.write(digest, encoding, body)
            with self.lock:
                if self.blobs.exists(digest, encoding):
                    self._publish_blob(digest, encoding, seal)


def _with_content(entry: Entry, digest: bytes, size_bytes: int) -> Entry:
    from vcache.kit.data import replace

    return replace(entry, digest=digest, size_bytes=size_bytes, encoding=Encoding.IDENTITY)
