"""The engine of a disk store: its files, opened and kept current, and the tail they grow at.

It knows where things lie, and nothing of what a key or a body means.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from vcache.entry import FIXED
from vcache.errors import StoreClosed, StoreReadOnly
from vcache.store.disk import layout
from vcache.store.disk.blobs import Blobs
from vcache.store.disk.index import LAST_SEGMENT, DamagedIndex, Table, Word
from vcache.store.disk.lock import WriterLock
from vcache.store.disk.segments import Raw, Segments, parse
from vcache.store.disk.trouble import Translated, translate

if TYPE_CHECKING:
    from typing_extensions import Buffer


__all__ = ["DIGEST", "KEY_AT", "LOOK_EVERY_NS", "Engine"]

# Where a head has its key, and the digest and length of its content.
KEY_AT: Final = FIXED.size
DIGEST: Final = slice(FIXED.size - 32, FIXED.size)
# How often a reader sees to it that no mapped file was cut (0.3 µs a file): to touch what a mapping
# lost would kill the process. Nothing here cuts a file, so that this is often enough. It must be well
# above the 5 ms after which CPython makes a thread give way: each look lets go of the GIL for a
# microsecond, and who lets go and takes it again more often than that is never made to.
LOOK_EVERY_NS: Final = 25_000_000
_LOCK_DEADLINE_S: Final = 10.0
_OFFSET = (1 << 26) - 1


class Engine:
    """The files of one directory. What has no underscore is for this package's own rooms."""

    def __init__(
        self, path: Path | str, *, segment_bytes: int, read_only: bool, clock: Callable[[], int]
    ) -> None:
        self.directory = Path(os.path.abspath(path))
        self._clock = clock
        self._index_path = self.directory / "index"
        self.lock = WriterLock(self.directory / "lock", deadline_s=_LOCK_DEADLINE_S)
        self.blobs = Blobs(self.directory)
        self.segments = Segments(self.directory / "segments", segment_bytes=segment_bytes)
        self._mapped = self.segments.mapped
        self._corrupt = self._evicted = self._faults = 0
        self._retired_seen = self._looked_ns = 0
        self._closed = False
        with Translated(self.directory):
            self._writable = layout.prepare(self.directory, self.lock, read_only=read_only)
            self._table = self._open_or_replace_table()
            if self._writable:
                self._adopt_boot()
        weakref.finalize(self, self.lock.close, self.segments.close)
        _engines.add(self)

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
        with Translated(self.directory):
            if self._writable:
                with self.lock.joined():
                    layout.replace_index(self.directory)
            self._table = self._open_table()
            if self._writable:
                self._adopt_boot()
        return True

    def _follow(self) -> Table:
        """The table that took the place of a superseded one."""
        with Translated(self.directory):
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

    def write_at_tail(self, table: Table, parts: list[Buffer], length: int) -> int:
        """Append a record's pieces; its location without kind bits. The lock is held."""
        words = table.words
        tail = words[8]  # Word.TAIL
        number, offset = tail >> 32, tail & 0xFFFFFFFF
        is_new = self.segments.tail is None or self.segments.tail[0] != number
        if offset + length > self.segments.room(number) or (
            is_new and not self.segments.is_blank(number, offset)
        ):
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

    def _open_or_replace_table(self) -> Table:
        """The table of a directory that is opened; an empty one where it is missing or damaged."""
        try:
            return self._open_table()
        except (FileNotFoundError, DamagedIndex):
            if not self._writable:
                raise
        with self.lock:
            layout.replace_index(self.directory)
        return self._open_table()

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

    def _require_writable(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self.directory} was closed")
        if not self._writable:
            raise StoreReadOnly(f"{self.directory} is read-only: open a writable directory to store")

    def _was_closed(self) -> Exception:
        """What a ValueError in the middle of work means: another thread took the mapping away."""
        if self._closed:
            return StoreClosed(f"{self.directory} was closed")
        return cast("Exception", sys.exception())

    def close(self) -> None:
        """Release mappings and descriptors. May be called again."""
        if self._closed:
            return
        self._closed = True
        _engines.discard(self)
        self.lock.close(self.segments.close, self._close_table)

    def _close_table(self) -> None:
        with contextlib.suppress(BufferError):
            self._table.close()

    def after_fork(self) -> None:
        """In a child process: share nothing with the parent's lock."""
        self.lock.after_fork()


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
