"""The slow, thorough look at a disk store: every byte against its BLAKE3 digest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vcache.entry import FIXED, Entry, Key
from vcache.errors import DecodeError, StoreError
from vcache.hash import digest as content_digest
from vcache.serialize import unpack
from vcache.store.disk.blobs import Seal, blob_key, is_referring
from vcache.store.disk.index import ENTRY, TOMB

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.store.disk.segments import Raw
    from vcache.store.disk.writing import Writer

__all__ = ["verify"]


def verify(store: Writer, *, repair: bool) -> Iterator[tuple[Key | None, str | None]]:
    """Walk all rows; yields (key, None) for the sound and (key or None, fault) for the rest."""
    sound: dict[bytes, str | None] = {}  # blobs looked at: one may serve many entries
    rows = store.current().columns()
    for tag, place in zip(rows[0::4], rows[1::4], strict=True):
        if tag <= TOMB:
            continue
        raw = store.read(place)
        if raw is None:
            if _moved(store, tag, place):
                continue
            key: Key | None = None
            fault: str | None = "a record that does not match its checksum"
        elif place & ENTRY:
            key, fault = _examine_entry(store, raw, sound)
        else:
            continue  # looked at through the entries that refer to it
        if fault is not None and _moved(store, tag, place):
            continue  # dropped or replaced while it was examined
        if fault is not None and repair:
            _drop(store, tag, place)
            if raw is not None and is_referring(raw):
                _drop_blob(store, raw)
        yield key, fault


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


def _moved(store: Writer, tag: int, place: int) -> bool:
    table = store.current()
    return all(table.words[slot + 1] != place for slot in table.slots(tag))


def _drop(store: Writer, tag: int, place: int) -> None:
    with contextlib.suppress(OSError, StoreError), store.lock:
        table = store.current()
        for slot in table.slots(tag):
            if table.words[slot + 1] == place:
                table.remove(slot)


def _drop_blob(store: Writer, raw: Raw) -> None:
    """Drop a body that is not what its name says, or the next put would share it."""
    head = raw.head
    digest, encoding = head[FIXED.size - 32 : FIXED.size], head[3]
    with contextlib.suppress(OSError, StoreError), store.lock:
        table = store.current()
        found = store.find(table, blob_key(digest, encoding), 0)
        if found is not None:
            table.remove(found[0])
            store.blobs.quarantine(digest, encoding, store.directory / "quarantine")
