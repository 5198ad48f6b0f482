"""The audit log: every change, in lines that each seal the one before.

Whoever removes, changes or reorders a line breaks the chain; whoever cuts the end off is found
out by a head that was written down elsewhere (`vcache audit head`). It knows no HTTP.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from vcache.errors import FormatError, StoreBusy
from vcache.hash import digest
from vcache.kit.data import NamedTuple

__all__ = ["AuditLog", "Finding", "files_of", "verify"]

_FIRST: Final = "0" * 64
_ROTATE_BYTES: Final = 64 << 20
_TAIL_BYTES: Final = 64 << 10
"""Longer than any line: names are at most 64 KiB in a store, and cut here."""
_MOST_NAME: Final = 1024


class Finding(NamedTuple):
    """What is wrong, and where.

    Attributes:
        file: which one.
        line: its number, from 1.
        words: what is wrong.
    """

    file: str
    line: int
    words: str


class AuditLog:
    """Appends to the log of one server.

    Args:
        path: the file; older ones are `audit-<first seq>.jsonl` beside it.
        clock: UTC epoch nanoseconds.

    Raises:
        StoreBusy: another process writes to it.
        FormatError: its last line is none of ours.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], int] = time.time_ns, rotate_bytes: int = _ROTATE_BYTES
    ) -> None:
        self.path = path
        self._clock, self._rotate_bytes = clock, rotate_bytes
        self._lock = threading.Lock()  # guards all below and the order of lines: held while one is written
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = self._opened()
        self.seq, self.head = self._last()
        self._size_bytes = os.fstat(self._fd).st_size
        self._lost = 0  # changes that could not be noted
        self._first_seq = self.seq

    def append(self, action: str, fields: Mapping[str, str | int]) -> None:
        """Note a change: in the page cache when this returns, so that a kill loses nothing.

        Args:
            action: "put", "delete", "token", ….
            fields: what else there is to say; names are cut at 1,024 characters.

        Raises:
            OSError: it cannot be written.
        """
        with self._lock:
            try:
                if self._lost:
                    words = f"{self._lost} changes"
                    self._append("lost", {"token": "", "namespace": "", "dialect": "", "name": words})
                    self._lost = 0
                self._append(action, fields)
            except OSError:
                self._lost += 1  # the next line that can be written says so: a gap must not look like silence
                raise
            if self._size_bytes >= self._rotate_bytes:
                self._rotate()

    def _append(self, action: str, fields: Mapping[str, str | int]) -> None:
        row: dict[str, str | int] = {
            "seq": self.seq + 1,
            "at_ns": self._clock(),
            "action": action,
            "prev": self.head,
            **{
                name: value[:_MOST_NAME] if isinstance(value, str) else value
                for name, value in fields.items()
            },
        }
        seal = _seal(row)
        self._write(_canonical(row | {"hash": seal}) + b"\n")
        self.seq, self.head = self.seq + 1, seal

    def close(self) -> None:
        """Make what was noted survive a power loss, and let go of the file. May be called again."""
        with self._lock:
            if self._fd >= 0:
                os.fsync(self._fd)
                os.close(self._fd)
                self._fd = -1

    def _write(self, line: bytes) -> None:
        """All of a line or nothing: the next one must not begin behind half of this."""
        written = os.write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self._size_bytes)
            raise OSError(errno.ENOSPC, f"{self.path}: a line was written in part")
        self._size_bytes += written

    def _opened(self) -> int:
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StoreBusy(
                f"{self.path} is written by another server: give each its own directory"
            ) from None
        return fd

    def _last(self) -> tuple[int, str]:
        """The number and the seal of the last line; what a kill tore is cut off."""
        size = os.fstat(self._fd).st_size
        start = max(0, size - _TAIL_BYTES)
        tail = os.pread(self._fd, _TAIL_BYTES, start)
        whole = tail[: tail.rfind(b"\n") + 1]
        if len(whole) < len(tail):
            os.ftruncate(self._fd, start + len(whole))
        lines = whole.splitlines()
        if not lines:
            before = files_of(self.path)[:-1]
            return _end_of(before[-1]) if before else (0, _FIRST)
        return _numbers(lines[-1], self.path)

    def _rotate(self) -> None:
        """Go on in a new file, whose first line seals the last one of this."""
        os.fsync(self._fd)
        older = self.path.with_name(f"{self.path.stem}-{self._first_seq + 1:012}.jsonl")
        os.rename(self.path, older)
        try:
            fd = self._opened()
        except OSError:
            os.rename(older, self.path)  # no room for another one: this one goes on
            raise
        os.close(self._fd)
        self._fd, self._size_bytes = fd, 0
        self._first_seq = self.seq


def files_of(path: Path) -> list[Path]:
    """The files of a log, the oldest first; the last is the one that is written."""
    return [*sorted(path.parent.glob(f"{path.stem}-*.jsonl")), path]


def verify(path: Path, *, expected_head: str | None = None) -> Iterator[Finding]:
    """Walk a log and say what is wrong with it; nothing where it is whole.

    Args:
        expected_head: a seal that was written down earlier, which has to be in it.
    """
    seq, head = 0, _FIRST
    is_seen = expected_head is None or expected_head == _FIRST
    for file in files_of(path):
        if not file.exists():
            continue
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    seal = row.pop("hash")
                    is_ours = line == _canonical(row | {"hash": seal}) + b"\n"
                except (ValueError, KeyError, AttributeError, TypeError):
                    yield Finding(file.name, number, "is no line of this log")
                    continue
                if not is_ours or _seal(row) != seal:
                    yield Finding(file.name, number, "was changed: its seal is another")
                if row.get("prev") != head or row.get("seq") != seq + 1:
                    words = f"follows {seq} and is {row.get('seq')}: lines before it are missing or moved"
                    yield Finding(file.name, number, words)
                seq, head = int(row.get("seq", seq)), str(seal)
                is_seen = is_seen or head == expected_head
    if not is_seen:
        yield Finding(path.name, 0, f"the line with the seal {expected_head} is missing")


def _canonical(row: Mapping[str, object]) -> bytes:
    return json.dumps(row, sort_keys=True, separators=(",", ":")).encode()


def _seal(row: Mapping[str, object]) -> str:
    return digest(_canonical(row)).hex()


def _end_of(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().splitlines()
    return _numbers(lines[-1] if lines else b"", path)


def _numbers(line: bytes, path: Path) -> tuple[int, str]:
    try:
        row = json.loads(line)
        return int(row["seq"]), str(row["hash"])
    except (ValueError, KeyError, TypeError):
        raise FormatError(
            f"{path}: its last line is none of an audit log: move it away to begin a new one"
        ) from None
