"""What a collector took, kept and dropped, and what of it is to be said."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from vcache.kit.data import NamedTuple
from vcache.logs.record import Record
from vcache.query.levels import INFO, WARNING
from vcache.query.syntax import Value

__all__ = ["OWN_SOURCE", "Counters", "Counts", "Dropped"]

OWN_SOURCE: Final = "vcache"
_MOST_ORIGINS: Final = 1_000  # beyond it they count as "others": a peer must not fill the memory by its name


class Dropped(NamedTuple):
    """Of what, and why: names of small sets."""

    origin: str
    reason: str


class Counters(NamedTuple):
    """A moment of a collector.

    Attributes:
        accepted: records that were let in, and read if they were lines: each is kept, or dropped later.
        kept: records that the store acknowledged.
        dropped: what was not kept, by origin and reason. What the kernel dropped is among it.
        waiting, waiting_bytes: what is in the queue, or with the store at the moment.
        appends: how many it took.
        refused: connections that were not taken.
        failing_since_ns: when the store began to fail; 0 while it takes records.
    """

    accepted: int
    kept: int
    dropped: Mapping[Dropped, int]
    waiting: int
    waiting_bytes: int
    appends: int
    refused: int
    failing_since_ns: int

    @property
    def dropped_total(self) -> int:
        """Of all origins."""
        return sum(self.dropped.values())


class Counts:
    """Threads: any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._dropped: dict[Dropped, int] = {}
        self._unsaid: dict[Dropped, int] = {}
        self._notes: list[Record] = []
        self._sums = {"accepted": 0, "kept": 0, "appends": 0, "refused": 0}

    def add(self, name: str, count: int = 1) -> None:
        """To accepted, kept, appends or refused."""
        with self._lock:
            self._sums[name] += count

    def drop(self, origin: str, reason: str, count: int = 1) -> None:
        """So many were not kept: to be said."""
        what = Dropped(origin, reason)
        with self._lock:
            if what not in self._dropped and len(self._dropped) >= _MOST_ORIGINS:
                what = Dropped("others", reason)
            self._dropped[what] = self._dropped.get(what, 0) + count
            self._unsaid[what] = self._unsaid.get(what, 0) + count

    def note(self, message: str, now_ns: int, fields: Mapping[str, Value], *, level: int = INFO) -> None:
        """Have something said among the records."""
        with self._lock:
            self._notes.append(Record(now_ns, level, OWN_SOURCE, message, fields))

    @property
    def has_unsaid(self) -> bool:
        return bool(self._unsaid or self._notes)

    def take_unsaid(self, now_ns: int) -> list[Record]:
        """What is to be said, as records; it counts as said."""
        with self._lock:
            unsaid, self._unsaid = self._unsaid, {}
            notes, self._notes = self._notes, []
        return notes + [_said(what, count, now_ns) for what, count in sorted(unsaid.items())]

    def counters(self, waiting: int, waiting_bytes: int, failing_since_ns: int) -> Counters:
        with self._lock:
            sums, dropped = dict(self._sums), dict(self._dropped)
        return Counters(
            sums["accepted"], sums["kept"], dropped, waiting, waiting_bytes, sums["appends"],
            sums["refused"], failing_since_ns,
        )  # fmt: skip


def _said(what: Dropped, count: int, now_ns: int) -> Record:
    lines = "record was" if count == 1 else "records were"
    fields: dict[str, Value] = {"dropped": count, "origin": what.origin, "reason": what.reason}
    message = f"{count} {lines} dropped that came by {what.origin}: {what.reason}"
    return Record(now_ns, WARNING, OWN_SOURCE, message, fields)
