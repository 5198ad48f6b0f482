"""The segments of a directory: which there are, and which count (docs/design/logs.md, "The directory").

It must not know tails, and removes nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError, StoreError
from vcache.logs.base import Gap

if TYPE_CHECKING:
    from vcache.logs.segment import Segment

__all__ = ["SUFFIX", "Sealed", "digest_of", "segment_names"]

SUFFIX: Final = ".seg"
_DIGEST_DIGITS: Final = 64
_SETTLED_NS: Final = 2_500_000_000  # FAT's times are of two seconds, ext4's of a timer's tick


class Sealed:
    """The segments of `DIRECTORY/segments`. Threads: any.

    Args:
        directory: that of the segments.
        mend: asked for a segment that cannot be opened, by its digest; whether the file is sound now.
    """

    def __init__(self, directory: Path, *, mend: Callable[[bytes], bool] | None = None) -> None:
        self._directory = directory
        self._mend = mend
        self.begin()

    def begin(self) -> None:
        """In a fork's child: nobody looks, and what somebody found by halves is forgotten."""
        self._lock = threading.Lock()  # guards what follows; held while files are opened
        self._open: dict[str, Segment] = {}
        self._gaps: dict[str, Gap] = {}
        self._names: frozenset[str] | None = None
        self._mtime_ns = -1  # of a listing that nothing was added to within the same tick
        self._counting: list[Segment] = []
        self._asked: set[str] = set()  # to be mended

    def current(self) -> list[Segment]:
        """Those that count. They stay readable when they are removed meanwhile.

        Raises:
            OSError: the directory cannot be read.
        """
        with self._lock:
            self._refresh()
            return list(self._counting)

    def all(self) -> Mapping[bytes, Segment]:
        """Those that count and those that are replaced, by digest."""
        with self._lock:
            self._refresh()
            return {segment.info.digest: segment for segment in self._open.values()}

    def names(self) -> frozenset[bytes]:
        """The digests of all files there are, readable or not."""
        with self._lock:
            self._refresh()
            return frozenset(filter(None, map(digest_of, self._names or ())))

    def forget(self, digest: bytes) -> None:
        """Open a segment anew, which was mended. Called by `mend` itself, too."""
        self._open.pop(digest.hex() + SUFFIX, None)
        self._names, self._mtime_ns = None, -1

    def unreadable(self) -> list[Gap]:
        """Segments that could not be opened when it was looked last."""
        return list(self._gaps.values())

    def gaps(self) -> list[Gap]:
        """Segments that cannot be opened, and what cannot be read in the others."""
        with self._lock:
            self._refresh()
            return [*self._gaps.values(), *(gap for segment in self._counting for gap in segment.gaps)]

    def _refresh(self) -> None:
        began_ns = time.time_ns()
        mtime_ns = os.stat(self._directory).st_mtime_ns
        if mtime_ns == self._mtime_ns and self._names is not None:
            return
        names = segment_names(self._directory)
        self._mtime_ns = mtime_ns if began_ns - mtime_ns > _SETTLED_NS else -1
        if names == self._names and not self._gaps:
            return
        # What is removed here is closed when the last who reads it lets go.
        self._open = {name: segment for name, segment in self._open.items() if name in names}
        self._gaps = {}
        for name in sorted(names - self._open.keys()):
            self._try(name)
        self._names = names
        replaced = {digest for segment in self._open.values() for digest in segment.info.replaces}
        self._counting = [
            segment for _, segment in sorted(self._open.items()) if segment.info.digest not in replaced
        ]
        for digest in replaced:
            self._gaps.pop(digest.hex() + SUFFIX, None)

    def _try(self, name: str) -> None:
        from vcache.logs.segment import open_segment

        path = self._directory / name
        try:
            segment = open_segment(path)
            if segment.gaps and self._is_mended(name):
                segment = open_segment(path)
            self._open[name] = segment
        except (StoreError, DecodeError) as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return  # replaced meanwhile, by one that is listed
            if self._is_mended(name):
                self._open[name] = open_segment(path)
            else:
                self._gaps[name] = Gap(f"segments/{name}", str(error))

    def _is_mended(self, name: str) -> bool:
        """Once for each: who asks again and again for what is nowhere waits for a network each time."""
        if self._mend is None or name in self._asked:
            return False
        self._asked.add(name)
        return self._mend(bytes.fromhex(name[:_DIGEST_DIGITS]))


def segment_names(directory: Path) -> frozenset[str]:
    """The names of all segments of a directory at one moment.

    A listing that is under way while a segment takes the place of others may show none of them: hence two
    that agree.
    """
    before = None
    while True:
        found = frozenset(name for name in os.listdir(directory) if digest_of(name) is not None)
        if found == before:
            return found
        before = found


def digest_of(name: str) -> bytes | None:
    """The digest that a file is named by; None for what is no such name."""
    if len(name) != _DIGEST_DIGITS + len(SUFFIX) or not name.endswith(SUFFIX):
        return None
    try:
        return bytes.fromhex(name[:_DIGEST_DIGITS])
    except ValueError:
        return None
