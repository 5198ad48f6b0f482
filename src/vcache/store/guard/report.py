"""What a remote refused, and why: a bounded file beside its breaker and spool, and who reads it.

The files are normative in docs/design/network.md.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Final

from vcache.kit.breaker import BreakerState, read_state
from vcache.kit.clock import Clock, system_clock
from vcache.kit.data import dataclass
from vcache.kit.fs_atomic import write_atomic
from vcache.store.guard.spool import is_spooled

__all__ = ["Refusal", "Remote", "Report", "remote_at", "remotes", "report_lines", "write_address"]

_MOST_BYTES: Final = 64 << 10
_PER_PROCESS: Final = 100
_WORD_CHARS: Final = 500
_FILE: Final = "report.jsonl"
_ADDRESS: Final = "address"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line of a report: when, what was refused, of which key, and why."""

    at_ns: int
    what: str
    key: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Remote:
    """What is known of a remote on this machine.

    Attributes:
        directory: where that is kept.
        address: without options and secrets; "" where nobody wrote it down.
        breaker: whether it is asked, as all processes see it.
        waiting: how many records and deletions wait to be sent.
        waiting_bytes: their size.
        refusals: the last ones, the newest last.
    """

    directory: Path
    address: str
    breaker: BreakerState
    waiting: int
    waiting_bytes: int
    refusals: tuple[Refusal, ...]


class Report:
    """Takes notes of refusals. Each pair of what and why once in a process.

    Args:
        directory: of the remote; made when there is something to note.

    Threads: all operations.
    """

    def __init__(self, directory: str | os.PathLike[str], *, clock: Clock = system_clock) -> None:
        self._directory = os.fspath(directory)
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._noted: set[tuple[str, str]] = set()

    def note(self, what: str, why: str, key: bytes = b"") -> bool:
        """Write a refusal down; False where that was done before, or cannot be."""
        what, why = what[:_WORD_CHARS], why[:_WORD_CHARS]
        with self._lock:
            if (what, why) in self._noted or len(self._noted) >= _PER_PROCESS:
                return False
            self._noted.add((what, why))
        import json  # 2 ms, for who has something to complain about

        row = {"at_ns": self._clock(), "what": what, "key": key[:200].hex(), "why": why}
        try:
            _append(self._directory, json.dumps(row).encode() + b"\n")
        except OSError:
            return False
        return True

    def after_fork_in_child(self) -> None:
        """In a forked child: forget the lock."""
        self._lock = threading.Lock()


def write_address(directory: str | os.PathLike[str], address: str) -> None:
    """Say whose state a directory holds, where nobody has."""
    path = os.path.join(directory, _ADDRESS)
    if not os.path.exists(path):
        with contextlib.suppress(OSError):
            write_atomic(path, address.encode("utf-8", "surrogateescape") + b"\n", mode=0o600)


def remotes(state_dir: Path) -> tuple[Remote, ...]:
    """The remotes that have state in a directory such as `config.state_dir() / "remotes"`."""
    with contextlib.suppress(OSError):
        return tuple(remote_at(each) for each in sorted(state_dir.iterdir()) if each.is_dir())
    return ()


def report_lines(state_dir: Path) -> Iterator[str]:
    """What there is to say of the remotes, for people: of each a line, and one for each refusal."""
    from vcache.kit.units import format_bytes

    for remote in remotes(state_dir):
        state = remote.breaker
        words = f"not asked for now ({state.why})" if state.is_open else "asked"
        if remote.waiting:
            words += f"; {remote.waiting} waiting to be sent ({format_bytes(remote.waiting_bytes)})"
        yield f"{remote.address or remote.directory}: {words}"
        for refusal in remote.refusals:
            yield f"  {refusal.what}: {refusal.why}"


def remote_at(directory: Path) -> Remote:
    """What is known of the remote whose state a directory holds; there may be nothing."""
    waiting = [
        entry.stat().st_size
        for folder in sorted(directory.glob("spool*"))
        for entry in _files(folder)
        if is_spooled(entry.name)
    ]
    address = _content(directory / _ADDRESS).decode("utf-8", "replace").strip()
    breaker = read_state(str(directory / "breaker")) or BreakerState()
    return Remote(directory, address, breaker, len(waiting), sum(waiting), _refusals(directory / _FILE))


def _files(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _content(path: Path) -> bytes:
    """The end of a small file; nothing where there is none. A pipe of that name holds nobody up."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        found = os.fstat(fd)
        return (
            os.pread(fd, _MOST_BYTES, max(0, found.st_size - _MOST_BYTES)) if S_ISREG(found.st_mode) else b""
        )
    finally:
        os.close(fd)


def _refusals(path: Path, most: int = 20) -> tuple[Refusal, ...]:
    import json

    found = []
    for line in _content(path).splitlines()[-most:]:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that a crash cut off
            row = json.loads(line)
            key = bytes.fromhex(row["key"])
            found.append(Refusal(int(row["at_ns"]), str(row["what"]), key, str(row["why"])))
    return tuple(found)


def _append(directory: str, line: bytes) -> None:
    """Add a line; before the file grows too large, its older half goes."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = f"{directory}/{_FILE}"
    fd = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
    )
    try:
        size = os.fstat(fd).st_size
        if size + len(line) <= _MOST_BYTES:
            os.write(fd, line)  # one call: lines of several processes do not mix
            return
        kept = os.pread(fd, _MOST_BYTES // 2, max(0, size - _MOST_BYTES // 2))
    finally:
        os.close(fd)
    # Another process's line may be lost between the two: a report is for people.
    write_atomic(path, kept.partition(b"\n")[2] + line, mode=0o600)
