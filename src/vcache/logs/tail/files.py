"""All tail files of a directory, of this process and of others: what is in them, and what comes.

Each byte is decoded once for all who search and follow. It must not know segments and queries.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vcache.kit.data import NamedTuple
from vcache.logs.base import Gap
from vcache.logs.ids import parse_stream
from vcache.logs.record import Record
from vcache.logs.tail.reader import TailReader, TailRun
from vcache.logs.tail.writer import DAMAGED, SUFFIX

__all__ = ["KEPT_RECORDS", "Tail", "Tails"]

KEPT_RECORDS: Final = 65_536
"""Decoded records that are kept between queries: 50 MB of usual ones."""


class Tail(NamedTuple):
    """What a tail file holds at a moment.

    Attributes:
        records: none where they are sealed but for what is damaged.
    """

    path: Path
    stream: int
    records: Sequence[Record]
    gaps: Sequence[Gap]
    is_sealed: bool


class _State:
    """A tail file, as far as it was read."""

    def __init__(self, path: Path, stream: int) -> None:
        self.reader = TailReader(path, stream)
        self.records: list[Record] = []
        self.is_kept = True
        self.is_sealed = False
        self.told = 0  # the sequence below which all was told
        self.error = ""


class Tails:
    """The tail files of `DIRECTORY/tail`. Threads: any.

    Args:
        directory: that of the tail files.
        tell: hears of records as they are read first.
        kept_records: see `KEPT_RECORDS`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tell: Callable[[int, Sequence[Record]], object] | None = None,
        kept_records: int = KEPT_RECORDS,
    ) -> None:
        self._directory = directory
        self._tell = tell
        self._kept_records = kept_records
        self.begin()

    def begin(self) -> None:
        """In a fork's child: nobody reads, and what somebody read by halves is forgotten."""
        self._lock = threading.Lock()  # guards the states; held while files are read: one reads for all
        self._states: dict[str, _State] = {}

    def current(self) -> list[Tail]:
        """What is in them, the oldest file first: all that was written before the call.

        Raises:
            OSError: the directory cannot be read.
        """
        with self._lock:
            self._refresh()
            states = [state for _, state in sorted(self._states.items())]
            return [self._tail(state) for state in states]

    def refresh(self) -> None:
        """Read what came.

        Raises:
            OSError: the directory cannot be read.
        """
        with self._lock:
            self._refresh()

    def sizes(self) -> list[int]:
        """The sizes of the files.

        Raises:
            OSError: the directory cannot be read.
        """
        return list(_sizes(self._directory).values())

    def _refresh(self) -> None:
        sizes = _sizes(self._directory)
        for name in self._states.keys() - sizes.keys():
            del self._states[name]  # sealed
        for name, size in sorted(sizes.items()):
            state = self._states.get(name)
            if state is None:
                stream = parse_stream(name.partition(".")[0])
                if stream is None:
                    continue
                state = self._states[name] = _State(self._directory / name, stream)
                state.is_sealed = name.endswith(DAMAGED)
            if size != state.reader.size_bytes or state.error:
                self._read(state)
        self._keep_bound()

    def _read(self, state: _State) -> None:
        state.error = ""
        try:
            runs = state.reader.read()
        except FileNotFoundError:
            return  # sealed meanwhile: what it held is in a segment
        except OSError as error:
            state.error = str(error)
            return
        if state.reader.is_reset:
            state.records = []
        for run in () if state.is_sealed else runs:
            if state.is_kept:
                state.records += run.records
            self._tell_of(state, run)

    def _tell_of(self, state: _State, run: TailRun) -> None:
        before = state.told - run.first_seq
        state.told = max(state.told, run.first_seq + len(run.records))
        if self._tell is not None and before < len(run.records):
            self._tell(state.reader.stream, run.records[before:] if before > 0 else run.records)

    def _keep_bound(self) -> None:
        """Let go of what is in the oldest files: it is decoded again for each who asks."""
        kept = sum(len(state.records) for state in self._states.values())
        for _, state in sorted(self._states.items()):
            if kept <= self._kept_records:
                return
            kept -= len(state.records)
            state.records, state.is_kept = [], False

    def _tail(self, state: _State) -> Tail:
        reader = state.reader
        gaps = list(reader.gaps)
        if state.error:
            gaps.append(Gap(f"tail/{reader.path.name}", state.error))
        records = state.records[:] if state.is_kept or state.is_sealed else _read_again(reader)
        return Tail(reader.path, reader.stream, records, gaps, state.is_sealed)


def _read_again(reader: TailReader) -> list[Record]:
    try:
        runs = TailReader(reader.path, reader.stream).read()
    except FileNotFoundError:
        return []  # sealed meanwhile
    return [record for run in runs for record in run.records]


def _sizes(directory: Path) -> dict[str, int]:
    """The tail files there are, with their sizes."""
    sizes = {}
    with os.scandir(directory) as found:
        for entry in found:
            if entry.name.endswith((SUFFIX, DAMAGED)):
                try:
                    sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # sealed meanwhile
    return sizes
