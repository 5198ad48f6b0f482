"""The queue whose jobs are in the memory of this process: the contract of `vcache.jobs.base` at its plainest."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final, Self

from vcache.errors import SessionLost, StoreClosed, UsageError
from vcache.jobs.base import (
    MOST_CLAIMED,
    Cell,
    Claimed,
    Exchanged,
    Finished,
    Page,
    QueueInfo,
    QueueStats,
    Session,
)
from vcache.jobs.memory.board import Board
from vcache.jobs.memory.sessions import SessionRow
from vcache.jobs.models import Job, Limits, Priority, Progress, Spec
from vcache.jobs.packing import pack_result, pack_spec, unpack_spec
from vcache.jobs.states import ENDED, Event, State
from vcache.kit.clock import Clock
from vcache.kit.ids import uuid7

__all__ = ["MemoryQueue", "steady_clock"]

_ENDS: Final = (Event.COMPLETE, Event.TRY_AGAIN, Event.GIVE_UP, Event.RELEASE, Event.LOSE)


def steady_clock() -> Clock:
    """A clock that starts as the wall clock does, and goes on steadily."""
    ahead_ns = time.time_ns() - time.monotonic_ns()
    return lambda: ahead_ns + time.monotonic_ns()


class MemoryQueue:
    """A queue for the threads of a process, which ends with it.

    Args:
        namespace: whose jobs it holds.
        clock: the queue's clock, which must be steady.
        keep_ended: so many completed jobs are remembered. Dead and cancelled ones are until they are purged.

    Threads: every operation.
    """

    def __init__(self, *, namespace: str = "", clock: Clock | None = None, keep_ended: int = 10_000) -> None:
        self._info = QueueInfo("mem:", namespace)
        self._clock = clock or steady_clock()
        self._board = Board(keep_ended)
        self._cells: dict[str, Cell] = {}
        self._last_version = 0  # of any cell
        self._is_closed = False
        self._n_waiting = 0
        # Guards all of the above; its bell rings when there may be more to claim.
        self._lock = threading.Condition(threading.Lock())

    @property
    def info(self) -> QueueInfo:
        """See `Queue`."""
        return self._info

    def now_ns(self) -> int:
        """See `Queue`."""
        return self._clock()

    # --- who asks ---------------------------------------------------------------------------

    def submit(self, specs: Sequence[Spec]) -> Sequence[str]:
        """See `Queue`."""
        packed = [_packed(spec) for spec in specs]
        with self._lock:
            return self._submit(specs, packed)

    def _submit(self, specs: Sequence[Spec], packed: Sequence[bytes]) -> list[str]:
        board, now_ns = self._opened(), self._clock()
        ids = [board.add(spec, data, now_ns) for spec, data in zip(specs, packed, strict=True)]
        self._ring()
        return ids

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        """See `Queue`."""
        with self._lock:
            rows = self._opened().rows
            return [row.job() if row else None for row in map(rows.get, ids)]

    def list(self, state: State, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        """See `Queue`."""
        if limit < 1:
            raise UsageError(f"a list of at most {limit!r} jobs: give 1 or more")
        if cursor and not cursor.isdecimal():
            raise UsageError(
                f"not a cursor of a list: {cursor!r:.80}; give what the page before had in `next`"
            )
        behind = int(cursor or 0)
        with self._lock:
            board = self._opened()
            found = (
                row
                for row in board.in_state(state)
                if row.number > behind and (not kind or row.kind.name == kind)
            )
            # Those that wait come in order: who looks at the first of a million does not count them all.
            rows = (
                list(islice(found, limit + 1))
                if state is State.QUEUED
                else heapq.nsmallest(limit + 1, found, key=attrgetter("number"))
            )
            page = [row.job() for row in rows[:limit]]
            return Page(page, str(rows[limit - 1].number) if len(rows) > limit else "")

    def cancel(self, ids: Sequence[str], *, why: str = "") -> Sequence[str]:
        """See `Queue`."""
        with self._lock:
            done = self._opened().cancel(ids, why, self._clock())
            self._ring()
            return done

    def requeue(self, ids: Sequence[str], *, keep_attempts: bool = False) -> Sequence[str]:
        """See `Queue`."""
        with self._lock:
            done = self._opened().requeue(ids, keep_attempts)
            self._ring()
            return done

    def purge(self, state: State, *, kind: str = "", before_ns: int | None = None) -> int:
        """See `Queue`."""
        if state not in ENDED:
            raise UsageError(f"jobs that are {state} cannot be purged: cancel them before")
        with self._lock:
            return self._opened().purge(state, kind, before_ns)

    def stats(self) -> QueueStats:
        """See `Queue`."""
        with self._lock:
            board = self._opened()
            kinds = board.kinds.values()
            board.pass_time(kinds, self._clock())
            by_state = {state: len(board.few.get(state, ())) for state in State}
            n_delayed = sum(kind.n_delayed for kind in kinds)
            by_state[State.QUEUED] = n_delayed + sum(kind.n_waiting for kind in kinds)
            by_state[State.RUNNING] = sum(kind.n_running for kind in kinds)
            by_state[State.COMPLETED] = board.n_completed
            waiting = _by_priority((kind.name, kind.n_ready) for kind in kinds)
            submitted = _by_priority((kind.name, kind.submitted) for kind in kinds)
            totals = {kind.name: kind.totals() for kind in kinds}
            return QueueStats(
                waiting, n_delayed, by_state, totals, self._oldest_ns(), self._sessions(), submitted
            )

    def _oldest_ns(self) -> int:
        heads = [
            row for kind in self._board.kinds.values()
            for row in (*map(kind.head, Priority), *(suspect[2] for suspect in kind.suspects if suspect[2].is_ready))
            if row is not None
        ]  # fmt: skip
        oldest = min(heads, key=lambda row: row.order, default=None)
        return unpack_spec(oldest.packed).created_ns if oldest else 0

    def limit(self, kind: str, limits: Limits) -> None:
        """See `Queue`."""
        if not (limits.rate >= 0 and limits.burst >= 0 and limits.running >= 0):
            raise UsageError(f"limits of {kind!r}: {limits!r}: give numbers that are not negative")
        with self._lock:
            self._opened().kind(kind).limit(limits, self._clock())
            self._ring()

    def limits(self) -> Mapping[str, Limits]:
        """See `Queue`."""
        with self._lock:
            kinds = self._opened().kinds.values()
            return {kind.name: kind.limits for kind in kinds if kind.limits != Limits()}

    # --- who works --------------------------------------------------------------------------

    def open_session(self, worker: str, *, kinds: Sequence[str], lease_s: float) -> str:
        """See `Queue`."""
        if not lease_s > 0:
            raise UsageError(f"a lease of {lease_s!r} s: give more than 0")
        session_id = uuid7.text()
        with self._lock:
            self._opened().sessions[session_id] = SessionRow(session_id, worker, kinds, lease_s)
        return session_id

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        """See `Queue`."""
        results = [_result(each) for each in finished]
        with self._lock:
            board, now_ns = self._opened(), self._clock()
            mine = self._session(session)
            mine.beats += 1
            refused = [
                each.claimed.spec.id
                for each, result in zip(finished, results, strict=True)
                if not board.finish(mine, each, result, now_ns)
            ]
            asked = [found for kind in kinds if (found := board.kinds.get(kind)) is not None]
            board.pass_time(asked, now_ns)
            claimed = board.claim(mine, kinds, min(want, MOST_CLAIMED), now_ns) if want > 0 else []
            soon = [at_s for kind in asked if (at_s := kind.soon_s(now_ns)) is not None]
            revoked, mine.revoked = mine.revoked, []
            if finished:
                self._ring()
        return Exchanged(claimed, refused, revoked, min(soon, default=None))

    def held(self, session: str) -> Sequence[Claimed]:
        """See `Queue`."""
        with self._lock:
            self._opened()
            rows = self._session(session).held.values()
            return [Claimed(unpack_spec(row.packed), row.token, row.attempts, row.kills) for row in rows]

    def report(self, session: str, job_id: str, token: int, progress: Progress) -> bool:
        """See `Queue`."""
        with self._lock:
            mine = self._opened().sessions.get(session)
            row = mine and mine.held.get(job_id)
            if not row or row.token != token:
                return False
            row.progress = progress
            return True

    def sessions(self) -> Sequence[Session]:
        """See `Queue`."""
        with self._lock:
            self._opened()
            return self._sessions()

    def end_session(self, session: str, *, beats: int | None = None) -> Sequence[str]:
        """See `Queue`."""
        with self._lock:
            board = self._opened()
            lost = board.sessions.get(session)
            if lost is None or (beats is not None and lost.beats != beats):
                return []
            now_ns = self._clock()
            held = list(lost.held.values())
            for row in held:
                board.lose(row, None, now_ns)
            del board.sessions[session]
            self._ring()
            return [row.id for row in held]

    def wait(self, kinds: Sequence[str], timeout_s: float) -> None:
        """See `Queue`."""
        end_s = time.monotonic() + timeout_s
        with self._lock:
            self._opened()
            while not self._is_closed:
                soon_s = self._soon_s(kinds)
                left_s = end_s - time.monotonic()
                if soon_s == 0 or left_s <= 0:
                    return
                self._n_waiting += 1
                try:
                    self._lock.wait(left_s if soon_s is None else min(left_s, soon_s))
                finally:
                    self._n_waiting -= 1

    def _soon_s(self, kinds: Sequence[str]) -> float | None:
        """When there may be something to claim: 0 for at once, None for not foreseeable."""
        now_ns = self._clock()
        times = []
        for kind in filter(None, map(self._board.kinds.get, kinds)):
            if kind.bells:
                # Suspects ring once: whoever holds one would come for the next in vain, again and again.
                kind.bells -= 1
                return 0
            if (soon_s := kind.soon_s(now_ns)) is not None:
                times.append(soon_s)
        return min(times, default=None)

    def upkeep(self) -> int:
        """See `Queue`."""
        with self._lock:
            board = self._opened()
            n_done = board.pass_time(board.kinds.values(), self._clock())
            self._ring()
            return n_done

    # --- cells ------------------------------------------------------------------------------

    def cells(self, prefix: str) -> Mapping[str, Cell]:
        """See `Queue`."""
        with self._lock:
            self._opened()
            return {name: cell for name, cell in self._cells.items() if name.startswith(prefix)}

    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        """See `Queue`."""
        packed = [_packed(spec) for spec in specs]
        with self._lock:
            self._opened()
            found = self._cells.get(name)
            if (found.version if found else 0) != version:
                return False
            if value is not None:
                self._last_version += 1
                self._cells[name] = Cell(self._last_version, bytes(value))
            elif found:
                del self._cells[name]
            self._submit(specs, packed)
            return True

    def close(self) -> None:
        """See `Queue`."""
        with self._lock:
            self._is_closed = True
            self._lock.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- with the lock held -----------------------------------------------------------------

    def _opened(self) -> Board:
        if self._is_closed:
            raise StoreClosed("the queue in memory was closed")
        return self._board

    def _session(self, session_id: str) -> SessionRow:
        found = self._board.sessions.get(session_id)
        if found is None:
            raise SessionLost(
                f"session {session_id} was ended: what it held is given to others; open another one"
            )
        return found

    def _sessions(self) -> Sequence[Session]:
        return [
            Session(each.id, each.worker, each.beats, each.lease_s, len(each.held), each.kinds)
            for each in self._board.sessions.values()
        ]

    def _ring(self) -> None:
        if self._n_waiting:
            self._lock.notify_all()


def _by_priority(counts: Iterable[tuple[str, Sequence[int]]]) -> dict[tuple[str, int], int]:
    return {
        (kind, priority): count
        for kind, by_priority in counts
        for priority, count in enumerate(by_priority)
        if count
    }


def _packed(spec: Spec) -> bytes:
    if spec.priority not in _PRIORITIES:
        raise UsageError(f"job {spec.kind!r}: priority={spec.priority!r}: give 0 (critical) to 3 (low)")
    if not (spec.id and spec.kind):
        raise UsageError(f"job {spec.kind!r} with the id {spec.id!r}: give both")
    return pack_spec(spec)


_PRIORITIES: Final = range(len(Priority))


def _result(finished: Finished) -> bytes:
    if finished.event not in _ENDS:
        raise UsageError(f"an attempt does not end with {finished.event}: give one of {', '.join(_ENDS)}")
    return b"" if finished.result is None else pack_result(finished.result)
