"""The fsspec tier: one file a record, in 256 directories. See docs/design/network.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vcache.entry import Entry, Key, Record
from vcache.errors import DecodeError, StoreClosed
from vcache.hash import digest
from vcache.kit.batches import batched
from vcache.kit.units import size_bytes
from vcache.store.address import Options, StoreUrl
from vcache.store.base import StoreCounters, StoreInfo
from vcache.store.checking import Damaged
from vcache.store.fs.address import Mount, mount_of
from vcache.store.fs.files import LIMIT_BYTES, Files, Publishing
from vcache.store.objects import MAX_HEAD_BYTES, PREFIX_BYTES, head_of, key_of, name_of, pack, unpack

__all__ = ["FsStore", "open_url"]

_HEAD_BYTES: Final = 16 << 10
_BATCH: Final = 500
_BATCH_BYTES: Final = 64 << 20


def open_url(url: StoreUrl, options: Options) -> FsStore:
    """The store at `fs+SCHEME://…/PATH?NAME=VALUE`. Nothing is connected to yet.

    All options that are left are arguments of the file system; `NAME_env=VARIABLE` takes one from the
    environment, where it may be JSON.

    Raises:
        ConfigError: an address that cannot be meant, or a package that is not installed.
    """
    limit_bytes = options.take("limit", size_bytes) or LIMIT_BYTES
    mount, kind = mount_of(url, options)
    options.finish()
    return FsStore(mount, kind, limit_bytes=limit_bytes)


class FsStore:
    """Records as files below one directory of a file system.

    Threads: all operations. A forked child makes connections of its own.
    """

    def __init__(self, mount: Mount, kind: type[object], *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._files: Files | None = Files(
            mount, kind, limit_bytes=limit_bytes + MAX_HEAD_BYTES + PREFIX_BYTES
        )
        self.publishing: Final = self._files.publishing
        is_of_process = mount.protocol == "memory"
        copies = " (not atomic)" if self.publishing is Publishing.COPY else ""
        self.info: Final = StoreInfo(
            name=f"fs+{mount.protocol}{copies}",
            url=mount.text,
            is_shared=not is_of_process,
            is_trusted=False,
            is_persistent=not is_of_process,
        )
        self._root: Final = mount.root
        self.damaged = Damaged()

    def get(self, key: Key) -> Record | None:
        content = self._open.read(self._path(key))
        return None if content is None else self._record(key, content)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The records of those keys that are there. Contents are not verified."""
        files = self._open
        found = {}
        for some in batched(dict.fromkeys(keys), _BATCH):
            for key, content in zip(some, files.read_many([self._path(key) for key in some]), strict=True):
                record = None if content is None else self._record(key, content)
                if record is not None:
                    found[key] = record
        return found

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those keys of which there is no file."""
        unique = list(dict.fromkeys(keys))
        are_there = self._open.are_there([self._path(key) for key in unique])
        return {key for key, is_there in zip(unique, are_there, strict=True) if not is_there}

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys, as of one listing of all files; those that are no records are passed over."""
        files = self._open
        for path in files.names():
            key = self._key(files, str(path))
            if key is not None and key.startswith(prefix):
                yield key

    def put(self, key: Key, record: Record) -> None:
        self._open.write(self._path(key), _object(record))

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep all records, several at a time."""
        files = self._open
        batch: list[tuple[str, bytes]] = []
        size_bytes = 0
        for key, record in records.items():
            batch.append((self._path(key), _object(record)))
            size_bytes += len(batch[-1][1])
            if size_bytes > _BATCH_BYTES or len(batch) == _BATCH:
                files.write_many(batch)
                batch, size_bytes = [], 0
        files.write_many(batch)

    def delete(self, key: Key) -> bool:
        return self._open.remove(self._path(key))

    def counters(self) -> StoreCounters:
        """What happened here. Files are not counted: that takes a walk."""
        self._open  # noqa: B018 - raises if closed
        return StoreCounters(entries=0, size_bytes=0, corrupt=self.damaged.count)

    def close(self) -> None:
        files, self._files = self._files, None
        if files is not None:
            files.close()

    @property
    def _open(self) -> Files:
        files = self._files
        if files is None:
            raise StoreClosed(f"store {self.info.url!r} was closed")
        return files

    def _path(self, key: Key) -> str:
        return f"{self._root}/{digest(key)[0]:02x}/{name_of(key)}"

    def _record(self, key: Key, content: bytes) -> Record | None:
        try:
            return unpack(key, content)
        except DecodeError:
            self.damaged.add()
            return None

    def _key(self, files: Files, path: str) -> Key | None:
        """The key of a file, if it is a record's, and where it belongs."""
        name = path.rpartition("/")[2]
        try:
            key = key_of(name)
            if key is None:
                key = self._key_within(files, path)
        except DecodeError:
            return None
        # What lies elsewhere is no record of this store, but perhaps of one above or below.
        return key if key is not None and self._path(key).lstrip("/") == path.lstrip("/") else None

    def _key_within(self, files: Files, path: str) -> Key | None:
        """The key in a file's head, of which the name does not tell it."""
        start = files.read_start(path, _HEAD_BYTES)
        if start is None:
            return None
        try:
            head = head_of(None, start)
        except DecodeError:
            if len(start) < _HEAD_BYTES:
                raise
            head = head_of(None, files.read(path) or b"")
        return Entry.decode(head).key


def _object(record: Record) -> bytes:
    start, body = pack(record)
    return b"".join((start, body))
