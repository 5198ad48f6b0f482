"""The slow, thorough look at a disk store: every byte against its BLAKE3 digest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vcache.entry import FIXED, Entry, Flag, Key
from vcache.errors import DecodeError, StoreError
from vcache.hash import digest as content_digest
from vcache.kit.data import dataclass
from vcache.serialize import unpack
from vcache.store.disk.blobs import Seal, blob_key, is_referring, split_blob_key
from vcache.store.disk.index import (
    BLOB,
    ENTRY,
    FILE,
    HEADER_WORDS,
    KINDS,
    PINNED,
    REF,
    ROW_WORDS,
    TAGGED,
    TOMB,
    Table,
)
from vcache.store.disk.reading import is_led_to

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.store.disk.segments import Raw
    from vcache.store.disk.writing import Writer

__all__ = ["verify"]


def verify(store: Writer, *, repair: bool) -> Iterator[tuple[Key | None, str | None]]:
    """Walk all rows; yields (key, None) for the sound and (key or None, fault) for the rest."""
    sound: dict[bytes, str | None] = {}  # blobs looked at: one may serve many entries
    table = store.current()
    rows = table.columns()
    has_faults = False
    for row, (tag, place) in enumerate(zip(rows[0::4], rows[1::4], strict=True)):
        if tag <= TOMB:
            continue
        at = _Row(table, HEADER_WORDS + row * ROW_WORDS, tag, place)
        raw = store.read(place)
        key: Key | None = None
        fault: str | None = None
        if raw is None:
            fault = "a record that does not match its checksum"
        elif not is_led_to(raw, tag):
            fault = "a row that its key does not lead to"
        elif _has_other_kind(place, raw):
            fault = "a row of another kind than its record"
        elif place & ENTRY:
            key, fault = _examine_entry(store, raw, sound)
        else:
            continue  # looked at through the entries that refer to it
        if fault is not None and at.slot_in(store.current()) is None:
            continue  # dropped, moved or replaced while it was examined
        if fault is not None and repair:
            has_faults = True
            _mend(store, at, raw)
        yield key, fault
    if has_faults:
        _straighten(store)


@dataclass(frozen=True, slots=True)
class _Row:
    """Where a row was, and what it said."""

    table: Table
    slot: int
    tag: int
    place: int

    def slot_in(self, table: Table) -> int | None:
        """Where it is in a table, if it still says the same."""
        slots = [self.slot] if table is self.table else table.slots(self.tag)
        words = table.words
        return next((at for at in slots if words[at] == self.tag and words[at + 1] == self.place), None)


def _has_other_kind(place: int, raw: Raw) -> bool:
    """Whether a row's kind bits are not those of its record; a shared body may be pinned besides."""
    wanted = _kinds_of(raw)
    return place & KINDS & ~(0 if wanted & ENTRY else PINNED) != wanted


def _kinds_of(raw: Raw) -> int:
    """The kind bits of the row that points to a record."""
    if split_blob_key(raw.head) is not None:
        return BLOB if Seal.of(raw.body) is None else FILE
    flags = raw.head[1]
    kinds = ENTRY | (REF if is_referring(raw) else 0)
    return kinds | (TAGGED if flags & Flag.TAGS else 0) | (PINNED if flags & Flag.PINNED else 0)


def _examine_entry(store: Writer, raw: Raw, sound: dict[bytes, str | None]) -> tuple[Key | None, str | None]:
    try:
        entry = Entry.decode(raw.head)
    except DecodeError as error:
        return None, str(error)
    if not is_referring(raw):
        return entry.key, _examine(entry, raw.body)
    key = blob_key(entry.digest, entry.encoding)
    if key not in sound:
        sound[key] = _examine_blob(store, entry, key)
    return entry.key, sound[key]


def _examine_blob(store: Writer, entry: Entry, key: bytes) -> str | None:
    found = store.find(store.current(), key, 0)
    if found is None:
        return "its content is gone"
    body: Buffer | None = found[2].body
    seal = Seal.of(found[2].body)
    if seal is not None:
        try:
            body = store.blobs.read(entry.digest, entry.encoding, seal, mapped=True)
        except OSError as error:
            return f"its file cannot be read: {error.strerror}"
    return "its file is missing or damaged" if body is None else _examine(entry, body)


def _examine(entry: Entry, body: Buffer) -> str | None:
    try:
        content = unpack(entry.encoding, body, size_bytes=entry.size_bytes)
    except DecodeError as error:
        return f"its content cannot be unpacked: {error}"
    return None if content_digest(content) == entry.digest else "its content does not match its digest"


def _mend(store: Writer, at: _Row, raw: Raw | None) -> None:
    with contextlib.suppress(OSError, StoreError), store.lock:
        slot = at.slot_in(store.current())
        if slot is None:
            return
        if raw is not None and is_led_to(raw, at.tag) and _has_other_kind(at.place, raw):
            store.current().words[slot + 1] = at.place & ~KINDS | _kinds_of(raw)
            return
        store.current().remove(slot)
        if raw is not None and is_led_to(raw, at.tag) and is_referring(raw):
            _drop_blob(store, raw)


def _straighten(store: Writer) -> None:
    """A fresh table: in the damaged one rows may be there twice, or behind a gap that no probe passes."""
    with contextlib.suppress(OSError, StoreError), store.lock:
        store.current().drop_twins()
        store.rebuild(store.current()).recount()


def _drop_blob(store: Writer, raw: Raw) -> None:
    """Drop a body that is not what its name says, or the next put would share it."""
    head = raw.head
    digest, encoding = head[FIXED.size - 32 : FIXED.size], head[3]
    table = store.current()
    found = store.find(table, blob_key(digest, encoding), 0)
    if found is not None:
        table.remove(found[0])
        store.blobs.quarantine(digest, encoding, store.directory / "quarantine")
