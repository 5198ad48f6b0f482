"""The local disk store: records in append-only segments, found through a mapped index.

Every read is verified; a read takes no lock and makes no system call for what is mapped; a
put is one gathered write and one store that makes it visible. Many processes share one
directory. A kill at any moment leaves every acknowledged record in place: docs/design/states.md
walks through the order of each operation. Bytes: docs/design/format.md. Why not a database:
docs/adr/0003.

It knows nothing of values, of expiry's meaning, or of policy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.entry import Key
from vcache.store.base import StoreCounters, StoreInfo
from vcache.store.disk.index import Word
from vcache.store.disk.layout import FOREIGN
from vcache.store.disk.segments import SEGMENT_BYTES
from vcache.store.disk.trouble import Translated
from vcache.store.disk.writing import Writer

if TYPE_CHECKING:
    from vcache.store.base import Survey

__all__ = ["DiskStore"]

_LEDGER_WORDS: Final = 16
_SURVEY_EVERY_S: Final = 600.0


class DiskStore(Writer):
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
        self.max_bytes, self.max_entries, self.max_age_s = max_bytes, max_entries, max_age_s
        # Small budgets get small segments, or none would ever be all dead.
        segment_bytes = SEGMENT_BYTES if max_bytes is None else max(256 << 10, max_bytes // 16)
        super().__init__(path, segment_bytes=segment_bytes, read_only=read_only, clock=clock)
        # What expires or grows too old is looked for this often, by whoever puts.
        every_s = _SURVEY_EVERY_S if max_age_s is None else min(_SURVEY_EVERY_S, max_age_s / 4)
        self._survey_every_ns = int(every_s * 1e9)
        if self._writable and not self._table.words[Word.SURVEYED]:
            self._table.words[Word.SURVEYED] = clock()
        url = _address(self.directory)
        self._info = StoreInfo(
            "disk", url, True, True, True, is_read_only=not self._writable, is_own=not self._is_foreign()
        )

    @property
    def info(self) -> StoreInfo:
        return self._info

    def mark_foreign(self) -> None:
        """Remember for good that others' bytes may be in here; before the first of them is."""
        if self._info.is_own and self._writable:
            with suppress(OSError):  # a full disk takes nothing else of theirs either
                os.close(os.open(self._foreign(), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        self._info = self._info._replace(is_own=False)

    def _is_foreign(self) -> bool:
        return os.path.lexists(self._foreign())

    def _foreign(self) -> str:
        return f"{self.directory}/{FOREIGN}"

    def counters(self) -> StoreCounters:
        """What the store holds: read from the index header."""
        words = self.current().words
        return StoreCounters(
            words[Word.ENTRIES], words[Word.LIVE_BYTES], self._corrupt, self._evicted, self._faults
        )

    def is_over_budget(self) -> bool:
        """Whether a janitor has something to do."""
        words = self.current().words
        if self.max_bytes is not None and self.disk_bytes() > self.max_bytes:
            return True
        if self.max_entries is not None and words[Word.ENTRIES] > self.max_entries:
            return True
        return self._clock() - words[Word.SURVEYED] > self._survey_every_ns

    def survey(self) -> Survey:
        """A snapshot of all rows."""
        from vcache.store.disk.collect import survey  # 2 ms of imports that only a janitor needs

        table = self.current()
        if self._writable:
            table.words[Word.SURVEYED] = self._clock()
        return survey(table)

    def evict(self, survey: Survey, rows: Iterable[int]) -> int:
        """Drop rows that did not change since the survey; how many."""
        from vcache.store.disk.collect import evict

        self._require_writable()
        with Translated(self.directory):
            dropped = evict(self, survey, rows)
        self._evicted += dropped
        return dropped

    def reclaim(self, *, target_bytes: int | None = None) -> int:
        """Give the space of dead records back; bytes freed."""
        from vcache.store.disk.collect import reclaim

        self._require_writable()
        with Translated(self.directory):
            return reclaim(self, target_bytes=target_bytes)

    def verify(self, *, repair: bool = False) -> Iterator[tuple[Key | None, str | None]]:
        """Walk everything, reading every byte against its BLAKE3 digest."""
        from vcache.store.disk.verify import verify

        return verify(self, repair=repair and self._writable)

    def tally(self, deltas: Sequence[int]) -> None:
        """Add to the totals that all processes share (at most 16 numbers)."""
        if not self._writable:
            return
        with Translated(self.directory), self.lock:
            words = self.current().words
            for position, delta in enumerate(deltas[:_LEDGER_WORDS], Word.LEDGER):
                words[position] = words[position] + delta & 0xFFFFFFFFFFFFFFFF

    def totals(self) -> tuple[int, ...]:
        """The totals of all processes since the directory was made."""
        return tuple(self.current().words[Word.LEDGER : Word.LEDGER + _LEDGER_WORDS])


def _address(directory: Path) -> str:
    """The URL that opens a directory again."""
    text = str(directory)
    if any(mark in text for mark in " ?%#") or not text.isprintable():
        from urllib.parse import quote  # 2 ms of imports that hardly any directory needs

        text = quote(text)
    return f"disk:{text}"
