"""The live journal of systemd, read through `journalctl`, which has the right to and knows its files.

A state file holds the cursor of the last record that is kept, so that a restart goes on there. A kill -9
between a commit and the next second's state gives the records between them twice; it loses none.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vcache.errors import ConfigError, StoreError
from vcache.kit.fs_atomic import write_atomic
from vcache.kit.logs import logger
from vcache.kit.retry import Backoff
from vcache.logs.collect.counts import Counts
from vcache.logs.collect.parcels import Parcel, Ticket
from vcache.logs.collect.queue import ParcelQueue
from vcache.logs.record import Record
from vcache.query.levels import WARNING
from vcache.query.syntax import Value

if TYPE_CHECKING:
    from typing import IO


__all__ = ["JournalReading", "Taking"]

_ORIGIN: Final = "journal"
_PIECE_BYTES: Final = 256 << 10
_SAVE_S: Final = 1.0
_LONGEST_CURSOR: Final = 1_024
_HEALTHY_S: Final = 60.0  # after so long a run, the next failure is the first of its kind again
_GRACE_S: Final = 5.0
_SAID_BYTES: Final = 1_000


class Taking(Protocol):
    """What a collector is to who reads a journal."""

    queue: ParcelQueue
    counts: Counts


class JournalReading:
    """Follows a journal in a thread of its own until it is closed.

    Args:
        state: the file of the cursor. Without it, and before there is one, what is new from here on is read.
        arguments: further ones of journalctl: matches such as `_SYSTEMD_UNIT=ssh.service`, or `--directory`,
            `--namespace`, `--user`, `--since=…`.
        program: journalctl.

    Raises:
        ConfigError: there is no such program, or the state file cannot be read.
    """

    def __init__(
        self,
        collector: Taking,
        *,
        state: Path | None = None,
        arguments: Sequence[str] = (),
        program: str = "journalctl",
    ) -> None:
        from vcache.logs.receive.journal import JournalStream  # who reads no journal has no need of it

        found = shutil.which(program)
        if found is None:
            raise ConfigError(f"a journal is read through {program}, which is not there: install systemd")
        self._collector, self._state, self._program = collector, state, found
        self._arguments = tuple(arguments)
        self._new_stream = JournalStream
        self._stream = JournalStream("")
        self._cursor = _read_state(state)
        self._kept_cursor = self._saved_cursor = self._cursor
        self._saved_s, self._is_lost = 0.0, False
        self._is_closed = threading.Event()
        self._lock = threading.Lock()  # guards the child against being ended before it is known
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="vcache-log-journal", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of journalctl, as long as it runs."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def close(self) -> None:
        """End journalctl, and wait until what it said is kept. May be called again."""
        with self._lock:
            self._is_closed.set()
            if self._child is not None:
                self._child.terminate()
        self._thread.join(_GRACE_S)
        if self._thread.is_alive() and self._child is not None:
            self._child.kill()
            self._thread.join()
        ticket = Ticket(self._on_done)
        if self._collector.queue.put(Parcel(_ORIGIN, (), size_bytes=0, ticket=ticket), _GRACE_S):
            try:
                ticket.wait(_GRACE_S)
            except StoreError:
                return  # a store that fails: the records wait in the queue, or are read again next time
        self._save()

    def _run(self) -> None:
        backoff = Backoff(times=1 << 30, base_s=0.2, most_s=30.0)
        failures = 0
        while not self._is_closed.is_set():
            began_s = time.monotonic()
            trouble = self._follow()
            if self._is_closed.is_set():
                return
            failures = 1 if time.monotonic() - began_s > _HEALTHY_S else failures + 1
            self._say(f"journalctl ended, it is started again: {trouble}")
            self._is_closed.wait(backoff.wait_s(failures) or 30.0)

    def _follow(self) -> str:
        """One life of journalctl: why it ended."""
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._is_closed.is_set():
                    return ""
                try:
                    child = self._child = self._started(errors)
                except OSError as error:
                    return str(error)
            self._stream = self._new_stream("")
            assert child.stdout is not None
            with child.stdout as output:
                size_bytes = self._take(output.fileno())
            status = child.wait()
            errors.seek(0)
            said = errors.read(_SAID_BYTES).decode("utf-8", "replace").strip()
        if status and not size_bytes and self._cursor and "cursor" in said.lower():
            self._say(f"the journal does not know the cursor {self._cursor!r}: what is new is read")
            self._cursor = ""
        return said or f"status {status}"

    def _started(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        where = [f"--after-cursor={self._cursor}"] if self._cursor else self._beginning()
        command = [self._program, "--follow", "--output=export", "--no-pager", *where, *self._arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            process_group=0,  # Ctrl-C is for us: we end it, after what it has said was taken
        )

    def _beginning(self) -> list[str]:
        """Only what is new, unless the arguments say where to begin."""
        begins = (
            "-n",
            "--lines",
            "-S",
            "--since",
            "-b",
            "--boot",
            "-c",
            "--cursor",
            "--after-cursor",
            "--no-tail",
        )
        return [] if any(each.startswith(begins) for each in self._arguments) else ["--lines=0"]

    def _take(self, fd: int) -> int:
        """All that it says until it ends: bytes."""
        total = 0
        while True:
            if not select.select([fd], [], [], _SAVE_S)[0]:
                self._save()
                continue
            data = os.read(fd, _PIECE_BYTES)
            total += len(data)
            if not data or not self._put(data):
                return total
            if time.monotonic() - self._saved_s >= _SAVE_S:
                self._save()

    def _put(self, data: bytes) -> bool:
        count = data.count(b"\n\n") or 1
        ticket = Ticket(self._on_done)
        size_bytes = len(data) + 64 * count
        parcel = Parcel(
            _ORIGIN, (data,), size_bytes=size_bytes, count=count, decode=self._read, ticket=ticket
        )
        while not self._collector.queue.put(parcel, _SAVE_S):
            if self._is_closed.is_set():
                return False  # it is read again next time: the cursor is of what was kept
        return True

    def _read(self, pieces: Sequence[bytes], now_ns: int, fields: Mapping[str, Value]) -> list[Record]:
        """By the thread that commits, in order; and so is the next: the cursor is of what was just kept."""
        found: list[Record] = []
        for piece in pieces:
            found += self._stream.feed(piece, now_ns=now_ns)
        self._cursor = self._stream.cursor or self._cursor
        return found

    def _on_done(self, ticket: Ticket) -> None:
        self._is_lost |= ticket.error is not None
        if not self._is_lost:  # else the next one begins before what is lost
            self._kept_cursor = self._cursor

    def _save(self) -> None:
        cursor, self._saved_s = self._kept_cursor, time.monotonic()
        if self._state is None or cursor == self._saved_cursor:
            return
        try:
            write_atomic(self._state, cursor.encode())
        except OSError as error:
            logger(__name__).warning("the place in the journal was not kept in %s: %s", self._state, error)
        else:
            self._saved_cursor = cursor

    def _say(self, message: str) -> None:
        self._collector.counts.note(message, time.time_ns(), {}, level=WARNING)
        logger(__name__).warning("%s", message)


def _read_state(state: Path | None) -> str:
    if state is None:
        return ""
    try:
        text = state.read_bytes()[: _LONGEST_CURSOR + 1].decode("ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the place in the journal cannot be read from {state}: {error}") from error
    if len(text) > _LONGEST_CURSOR or "\n" in text:
        raise ConfigError(f"{state} holds no place in a journal: name another file")
    return text
