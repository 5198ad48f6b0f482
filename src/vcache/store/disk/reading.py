"""Reading a disk store: from a key to a verified record, past whatever others do meanwhile.

A read takes no lock and makes no system call for what is mapped.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from vcache.entry import FIXED, Entry, Key, Record
from vcache.errors import DecodeError, StoreError
from vcache.hash import checksum, placement
from vcache.store.disk import index, layout
from vcache.store.disk.blobs import Held, Seal, blob_key, is_referring, split_blob_key
from vcache.store.disk.engine import DIGEST, KEY_AT, LOOK_EVERY_NS, Engine
from vcache.store.disk.index import ENTRY, LIVE, TAGGED, TOMB, Table, Word
from vcache.store.disk.segments import CHECK_BYTES, PREFIX, PREFIX_BYTES, Raw
from vcache.store.disk.trouble import Translated

if TYPE_CHECKING:
    from typing_extensions import Buffer


__all__ = ["Reader", "is_led_to"]

_TRIES: Final = 4
_COPIED_BYTES: Final = 8 << 10
_LENGTHS_BYTES: Final = PREFIX_BYTES - CHECK_BYTES
_OFFSET = (1 << 26) - 1
_HEADER_WORDS, _ROW_WORDS = index.HEADER_WORDS, index.ROW_WORDS
_CHECK_BYTES, _PREFIX_BYTES = CHECK_BYTES, PREFIX_BYTES
_CONTENT_BYTES = slice(FIXED.size - 48, FIXED.size - 40)  # of a head: the length of the content
_EMPTY: Final = bytes(8)
_unpack_prefix = PREFIX.unpack_from
Token = tuple[Table, int, int]


class Reader(Engine):
    """The reading half of a disk store.

    Attributes:
        always_maps: large bodies are views of their files whatever their codec: for who passes bodies on
            and hands none out as values.
    """

    always_maps = False

    def get(self, key: Key) -> Record | None:
        """The verified record of a key, or None. A large body may be a read-only view.

        Raises:
            StoreUnavailable, StoreFull: a segment or file that is there cannot be opened.
        """
        now = self._clock()
        try:
            if not 0 <= now - self._looked_ns < LOOK_EVERY_NS:
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
                        if length <= _COPIED_BYTES:  # one copy, cut up: cheaper than three slices
                            copy = mapping[offset + _CHECK_BYTES : end]
                            if body_at <= end and checksum(copy) == check:
                                cut = body_at - offset - _CHECK_BYTES
                                head, body = copy[_LENGTHS_BYTES:cut], copy[cut:]
                        elif body_at <= end and checksum(view[offset + _CHECK_BYTES : end]) == check:
                            head, body = mapping[offset + _PREFIX_BYTES : body_at], mapping[body_at:end]
                    if head is None:
                        place, raw = self._look_closer(table, slot, tag)
                        if raw is not None:
                            head, key_bytes, body = raw.head, raw.key_bytes, raw.body
                        elif words[2]:
                            return self._get_slowly(key)
                    if head is not None and key_bytes == len(key) and head.startswith(key, KEY_AT):
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
            found = self.find(table, key, KEY_AT)
            if found is None:
                if table is self.current():
                    return None
                continue
            slot, place, raw = found
            body = self._referred(raw.head) if is_referring(raw) else raw.body
            if body is not None:
                return Record(raw.head, body, (table, slot, place))
            self.drop_torn(key, place)
        return None

    def is_current(self, key: Key, token: object) -> bool:
        """Whether a copied record is still the one in place. Counts as a use of it."""
        if token is None:
            return False  # a record that no get gave
        table, slot, place = cast("Token", token)
        words = table.words
        now = self._clock()
        try:
            if not 0 <= now - self._looked_ns < LOOK_EVERY_NS and self._look(now):
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

    def get_near(self, key: Key) -> Record | bool:
        """As `get`, for whoever must not wait: nothing is read that is not in memory, nothing large.

        Returns:
            The record; False where there is none; True where it takes a `get` to know.
        """
        now = self._clock()
        try:
            if not 0 <= now - self._looked_ns < LOOK_EVERY_NS:
                self._look(now)
            table = self.current()
            found = self.find(table, key, KEY_AT)
            if found is None:
                return False
            slot, place, raw = found
            body: Buffer = raw.body
            if is_referring(raw):
                blob = self.find(table, blob_key(raw.head[DIGEST], raw.head[3]), 0)
                if blob is None:
                    return True
                seal = Seal.of(blob[2].body)
                at_hand = None
                if seal is not None:
                    at_hand = self.blobs.read_at_hand(raw.head[DIGEST], raw.head[3], seal)
                    if at_hand is None:
                        return True
                body = blob[2].body if at_hand is None else at_hand
                if self._writable:
                    table.words[blob[0] + 2] = now
            if self._writable:
                table.words[slot + 2] = now
        except ValueError:
            raise self._was_closed() from None
        return Record(raw.head, body, (table, slot, place))

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that are not there, by rows and names of files: nothing large is read."""
        return {key for key in keys if not self._is_there(key)}

    def _is_there(self, key: Key) -> bool:
        table, now = self.current(), self._clock()
        found = self.find(table, key, KEY_AT)
        if found is None:
            return False
        rows, head = [found[0]], found[2].head
        if is_referring(found[2]):
            blob = self.find(table, blob_key(head[DIGEST], head[3]), 0)
            if blob is None:
                return False
            if Seal.of(blob[2].body) is not None and not self.blobs.exists(head[DIGEST], head[3]):
                return False
            rows.append(blob[0])
        if self._writable:
            for row in rows:
                table.words[row + 2] = now
        return True

    def entry(self, key: Key) -> Entry | None:
        """The entry of a key, without reading its body."""
        found = self.find(self.current(), key, KEY_AT)
        return None if found is None else _entry(found[2])

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys that start with a prefix."""
        for raw, _ in self._walk(ENTRY):
            if raw.head.startswith(prefix, KEY_AT) and len(prefix) <= raw.key_bytes:
                yield raw.head[KEY_AT : KEY_AT + raw.key_bytes]

    def entries(self, prefix: bytes = b"", *, tagged_only: bool = False) -> Iterator[Entry]:
        """Walk the entries whose key starts with a prefix, without reading bodies."""
        for raw, _ in self._walk(ENTRY | TAGGED if tagged_only else ENTRY):
            if raw.head.startswith(prefix, KEY_AT) and len(prefix) <= raw.key_bytes:
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
        key = blob_key(head[DIGEST], head[3])
        table = self.current()
        tag = placement(key) | 2
        slot = _HEADER_WORDS + (tag >> 16 & table.mask) * _ROW_WORDS
        words = table.words
        mapped = self._mapped.get(words[slot + 1] >> 32) if words[slot] == tag else None
        if mapped is not None:  # at home and mapped: `find`, spelled out, saves 2 of 8 µs
            mapping, view = mapped
            offset = words[slot + 1] & _OFFSET
            try:
                check, length, _, _ = _unpack_prefix(view, offset)
            except struct.error:
                return self._referred_slowly(key, head)
            end, body_at = offset + length, offset + _PREFIX_BYTES + len(key)
            is_blob = mapping[body_at - len(key) : body_at] == key and end - body_at != Seal.BYTES
            if is_blob and checksum(view[offset + _CHECK_BYTES : end]) == check:
                if self._writable:
                    words[slot + 2] = self._clock()
                return mapping[body_at:end]
        return self._referred_slowly(key, head)

    def _referred_slowly(self, key: bytes, head: bytes) -> Buffer | None:
        table = self.current()
        found = self.find(table, key, 0)
        if found is None:
            return None
        slot, place, raw = found
        digest, encoding = head[DIGEST], head[3]
        seal = Seal.of(raw.body)
        body: Buffer | None = raw.body
        if seal is not None:
            with Translated(self.directory):
                body = self.blobs.read(digest, encoding, seal, mapped=self.always_maps or _is_mappable(head))
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

    def drop_torn(self, key: Key, place: int) -> None:
        """An entry whose body is gone: absent from here on."""
        if not self._writable:
            return
        with contextlib.suppress(StoreError, OSError), self.lock.joined():
            table = self.current()
            found = self.find(table, key, KEY_AT)
            if found is not None and found[1] == place:
                head = found[2].head
                if self.find(table, blob_key(head[DIGEST], head[3]), 0) is None:
                    table.remove(found[0])

    def _hold(self, key: Key) -> tuple[Entry, Held] | None:
        """The entry of a key and its verified file under a lock, if it has one."""
        found = self.find(self.current(), key, KEY_AT)
        entry = None if found is None else _entry(found[2])
        if found is None or entry is None:
            return None
        table = self.current()
        blob = self.find(table, blob_key(entry.digest, entry.encoding), 0)
        seal = None if blob is None else Seal.of(blob[2].body)
        if blob is None or seal is None:
            return None
        with Translated(self.directory):
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
            if not tag & LIVE or place & kinds != kinds:
                continue
            with Translated(self.directory):
                raw = self.read(place)
            if raw is None:  # moved, removed or damaged since: look where it is now
                table = self.current()
                for slot in table.slots(tag):
                    now = table.words[slot + 1]
                    if now != place and now & kinds == kinds and (raw := self.read(now)) is not None:
                        yield raw, now
            elif is_led_to(raw, tag):
                yield raw, place


def is_led_to(raw: Raw, tag: int) -> bool:
    """Whether a record is that of a key with this tag: else a damaged row points to what is dead."""
    is_shared = split_blob_key(raw.head) is not None
    key = raw.head if is_shared else raw.head[KEY_AT : KEY_AT + raw.key_bytes]
    return placement(key) | LIVE == tag


def _entry(raw: Raw) -> Entry | None:
    """The entry of a record, None if it is of a later version."""
    try:
        return Entry.decode(raw.head)
    except DecodeError:
        return None


def _is_mappable(head: bytes) -> bool:
    """Whether a view serves as well as bytes: not for the codecs that hand bytes out."""
    codec_at = KEY_AT + int.from_bytes(head[4:8], "little")
    return head[codec_at : codec_at + head[2]] not in (b"bytes", b"str")
