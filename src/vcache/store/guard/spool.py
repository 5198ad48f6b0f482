"""What waits to be sent to a remote: a directory of files that processes share and crashes spare.

The files are normative in docs/design/network.md. Nothing is synced: what a process has put survives
its death, and after a power loss is whole or ignored. It must not know who sends.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
import time
from typing import Final

from vcache.entry import Key, Record
from vcache.errors import DecodeError
from vcache.hash import DIGEST_BYTES, Hasher
from vcache.kit.clock import Clock, Monotonic, system_clock
from vcache.kit.data import dataclass
from vcache.kit.fs_atomic import sweep_temporaries, write_atomic
from vcache.kit.ids import UuidGenerator
from vcache.store import objects

__all__ = ["Pending", "Spool", "is_spooled"]

_START: Final = struct.Struct("<4sI")
_MAGIC: Final = b"vcs\x01"
_NAME: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_BLOCK_BYTES: Final = 4096  # what the smallest file takes
_RESCAN_S: Final = 5.0
_RESCAN_FULL_S: Final = 1.0
_ABANDONED_S: Final = 3600.0
_MOST_STRIKES: Final = 1000  # a time of 1970: no file was written then
_MS: Final = 1_000_000
# Times above are not believed: one of them would put the names of all later files behind it.
_AHEAD_NS: Final = 400 * 86_400 * 1_000_000_000


def is_spooled(name: str) -> bool:
    """Whether a file in a spool is one that waits: others are half-written, or strangers'."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Pending:
    """A file of the spool: the record to put, or None for a deletion."""

    name: str
    key: Key
    record: Record | None
    size_bytes: int


