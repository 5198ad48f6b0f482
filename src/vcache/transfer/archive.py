"""Transfer files: a store's records one after the other, for who has no network between two caches.

The bytes are normative in docs/design/network.md. Both ways are streams: nothing is sought, and no
more is held than one batch.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection, Mapping, Sequence
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Final

from vcache.entry import Key, Record, split_key
from vcache.errors import DecodeError, FormatError, StoreError
from vcache.hash import DIGEST_BYTES, Hasher
from vcache.store.base import Store
from vcache.store.checking import verified
from vcache.store.objects import frame, unpack
from vcache.store.tiers import entry_of, mark_foreign, missing_in
from vcache.transfer.choosing import BATCH_BYTES, BATCH_KEYS, OUTPUTS, PRIVATE
from vcache.transfer.moving import Lost, Progress, Report, StoreSink, place

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["Writer", "receive"]

_MAGIC: Final = b"vcx\x01"
_LENGTH: Final = struct.Struct("<Q")
_END: Final = _LENGTH.pack(0)
# Beyond, an object is put into a file and mapped: what is claimed need not fit into memory.
_SPOOLED_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 20


class Writer:
    """Writes a transfer file; `end` makes it whole.

    Args:
        stream: takes bytes; it need not seek.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._hasher = stream, Hasher()
        self._outputs: set[Key] = set()
        self._write(_MAGIC)

    def missing(self, keys: Sequence[Key]) -> Collection[Key]:
        """Those that were not written: a key is given once, but an output may be asked about again."""
        return {key for key in keys if key not in self._outputs}

    def put(self, records: Mapping[Key, Record]) -> Mapping[Key, str]:
        """Write records.

        Raises:
            OSError: the stream takes no more.
        """
        for key, record in records.items():
            for part in frame(record):
                self._write(part)
            if key.startswith(OUTPUTS):
                self._outputs.add(key)
        return {}

    def end(self) -> None:
        """Write what says that nothing is missing.

        Raises:
            OSError: the stream takes no more.
        """
        self._write(_END)
        self._stream.write(self._hasher.digest())
        self._stream.flush()

    def _write(self, data: Buffer) -> None:
        self._hasher.update(data)
        self._stream.write(data)


def receive(
    stream: BinaryIO,
    target: Store,
    *,
    replace: bool = False,
    is_dry_run: bool = False,
    progress: Progress | None = None,
    after: Callable[[], None] | None = None,
) -> Report:
    """Keep what a transfer file holds and a store lacks. Each object is verified.

    Args:
        replace: put what differs in place of what is there.
        is_dry_run: only say what would be kept.
        after: called after each batch.

    Raises:
        FormatError: it is no transfer file, or of a newer format.
        OSError: the stream cannot be read.
    """
    source = _Source(stream)
    start = source.take(len(_MAGIC))
    if start != _MAGIC:
        kind = "a newer transfer file" if start[:3] == _MAGIC[:3] and len(start) == 4 else "no transfer file"
        raise FormatError(f"{kind}: it begins with {start!r}, not {_MAGIC!r}")
    if not is_dry_run:
        mark_foreign(getattr(target, "tiers", (target,)))
    taker = _Taker(target, replace=replace, is_dry_run=is_dry_run, after=after)
    report, fault = taker.report, ""
    try:
        while not report.stopped and (size := source.length()) != 0:
            at = source.at
            taker.take(source.object(size), at)
            if progress is not None:
                progress(taker.count, 0)
        if not report.stopped:
            fault = source.fault_at_end()
    except EOFError as error:
        fault = f"the file was cut off: {error}"
    if not report.stopped:
        taker.flush()
    report.stopped = report.stopped or fault
    return report


class _Source:
    """Reads a stream piece by piece, and digests it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.hasher, self.at = stream, Hasher(), 0

    def take(self, size: int) -> bytes:
        """So many bytes, or those that are left."""
        data = b""
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        self.at += len(data)
        self.hasher.update(data)
        return data

    def length(self) -> int:
        """The length of the next object; 0 behind the last.

        Raises:
            EOFError: the stream ends.
        """
        data = self.take(_LENGTH.size)
        if len(data) < _LENGTH.size:
            raise EOFError(f"it ends at {self.at}, where an object should begin")
        (size,) = _LENGTH.unpack(data)
        return int(size)

    def fault_at_end(self) -> str:
        """What is wrong with the file behind its last object; "" for nothing."""
        seal = self.hasher.digest()
        if self.take(DIGEST_BYTES) != seal:
            return "the file is not as it was written: its seal does not fit"
        return "something stands behind the end of the transfer file" if self.take(1) else ""

    def object(self, size: int) -> Buffer:
        """An object of that length.

        Raises:
            EOFError: the stream ends.
        """
        if size <= _SPOOLED_BYTES:
            data = self.take(size)
            if len(data) < size:
                raise EOFError(f"it ends at {self.at}, within an object of {size} bytes")
            return data
        with TemporaryFile() as file:
            left = size
            while left:
                data = self.take(min(left, _CHUNK_BYTES))
                if not data:
                    raise EOFError(f"it ends at {self.at}, within an object of {size} bytes")
                file.write(data)
                left -= len(data)
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))


class _Taker:
    """Keeps sound objects in a store, in batches."""

    def __init__(
        self, target: Store, *, replace: bool, is_dry_run: bool, after: Callable[[], None] | None
    ) -> None:
        self.report, self.count = Report(), 0
        self._target, self._sink = target, StoreSink(target, after=after)
        self._replaces, self._is_dry_run = replace, is_dry_run
        self._held: dict[Key, Record] = {}
        self._held_bytes = 0

    def take(self, data: Buffer, at: int) -> None:
        """Keep an object that begins at an offset, if it is sound."""
        self.count += 1
        try:
            record = unpack(None, data)
            key = record.entry().key
            split_key(key)
        except (DecodeError, ValueError) as error:
            self.report.lost.append(Lost(None, f"the object at {at} is damaged: {error}"))
            return
        if key.startswith(PRIVATE):
            return
        if verified(key, record) is None or (
            key.startswith(OUTPUTS) and key[len(OUTPUTS) :] != record.entry().digest
        ):
            self.report.lose(key, f"its content, in the object at {at}, is damaged")
            return
        self._held[key] = record
        self._held_bytes += memoryview(data).nbytes
        if self._held_bytes >= BATCH_BYTES or len(self._held) >= BATCH_KEYS:
            self.flush()

    def flush(self) -> None:
        """Keep what is held."""
        held, self._held, self._held_bytes = self._held, {}, 0
        if not held:
            return
        try:
            missing = missing_in(self._target, list(held))
            wanted = {key: record for key, record in held.items() if self._is_wanted(key, record, missing)}
            if self._is_dry_run:
                self.report.moved += len(wanted)
                self.report.moved_bytes += sum(memoryview(record.body).nbytes for record in wanted.values())
            else:
                place(wanted, self._sink, self.report)
        except (StoreError, OSError) as error:
            self.report.stopped = str(error)

    def _is_wanted(self, key: Key, record: Record, missing: Collection[Key]) -> bool:
        if key in missing:
            return True
        there, entry = entry_of(self._target, key), record.entry()
        if there is not None and (there.digest, there.codec) == (entry.digest, entry.codec):
            self.report.skipped += 1
            return False
        if not self._replaces:
            self.report.kept += 1
        return self._replaces
