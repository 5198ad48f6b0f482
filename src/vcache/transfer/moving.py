"""Records moved from a store to where they lack: referents before what refers.

Whoever stops half-way has moved what is moved, and goes on by asking again what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from vcache.entry import FOREVER, Entry, Key, Record, split_key
from vcache.errors import DecodeError, StoreClosed, StoreError
from vcache.kit.data import NamedTuple, dataclass, field
from vcache.store.base import Listing, Store
from vcache.store.tiers import entry_of, is_far, lent, missing_in, put_each
from vcache.transfer.choosing import BATCH_BYTES, batches, entries, got, in_turns, outputs_of

__all__ = [
    "Lost",
    "Progress",
    "Report",
    "Sink",
    "StoreSink",
    "name_of",
    "place",
    "send",
]

_LARGE_BYTES: Final = 1 << 20
_HOPELESS: Final = 3

Progress = Callable[[int, int], None]
"""Told how many keys were looked at, and how many there are."""


class Lost(NamedTuple):
    """What could not be moved, and why."""

    name: str | bytes | None
    why: str


@dataclass(slots=True)
class Report:
    """What a transfer came to.

    Attributes:
        moved, moved_bytes: what was taken, with the bytes of heads and bodies.
        skipped: how many were there already.
        kept: how many are there with another content, and were left so.
        lost: what could not be moved.
        stopped: why it came to an end before all was looked at; "" for all.
    """

    moved: int = 0
    moved_bytes: int = 0
    skipped: int = 0
    kept: int = 0
    lost: list[Lost] = field(default_factory=list)
    stopped: str = ""

    def __bool__(self) -> bool:
        """Whether all that was asked for is there now."""
        return not (self.lost or self.stopped)

    def lose(self, key: Key, why: str) -> None:
        """Note what could not be moved."""
        self.lost.append(Lost(name_of(key), why))


class Sink(Protocol):
    """Where records go."""

    def missing(self, keys: Sequence[Key]) -> Collection[Key]:
        """Those of the keys that are not there.

        Raises:
            StoreError: it cannot be asked.
        """

    def put(self, records: Mapping[Key, Record]) -> Mapping[Key, str]:
        """Keep records; why some were not taken, by key."""


class StoreSink:
    """A store that records go to.

    Args:
        after: called after each batch.
    """

    def __init__(self, store: Store, *, after: Callable[[], None] | None = None) -> None:
        self._store, self._after = store, after

    def missing(self, keys: Sequence[Key]) -> Collection[Key]:
        return missing_in(self._store, keys)

    def put(self, records: Mapping[Key, Record]) -> Mapping[Key, str]:
        refused: dict[Key, str] = {}
        try:
            put_each(self._store, records)
        except (StoreError, OSError):
            refused = self._put_singly(records)
        if is_far(self._store) and len(refused) < len(records):
            # A guard that could not send has counted it, and said nothing.
            taken = [key for key in records if key not in refused]
            refused |= dict.fromkeys(missing_in(self._store, taken), "it did not arrive")
        if self._after is not None:
            self._after()
        return refused

    def _put_singly(self, records: Mapping[Key, Record]) -> dict[Key, str]:
        """What of a batch is refused. A store that takes nothing is not asked for each."""
        refused: dict[Key, str] = {}
        for at, (key, record) in enumerate(records.items()):
            try:
                self._store.put(key, record)
            except StoreClosed:
                raise
            except (StoreError, OSError) as error:
                refused[key] = str(error)
                if len(refused) == at + 1 >= _HOPELESS:
                    return dict.fromkeys(records, str(error))
        return refused


# -- moving ------------------------------------------------------------------------------------


def send(
    source: Store,
    keys: Iterable[Key],
    sink: Sink,
    *,
    total: int = 0,
    is_dry_run: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Move what a sink lacks of a store.

    Args:
        keys: referents first.
        total: how many keys there are, for `progress`.
        is_dry_run: only say what would be moved. Of a far source it says no bytes.
    """
    report, done = Report(), 0
    left = batches(keys)
    while not report.stopped:
        try:
            batch = next(left, None)
            if batch is None:
                break
            missing = sink.missing(batch)
            wanted = [key for key in batch if key in missing]
            report.skipped += len(batch) - len(wanted)
            if is_dry_run:
                _count(source, wanted, report)
            else:
                _send(source, wanted, sink, report)
        except (StoreError, OSError) as error:
            report.stopped = str(error)
            break
        done += len(batch)
        if progress is not None:
            progress(done, max(done, total))
    return report