class Spool:
    """Puts and deletions in the order in which they are to reach the remote.

    Args:
        directory: made when there is something to keep.
        most_bytes: what may wait, of all processes together. They look at each other's files every few
            seconds only: so much more may get in meanwhile.

    Attributes:
        own: the newest file of each key that this process has put and nobody was seen to send.

    Threads: all operations.
    """

    def __init__(
        self,
        directory: str,
        *,
        most_bytes: int,
        clock: Clock = system_clock,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self.directory = directory
        self.own: dict[Key, str] = {}
        self._most_bytes = most_bytes
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards the four below, and the order of names; never held in I/O
        self._bytes = 0
        self._scanned_s = float("-inf")
        self._newest_ns = 0
        self._next = UuidGenerator(clock=lambda: max(self._clock(), self._newest_ns))

    def add(self, key: Key, record: Record | None) -> bool:
        """Keep a put or a deletion until it is sent; False where there is no room for it.

        Raises:
            OSError: the disk is full, or not ours to write.
        """
        parts = [] if record is None else list(objects.pack(record))
        named = _START.pack(_MAGIC, len(key)) + key
        hasher = Hasher()
        for part in parts:
            hasher.update(part)
        pieces = [named + hasher.digest(), *parts]
        size = sum(memoryview(piece).nbytes for piece in pieces)
        if not self._has_room(size):
            return False
        # Of two puts of one key the later has the later name, and is what `own` knows.
        with self._lock:
            name = self._next.text()
        try:
            write_atomic(f"{self.directory}/{name}", pieces, mode=0o600)
        except FileNotFoundError:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            write_atomic(f"{self.directory}/{name}", pieces, mode=0o600)
        with self._lock:
            self._bytes += max(size, _BLOCK_BYTES)
            if self.own.get(key, "") < name:
                self.own[key] = name
        return True

    def find(self, key: Key) -> Pending | None:
        """What this process has put last of a key, if it still waits to be sent."""
        name = self.own.get(key)
        if name is None:
            return None
        found = self.read(name)
        if found is None:
            self._forget(key, name)
        return found

    def read(self, name: str) -> Pending | None:
        """A file of the spool; None where it was sent meanwhile, or is damaged and now removed."""
        path = f"{self.directory}/{name}"
        try:
            with open(path, "rb", opener=_at_once) as file:
                data = file.read()
        except OSError:
            return None
        try:
            return _decoded(name, data)
        except DecodeError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None

    def remove(self, pending: Pending) -> None:
        """Forget a file: it was sent, refused, or a later one stands for its key."""
        with contextlib.suppress(OSError):
            os.unlink(f"{self.directory}/{pending.name}")
            with self._lock:
                self._bytes = max(0, self._bytes - max(pending.size_bytes, _BLOCK_BYTES))
        self._forget(pending.key, pending.name)

    def strike(self, pending: Pending) -> int:
        """Note that sending a file has failed where other operations did not; how often that was so.

        Kept as the time of the file: processes that live too short to try twice count together.
        """
        path = f"{self.directory}/{pending.name}"
        with contextlib.suppress(OSError):
            before_s = int(os.stat(path).st_mtime)
            strikes = before_s + 1 if before_s < _MOST_STRIKES else 1
            os.utime(path, (strikes, strikes))
            return strikes
        return 0

    def discard(self, key: Key) -> None:
        """Forget what this process has put of a key."""
        pending = self.find(key)
        if pending is not None:
            self.remove(pending)

    def names(self) -> list[str]:
        """The files that wait, of all processes, in the order to send them."""
        try:
            found = os.listdir(self.directory)
        except OSError:
            return []
        return sorted(filter(is_spooled, found))

    def sweep(self) -> None:
        """Remove what crashes have left half-written."""
        with contextlib.suppress(OSError):
            sweep_temporaries(self.directory, older_than_s=_ABANDONED_S, now_ns=time.time_ns())

    def after_fork_in_child(self) -> None:
        """In a forked child: forget locks that threads which are not there may have held."""
        self._lock = threading.Lock()
        self._next = UuidGenerator(clock=lambda: max(self._clock(), self._newest_ns))

    def _has_room(self, size_bytes: int) -> bool:
        since_s = self._monotonic() - self._scanned_s
        wanted = max(size_bytes, _BLOCK_BYTES)
        is_full = self._bytes + wanted > self._most_bytes
        if since_s > (_RESCAN_FULL_S if is_full else _RESCAN_S):
            self._scan()
        with self._lock:
            return self._bytes + wanted <= self._most_bytes

    def _scan(self) -> None:
        total = 0
        with contextlib.suppress(OSError), os.scandir(self.directory) as found:
            for entry in found:
                with contextlib.suppress(OSError):  # sent meanwhile
                    total += max(entry.stat(follow_symlinks=False).st_size, _BLOCK_BYTES)
        # What is there already comes before what is put from now on, also when a clock was set back.
        newest_ns = max((_time_ns(name) for name in self.names()[-1:]), default=0)
        if newest_ns < self._clock() + _AHEAD_NS:
            self._newest_ns = max(self._newest_ns, newest_ns + _MS)
        with self._lock:
            self._bytes = total
            self._scanned_s = self._monotonic()

    def _forget(self, key: Key, name: str) -> None:
        with self._lock:
            if self.own.get(key) == name:
                del self.own[key]


def _at_once(path: str, flags: int) -> int:
    """A descriptor, also of a pipe that somebody has put there."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _time_ns(name: str) -> int:
    """The time in the name of a file."""
    return int(name.replace("-", "")[:12], 16) * _MS


def _decoded(name: str, data: bytes) -> Pending:
    if len(data) < _START.size:
        raise DecodeError("a file of the spool is truncated")
    magic, length = _START.unpack_from(data)
    seal_at = _START.size + length
    object_at = seal_at + DIGEST_BYTES
    if magic != _MAGIC or object_at > len(data):
        raise DecodeError("not a file of the spool")
    hasher = Hasher()
    hasher.update(memoryview(data)[object_at:])
    if hasher.digest() != data[seal_at:object_at]:
        raise DecodeError("a file of the spool is damaged")
    key = data[_START.size : seal_at]
    record = objects.unpack(key, memoryview(data)[object_at:]) if object_at < len(data) else None
    return Pending(name, key, record, len(data))
