"""A circuit breaker whose state all processes of a machine share through a file.

Closed, everybody asks. A few faults in a row open it: nobody asks until a time has passed. Then one
thread of one process tries a single operation, which closes it, or leaves it open for longer.

The file is normative in docs/design/network.md. It is a help, never a need: where it cannot be
read or written, the state lives in memory. It must not know what is asked for.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from enum import Enum
from typing import Final

from vcache.errors import StoreError
from vcache.kit.clock import Clock, system_clock
from vcache.kit.data import dataclass
from vcache.kit.fs_atomic import LockFile, write_atomic

__all__ = ["Breaker", "BreakerState", "Verdict", "read_state"]

_VERSION: Final = 1
_MOST_BYTES: Final = 4096
_WHY_CHARS: Final = 500
_NS: Final = 1_000_000_000


class Verdict(Enum):
    """Whether an operation may be tried."""

    GO = "go"
    STOP = "stop"
    PROBE = "probe"  # nobody but one who holds `Breaker.probing`


@dataclass(frozen=True, slots=True)
class BreakerState:
    """What the file says.

    Attributes:
        is_open: nobody asks.
        until_ns: when the next probe may be, UTC epoch nanoseconds.
        faults: in a row, while closed.
        opens: in a row.
        why: the last fault in words.
    """

    is_open: bool = False
    until_ns: int = 0
    faults: int = 0
    opens: int = 0
    why: str = ""


_CLOSED: Final = BreakerState()


class Breaker:
    """The state of one remote, as all processes see it.

    Args:
        directory: where the files `breaker` and `probe` are; None keeps the state in memory. It
            is made when there is something to write.
        faults: how many in a row open it.
        base_s: for how long it opens first; doubled at each opening in a row.
        most_s: the longest.
        clock: what `until_ns` is measured with. A jump costs at most `most_s`: a time further
            ahead than that is not believed.

    Threads: all operations.
    """

    __slots__ = (
        "_base_s",
        "_clock",
        "_directory",
        "_limit",
        "_lock",
        "_most_s",
        "_path",
        "_probe",
        "_seen",
        "_state",
    )

    def __init__(
        self,
        directory: str | os.PathLike[str] | None,
        *,
        faults: int = 3,
        base_s: float = 15.0,
        most_s: float = 300.0,
        clock: Clock = system_clock,
    ) -> None:
        self._directory = None if directory is None else os.fspath(directory)
        self._path = None if self._directory is None else f"{self._directory}/breaker"
        self._limit = faults
        self._base_s = base_s
        self._most_s = most_s
        self._clock = clock
        self._lock = threading.Lock()  # guards the two below; the file is written outside of it
        self._state = _CLOSED
        self._seen: tuple[int, int, int] | None = None
        self._probe: LockFile | threading.Lock = threading.Lock()
        if self._directory is not None:
            self._probe = LockFile(f"{self._directory}/probe")

    @property
    def state(self) -> BreakerState:
        """What holds at this moment."""
        if self._path is not None:
            seen = _signature(self._path)
            if seen != self._seen:
                self._read(seen)
        return self._state

    def verdict(self) -> Verdict:
        """Whether an operation may be tried. Costs one `os.stat`."""
        state = self.state
        if not state.is_open:
            return Verdict.GO
        # One that opened just before a clock was set back is not believed for longer than any may be.
        left_ns = state.until_ns - self._clock()
        return Verdict.STOP if 0 < left_ns <= self._most_s * _NS else Verdict.PROBE

    def succeed(self) -> None:
        """An operation was answered as it should be."""
        if self._state is not _CLOSED:
            self._write(_CLOSED)

    def fail(self, why: str, *, is_slow: bool = False) -> bool:
        """An operation met a fault; whether that opened the breaker.

        Args:
            why: in words, for people.
            is_slow: it missed its deadline, which opens at once.
        """
        state = self.state
        if state.is_open:
            return False  # others of the same moment have said so
        faults = state.faults + 1
        if is_slow or faults >= self._limit:
            self._write(self._opened(state, faults, why))
            return True
        self._write(BreakerState(faults=faults, opens=state.opens, why=why[:_WHY_CHARS]))
        return False

    @contextlib.contextmanager
    def probing(self) -> Iterator[bool]:
        """Within, this thread alone may try one operation, if the value is True; then `succeed` closes.

        The breaker counts as opened anew from the start, so that a process that ends meanwhile, or
        an operation that fails, leaves it open for longer.
        """
        if not self._try_probe():
            yield False
            return
        try:
            if is_due := self.verdict() is Verdict.PROBE:
                state = self.state
                self._write(self._opened(state, state.faults, state.why))
            yield is_due
        finally:
            self._probe.release()
            if isinstance(self._probe, LockFile):
                self._probe.close()  # the next time is far off

    def after_fork_in_child(self) -> None:
        """In a forked child: forget locks that threads which are not there may have held."""
        self._lock = threading.Lock()
        if not isinstance(self._probe, LockFile):
            self._probe = threading.Lock()

    def _opened(self, state: BreakerState, faults: int, why: str) -> BreakerState:
        try:
            open_s = min(self._most_s, self._base_s * 2.0**state.opens)
        except OverflowError:
            open_s = self._most_s
        until_ns = self._clock() + int(open_s * _NS)
        return BreakerState(True, until_ns, faults, state.opens + 1, why[:_WHY_CHARS])

    def _try_probe(self) -> bool:
        probe = self._probe
        if not isinstance(probe, LockFile):
            return probe.acquire(blocking=False)
        try:
            return probe.try_acquire()
        except (StoreError, OSError):
            # No lock file can be had: the state lives in memory, and so does whose turn it is.
            self._probe = threading.Lock()
            return self._probe.acquire(blocking=False)

    def _read(self, seen: tuple[int, int, int] | None) -> None:
        assert self._path is not None
        state = _CLOSED if seen is None else read_state(self._path)
        with self._lock:
            self._seen = seen
            if state is not None:
                self._state = state

    def _write(self, state: BreakerState) -> None:
        seen = None
        if self._path is not None and self._directory is not None:
            with contextlib.suppress(OSError):
                os.makedirs(self._directory, mode=0o700, exist_ok=True)
                write_atomic(self._path, _encoded(state))
            seen = _signature(self._path)
        with self._lock:
            self._seen = seen
            self._state = state


def read_state(path: str) -> BreakerState | None:
    """What a file says; None where it is not what a breaker writes."""
    import json  # 2 ms, for who has a remote in trouble

    try:
        # A pipe or a device under that name must not hold anybody up.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        text = os.read(fd, _MOST_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return None
    finally:
        os.close(fd)
    try:
        row = json.loads(text)
        if row["version"] != _VERSION or row["state"] not in ("open", "closed"):
            return None
        numbers = {name: row[name] for name in ("until_ns", "faults", "opens")}
        if not all(type(number) is int and number >= 0 for number in numbers.values()):
            return None
        state = BreakerState(is_open=row["state"] == "open", why=str(row["why"])[:_WHY_CHARS], **numbers)
        return _CLOSED if state == _CLOSED else state
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _encoded(state: BreakerState) -> bytes:
    import json  # see above

    row = {
        "version": _VERSION,
        "state": "open" if state.is_open else "closed",
        "until_ns": state.until_ns,
        "faults": state.faults,
        "opens": state.opens,
        "why": state.why,
    }
    return json.dumps(row).encode() + b"\n"


def _signature(path: str) -> tuple[int, int, int] | None:
    """What differs whenever the file was replaced; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
