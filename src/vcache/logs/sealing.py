"""Makes segments of tails, and larger segments of small ones; safe against a kill at any moment.

Always: write, sync, rename, sync the directory, remove (docs/design/logs.md, "The directory"). It must not
know who asks, and what a query is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.kit.fs_atomic import LockFile, sync_dir
from vcache.logs.ids import next_stream, parse_stream, stream_name
from vcache.logs.sealed import SUFFIX, Sealed
from vcache.logs.tail.reader import TailReader
from vcache.logs.tail.writer import DAMAGED
from vcache.logs.tail.writer import SUFFIX as TAIL

if TYPE_CHECKING:
    from vcache.logs.segment import Segment, SegmentInfo

__all__ = ["SealReport", "Sealer", "merge_plan"]

_MOST_RECORDS: Final = 1_000_000  # of tails that become one segment
_MOST_TAILS: Final = 256  # descriptors held at once
_FANOUT: Final = 8
_LARGEST_BYTES: Final = 256 << 20
_ANEW_RECORDS: Final = 131_072  # so few are written anew: windows of a few rows pack badly
_ABANDONED_S: Final = 24 * 3600.0


class SealReport(NamedTuple):
    """What was done.

    Attributes:
        tails: files that were sealed.
        records: in them.
        segments: that were made of them.
        merged: segments that were made one with others.
    """

    tails: int
    records: int
    segments: int
    merged: int


class Sealer:
    """Seals and merges in one directory. Threads and processes: any; they take turns.

    Args:
        directory: of the store.
        sealed: its segments.
        keep: told of each segment that was made, with its file.
    """

    def __init__(
        self, directory: Path, sealed: Sealed, *, keep: Callable[[bytes, Path], object] | None = None
    ) -> None:
        self.directory = directory
        self.lock = LockFile(directory / "seal.lock")
        self._sealed = sealed
        self._keep = keep
        self._damaged: set[bytes] = set()

    def seal(self, *, timeout_s: float | None = None, go_on: Callable[[], bool] = lambda: True) -> SealReport:
        """Seal all tails that nobody holds, and merge small segments.

        Args:
            timeout_s: how long to wait for another who seals.
            go_on: asked between two steps.

        Raises:
            StoreBusy: somebody else seals.
            StoreError: what is to be read cannot be.
            OSError: no space, no permission.
            ConfigError: what writes segments is not installed.
        """
        with self.lock.held(timeout_s):
            self.sweep()
            tails = records = segments = 0
            while go_on():
                done, count = self._seal_some(go_on)
                if not done:
                    break
                tails, records, segments = tails + done, records + count, segments + bool(count)
            merged = sum(self._merge(group) for group in self._plan() if go_on())
        return SealReport(tails, records, segments, merged)

    def place(self, temporary: Path, info: SegmentInfo) -> Path:
        """Give a finished segment its name: from here on it counts, also after a power loss."""
        path = self.directory / "segments" / (info.digest.hex() + SUFFIX)
        temporary.chmod(0o444)
        os.rename(temporary, path)
        sync_dir(path.parent)
        if self._keep is not None:
            self._keep(info.digest, path)
        return path

    def temporary(self) -> Path:
        """The name of a file to write a segment to."""
        return self.directory / "tmp" / (stream_name(next_stream()) + SUFFIX)

    def remove(self, segments: Iterable[Segment]) -> None:
        """Remove segments: replaced ones, or such that are to go."""
        for segment in segments:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.directory / "segments" / (segment.info.digest.hex() + SUFFIX))

    def sweep(self) -> None:
        """Remove what a kill left: segments that are replaced, files that were never finished."""
        known = self._sealed.all()
        replaced = {digest for segment in known.values() for digest in segment.info.replaces}
        self.remove(known[digest] for digest in replaced if digest in known)
        with os.scandir(self.directory / "tmp") as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _ABANDONED_S:
                        os.unlink(entry.path)

    def _seal_some(self, go_on: Callable[[], bool]) -> tuple[int, int]:
        """Make a segment of some tails: how many files, and how many records."""
        from vcache.logs.segment import SegmentWriter

        known = {run.stream for segment in self._sealed.all().values() for run in segment.info.streams}
        with contextlib.ExitStack() as held:
            readers: list[TailReader] = []
            count = 0
            temporary = self.temporary()
            with SegmentWriter(temporary) as writer:
                for path, stream in self._free():
                    if not _hold(path, held):
                        continue
                    reader = TailReader(path, stream)
                    readers.append(reader)
                    if stream not in known:  # else whoever sealed it was killed before removing it
                        for first_seq, records in reader.runs():
                            writer.add(stream, first_seq, records)
                            count += len(records)
                    if count >= _MOST_RECORDS or len(readers) >= _MOST_TAILS or not go_on():
                        break
                if count:
                    self.place(temporary, writer.finish())
            for reader in readers:
                _remove(reader)
            return len(readers), count

    def _free(self) -> Iterator[tuple[Path, int]]:
        tail = self.directory / "tail"
        for name in sorted(os.listdir(tail)):
            stream = parse_stream(name[: -len(TAIL)]) if name.endswith(TAIL) else None
            if stream is not None:
                yield tail / name, stream

    def _plan(self) -> list[list[Segment]]:
        """Groups of segments to be merged."""
        sound = [
            segment for digest, segment in sorted(self._sealed.all().items())
            if digest not in self._damaged and not segment.gaps
        ]  # fmt: skip
        by_digest = {segment.info.digest: segment for segment in sound}
        return [[by_digest[digest] for digest in group] for group in merge_plan([s.info for s in sound])]

    def _merge(self, segments: Sequence[Segment]) -> int:
        """Make one of several; how many are gone."""
        temporary = self.temporary()
        try:
            info = _written_anew(segments, temporary) or _copied(segments, temporary)
        except DecodeError:
            # Left as they are: what is damaged in them is a gap, which a merge must not hide.
            self._damaged.update(segment.info.digest for segment in segments)
            return 0
        self.place(temporary, info)
        self.remove(segments)
        return len(segments)


def merge_plan(infos: Sequence[SegmentInfo]) -> list[list[bytes]]:
    """Which segments to make one of: eight of about one size, the oldest first. Pure.

    So each record is copied once for each power of eight that its segment grows by.
    """
    tiers: dict[int, list[SegmentInfo]] = {}
    for info in infos:
        if info.size_bytes < _LARGEST_BYTES // 2:
            tiers.setdefault((max(info.size_bytes, 1).bit_length() - 1) // 3, []).append(info)
    plan = []
    for _, tier in sorted(tiers.items()):
        tier.sort(key=lambda info: (info.first_ns, info.digest))
        while len(tier) >= _FANOUT:
            group = tier[:_FANOUT]
            while sum(info.size_bytes for info in group) > _LARGEST_BYTES:
                group.pop()
            tier = tier[len(group) :]
            if len(group) > 1:
                plan.append([info.digest for info in group])
    return plan


def _copied(segments: Sequence[Segment], path: Path) -> SegmentInfo:
    from vcache.logs.segment import merge

    info = merge(segments, path)
    if info is None:
        raise DecodeError("segments without records")
    return info


def _written_anew(segments: Sequence[Segment], path: Path) -> SegmentInfo | None:
    """One segment of few records, in windows as long as can be; None for many, which are copied."""
    if sum(segment.info.records for segment in segments) > _ANEW_RECORDS:
        return None
    from vcache.logs.segment import SegmentWriter, runs_of

    with SegmentWriter(path, replaces=[segment.info.digest for segment in segments]) as writer:
        for segment in segments:
            for stream, first_seq, records in runs_of(segment):
                writer.add(stream, first_seq, records)
        return writer.finish()


def _hold(path: Path, held: contextlib.ExitStack) -> bool:
    """Whether nobody writes to a tail; then it is ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    held.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(reader: TailReader) -> None:
    """Remove a tail that is sealed. What could not be read of it stays, as a gap that can be looked into."""
    with contextlib.suppress(FileNotFoundError):
        if any(gap.records for gap in reader.gaps):
            os.rename(reader.path, reader.path.with_suffix(DAMAGED))
        else:
            os.unlink(reader.path)