def _count(source: Store, keys: Sequence[Key], report: Report) -> None:
    report.moved += len(keys)
    if not is_far(source):
        report.moved_bytes += sum(entry.size_bytes for entry in entries(source, keys).values())


def _send(source: Store, keys: Sequence[Key], sink: Sink, report: Report) -> None:
    left = dict.fromkeys(keys)
    for records in _groups(source, keys):
        for key in records:
            left.pop(key, None)
        place(records, sink, report)
        if report.stopped:
            return
    if (trouble := _trouble(source)) is not None:
        report.stopped = trouble  # what did not come may be there all the same
        return
    for key in left:
        entry = None if is_far(source) else entry_of(source, key)
        if entry is None or not _is_over(entry):
            report.lose(key, "it is gone or damaged where it was")


def place(records: Mapping[Key, Record], sink: Sink, report: Report) -> None:
    """Put records into a sink, but for results whose outputs it would lack."""
    notes = {key: record for key, record in records.items() if key[:1] == b"."}
    results = {key: record for key, record in records.items() if key[:1] != b"."}
    _put(notes, sink, report)
    referred = {key: outputs for key, record in results.items() if (outputs := outputs_of(key, record))}
    if referred and not report.stopped:
        asked = {output for outputs in referred.values() for output in outputs}
        absent = sink.missing(list(asked))
        for key, outputs in referred.items():
            if any(output in absent for output in outputs):
                del results[key]
                report.lose(key, "an output that it stands for is not there")
    if not report.stopped:
        _put(results, sink, report)


def _put(records: Mapping[Key, Record], sink: Sink, report: Report) -> None:
    if not records:
        return
    refused = sink.put(records)
    for key, record in records.items():
        if key in refused:
            report.lose(key, refused[key])
        else:
            report.moved += 1
            report.moved_bytes += len(record.head) + memoryview(record.body).nbytes
    if len(refused) == len(records) >= _HOPELESS:
        report.stopped = next(iter(refused.values()))


def _trouble(source: Store) -> str | None:
    """Why a guard does not ask its remote now, if so: its answers say nothing then."""
    told: Callable[[], str | None] | None = getattr(source, "trouble", None)
    return None if told is None else told()


def _groups(source: Store, keys: Sequence[Key]) -> Iterator[dict[Key, Record]]:
    """The records of keys, as many at once as may be held."""
    if is_far(source) or not isinstance(source, Listing):
        yield from in_turns(source, keys)
        return
    group: list[Key] = []
    held_bytes = 0
    for key in keys:
        entry = entry_of(source, key)
        if entry is None or _is_over(entry):
            continue
        if entry.size_bytes >= _LARGE_BYTES:
            with lent(source, entry) as record:
                if record is not None:
                    yield {key: record}
            continue
        group.append(key)
        held_bytes += entry.size_bytes
        if held_bytes >= BATCH_BYTES:
            yield got(source, group)
            group, held_bytes = [], 0
    if group:
        yield got(source, group)


def _is_over(entry: Entry) -> bool:
    """Whether an entry serves nobody any more."""
    return entry.expires_ns != FOREVER and max(entry.expires_ns, entry.stale_until_ns) <= time.time_ns()


def name_of(key: Key) -> str | bytes:
    """What a key is called in messages."""
    try:
        return split_key(key)[1]
    except (DecodeError, ValueError):
        return key
