"""The queue that needs no server: one SQLite file, durable at every acknowledgement, shared by processes.

docs/design/jobs-sqlite.md says what is in the file, and what holds when who writes it is killed.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.errors import SessionLost, StoreUnavailable, UsageError
from vcache.jobs.base import MOST_CLAIMED, Claimed, Exchanged, QueueInfo
from vcache.jobs.packing import unpack_spec
from vcache.jobs.sqlite import asking, exchanging
from vcache.jobs.sqlite.checkpoints import Checkpointer
from vcache.jobs.sqlite.clock import boot_name, offset_for, steady_ns
from vcache.jobs.sqlite.connecting import prepare
from vcache.jobs.sqlite.ends import ended
from vcache.jobs.sqlite.reading import Reader
from vcache.jobs.sqlite.schema import id_key, key_id
from vcache.jobs.sqlite.trouble import Trouble
from vcache.jobs.sqlite.turns import Turnstile
from vcache.jobs.sqlite.waking import Bells
from vcache.jobs.sqlite.writing import BUSY_S, Writer
from vcache.jobs.states import ENDED, State
from vcache.kit.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    from vcache.jobs.base import Cell, Finished, Page, QueueStats, Session
    from vcache.jobs.models import Job, Limits, Progress, Spec
    from vcache.jobs.sqlite.ledger import Ledger
    from vcache.kit.clock import Clock

__all__ = ["SqliteQueue"]

_PART: Final = 1_000  # jobs that are forgotten, or let run, in one transaction: others write in between
_FORK_S: Final = 10.0
_BAD: Final = frozenset("/\0")

T = TypeVar("T")


class SqliteQueue:
    """A queue in a directory of this machine.

    Args:
        directory: where it is; made when missing.
        namespace: whose jobs it holds: a file of its own.
        keep_ended: so many completed jobs are remembered. Dead and cancelled ones are until they are purged.
        clock: the queue's clock, which must be steady; by default the machine's own, which nobody can set.
        busy_s: how long a call waits for other processes' writes.

    Threads: every operation. A fork lets go of the file before, and both go on.

    Raises:
        ConfigError: apsw is missing, or its SQLite too old.
        FormatError: the file is something else's, or of a newer format.
        StoreError: it cannot be opened.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, namespace: str = "", keep_ended: int = 10_000,
        clock: Clock | None = None, busy_s: float = BUSY_S,
    ) -> None:  # fmt: skip
        where = os.path.abspath(os.fspath(directory))
        self._path = os.path.join(where, f"{file_name(namespace)}.db")
        self._trouble = Trouble(self._path)
        self._info = QueueInfo(f"sqlite:{where}", namespace, is_durable=True, is_shared=True)
        self._keep_ended = keep_ended
        self._bells = Bells(os.path.join(where, "wake"), namespace)
        self._reader = Reader(self._path, self._trouble)
        self._checkpointer = Checkpointer(self._path, self._trouble)
        self._is_broken = False
        self._offset_ns = 0
        self._clock = clock or self._steady
        self._writer = Writer(
            self._path, self._trouble, now_ns=self.now_ns, committed=self._committed, busy_s=busy_s
        )
        try:
            with self._trouble:
                self._open(busy_s)
            if clock is None:
                self._offset_ns = self._agree_on_time()
        except BaseException:
            self.close()
            raise
        _queues.add(self)

    def _open(self, busy_s: float) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        turnstile = Turnstile(self._path)
        try:
            prepare(self._path, lambda: turnstile.enter(busy_s), turnstile.leave)
        finally:
            turnstile.close()

    @property
    def info(self) -> QueueInfo:
        """See `Queue`."""
        return self._info

    # --- time -------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """See `Queue`."""
        return self._clock()

    def _steady(self) -> int:
        return steady_ns() + self._offset_ns

    def _agree_on_time(self) -> int:
        """The offset of this boot: the first one to open the queue says it."""
        boot = boot_name()
        found = self._reader.boot_offset(boot)
        if found is None:
            found = self._do(lambda ledger: exchanging.agree_on_offset(ledger, boot, offset_for))
        return found

    # --- who asks ---------------------------------------------------------------------------

    def submit(self, specs: Sequence[Spec]) -> Sequence[str]:
        """See `Queue`."""
        many = asking.asked(specs)
        return self._do(lambda ledger: asking.submit(ledger, many)) if many else []

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        """See `Queue`."""
        return self._read().get(ids)

    def list(self, state: State, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        """See `Queue`."""
        return self._read().page(state, kind, cursor, limit)

    def cancel(self, ids: Sequence[str], *, why: str = "") -> Sequence[str]:
        """See `Queue`."""
        keys = list(map(id_key, ids))
        return list(map(key_id, self._do(lambda ledger: asking.cancel(ledger, keys, why))))

    def requeue(self, ids: Sequence[str], *, keep_attempts: bool = False) -> Sequence[str]:
        """See `Queue`."""
        keys = list(map(id_key, ids))
        done = self._do(lambda ledger: asking.requeue(ledger, keys, keep_attempts=keep_attempts))
        return list(map(key_id, done))

    def purge(self, state: State, *, kind: str = "", before_ns: int | None = None) -> int:
        """See `Queue`."""
        if state not in ENDED:
            raise UsageError(f"jobs that are {state} cannot be purged: cancel them before")
        before = 1 << 62 if before_ns is None else before_ns
        return self._in_parts(lambda ledger: asking.forget_part(ledger, state, kind, before, _PART))

    def stats(self) -> QueueStats:
        """See `Queue`."""
        return self._read().stats(self.now_ns())

    def limit(self, kind: str, limits: Limits) -> None:
        """See `Queue`."""
        if not (limits.rate >= 0 and limits.burst >= 0 and limits.running >= 0):
            raise UsageError(f"limits of {kind!r}: {limits!r}: give numbers that are not negative")
        self._do(lambda ledger: exchanging.set_limits(ledger, kind, limits))

    def limits(self) -> Mapping[str, Limits]:
        """See `Queue`."""
        return self._read().limits()

    # --- who works --------------------------------------------------------------------------

    def open_session(self, worker: str, *, kinds: Sequence[str], lease_s: float) -> str:
        """See `Queue`."""
        if not lease_s > 0:
            raise UsageError(f"a lease of {lease_s!r} s: give more than 0")
        session_id, asked = uuid7.text(), tuple(kinds)
        self._do(lambda ledger: exchanging.open_session(ledger, session_id, worker, asked, lease_s))
        return session_id

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        """See `Queue`."""
        told, most = ended(finished), min(want, MOST_CLAIMED)
        if most > 0:
            self._bells.listen(kinds)  # before the look: what comes after it rings
        brought = self._do(
            lambda ledger: exchanging.exchange(
                ledger, session, told, kinds, most, keep_ended=self._keep_ended
            )
        )
        claimed = [
            Claimed(unpack_spec(data), token, attempt, kills) for data, token, attempt, kills in brought[0]
        ]
        return Exchanged(claimed, *brought[1:])

    def held(self, session: str) -> Sequence[Claimed]:
        """See `Queue`."""
        found = self._read().held(session)
        if found is None:
            raise SessionLost(
                f"session {session} was ended: what it held is given to others; open another one"
            )
        return found

    def report(self, session: str, job_id: str, token: int, progress: Progress) -> bool:
        """See `Queue`."""
        key = id_key(job_id)
        return self._do(lambda ledger: exchanging.report(ledger, session, key, token, progress))

    def sessions(self) -> Sequence[Session]:
        """See `Queue`."""
        return self._read().sessions()

    def end_session(self, session: str, *, beats: int | None = None) -> Sequence[str]:
        """See `Queue`."""
        return list(map(key_id, self._do(lambda ledger: exchanging.end_session(ledger, session, beats))))

    def wait(self, kinds: Sequence[str], timeout_s: float) -> None:
        """See `Queue`."""
        if not self._bells.listen(kinds) and self._read().has_ready(kinds):
            return
        self._bells.wait(kinds, timeout_s, version=self._reader.version)

    def upkeep(self) -> int:
        """See `Queue`."""
        return self._in_parts(lambda ledger: exchanging.keep_up(ledger, _PART))

    # --- cells ------------------------------------------------------------------------------

    def cells(self, prefix: str) -> Mapping[str, Cell]:
        """See `Queue`."""
        return self._read().cells(prefix)

    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        """See `Queue`."""
        many = asking.asked(specs)
        return self._do(lambda ledger: asking.swap(ledger, name, version, value, many))

    # --- the file ---------------------------------------------------------------------------

    def close(self) -> None:
        """See `Queue`."""
        _queues.discard(self)
        self._bells.close()
        self._checkpointer.close()
        self._writer.close()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _do(self, work: Callable[[Ledger], T]) -> T:
        self._refuse_broken()
        return self._writer.do(work)

    def _read(self) -> Reader:
        self._refuse_broken()
        return self._reader

    def _in_parts(self, part: Callable[[Ledger], int]) -> int:
        count = 0
        while True:
            done = self._do(part)
            count += done
            if done < _PART:
                return count

    def _committed(self, kinds: Iterable[str], pages: int) -> None:
        self._bells.ring(kinds)
        self._checkpointer.grown(pages)

    def _refuse_broken(self) -> None:
        if self._is_broken:
            raise StoreUnavailable(
                f"{self._path}: this process was forked while its parent was writing for {_FORK_S:g} s and more: start "
                "it by exec, or fork earlier"
            )

    # --- forks: what SQLite has open must not be carried into a child -----------------------------

    def _parts(self) -> tuple[Checkpointer, Writer, Reader]:
        return self._checkpointer, self._writer, self._reader

    def _before_fork(self) -> None:
        self._paused = [part for part in self._parts() if part.pause(_FORK_S)]

    def _after_fork_in_parent(self) -> None:
        for part in self._paused:
            part.resume()

    def _after_fork_in_child(self) -> None:
        self._is_broken = len(self._paused) < len(self._parts())
        for part in self._parts():
            if part in self._paused:
                part.renew()
        self._bells.renew()


def file_name(namespace: str) -> str:
    """What the file of a namespace is called, less its ending.

    Raises:
        UsageError: no file can be called so.
    """
    if namespace == "default" or namespace.startswith((".", "%")) or _BAD.intersection(namespace):
        raise UsageError(
            f"namespace {namespace!r}: give one that could be a file's name, and is not 'default'"
        )
    return namespace or "default"


_queues: Final[weakref.WeakSet[SqliteQueue]] = weakref.WeakSet()
_forking: list[SqliteQueue] = []
_fork_lock = threading.Lock()  # guards `_forking`: threads may fork at once


def _before_fork() -> None:
    _fork_lock.acquire()
    _forking[:] = list(_queues)
    for queue in _forking:
        queue._before_fork()


def _after_fork_in_parent() -> None:
    for queue in _forking:
        queue._after_fork_in_parent()
    _forking.clear()
    _fork_lock.release()


def _after_fork_in_child() -> None:
    global _fork_lock
    _fork_lock = threading.Lock()
    for queue in _forking:
        queue._after_fork_in_child()
    _forking.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
