"""A job as the memory queue has it, and those of one kind that wait. Must not know sessions and locks."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Final

from vcache.jobs.base import KindTotals
from vcache.jobs.models import Failure, Job, Limits, Priority, Progress
from vcache.jobs.packing import unpack_result, unpack_spec
from vcache.jobs.states import State
from vcache.kit.ratelimit import TokenBucket

__all__ = ["NS", "KindRows", "Row", "Timers"]

NS: Final = 1_000_000_000
_SPARE: Final = 1024  # stale entries that are not worth a sweep


class Row:
    """A job and where it stands. What a class says here is not kept in each of a million."""

    attempts = 0
    kills = 0
    due_ns = 0
    started_ns = 0
    finished_ns = 0
    ended_ns = 0
    worker = ""
    session = ""
    token = 0
    progress: Progress | None = None
    result = b""
    failures: tuple[Failure, ...] = ()
    why = ""
    deadline_ns = 0
    not_before_ns = 0
    unique = ""  # the key that it holds until its end
    blockers: frozenset[str] = frozenset()
    is_ready = False
    order = 0
    ghosts = 0  # places in a line that it has left, and that nobody has cleared yet

    def __init__(self, job_id: str, kind: KindRows, priority: int, packed: bytes, number: int) -> None:
        self.id = job_id
        self.kind = kind
        self.priority = priority
        self.packed = packed
        self.number = number
        self.state = State.QUEUED

    def job(self) -> Job:
        """What others see of it."""
        return Job(
            unpack_spec(self.packed), self.state, self.attempts, self.kills, self.due_ns, self.started_ns,
            self.ended_ns or self.finished_ns, self.worker, self.token, self.progress,
            unpack_result(self.result) if self.result else None, self.failures, self.why,
        )  # fmt: skip


class Timers:
    """Rows by a time, the earliest first. Entries that mean nothing any more are skipped."""

    __slots__ = ("_bound", "_heap", "_is_meant")

    def __init__(self, is_meant: Callable[[Row, int], bool]) -> None:
        self._heap: list[tuple[int, int, Row]] = []
        self._is_meant = is_meant
        self._bound = _SPARE

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, at_ns: int, row: Row) -> None:
        """Let a row be taken when that time has come."""
        if len(self._heap) >= self._bound:
            self._heap = [each for each in self._heap if self._is_meant(each[2], each[0])]
            heapq.heapify(self._heap)
            self._bound = 2 * len(self._heap) + _SPARE
        heapq.heappush(self._heap, (at_ns, row.number, row))

    def first_ns(self) -> int | None:
        """The earliest time; None where there is none."""
        heap = self._heap
        while heap:
            at_ns, _, row = heap[0]
            if self._is_meant(row, at_ns):
                return at_ns
            heapq.heappop(heap)
        return None

    def take(self, now_ns: int) -> Row | None:
        """The first row whose time has come, which the caller changes so that its entry means nothing."""
        at_ns = self.first_ns()
        return heapq.heappop(self._heap)[2] if at_ns is not None and at_ns <= now_ns else None


def _is_due(row: Row, at_ns: int) -> bool:
    return row.due_ns == at_ns and (
        row.state is State.RETRY or (row.state is State.QUEUED and not row.is_ready)
    )


class KindRows:
    """What waits of one kind, in lines by priority, and what bounds its starts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: tuple[deque[Row], ...] = tuple(deque() for _ in Priority)
        self.suspects: list[tuple[int, int, Row]] = []
        self.n_ready = [0] * len(Priority)  # by priority, suspects too
        self.n_waiting = self.n_suspects = 0  # of them
        self.due = Timers(_is_due)
        self.n_delayed = 0
        self.n_running = 0
        self.n_ghosts = 0
        self.bells = 0
        self.limits = Limits()
        self._bucket: TokenBucket | None = None
        self._now_ns = self._start_ns = 0
        self.submitted = [0] * len(Priority)
        self.completed = self.failed = self.retried = self.dead = self.cancelled = 0

    def totals(self) -> KindTotals:
        """How many there were."""
        return KindTotals(
            sum(self.submitted), self.completed, self.failed, self.retried, self.dead, self.cancelled
        )

    # --- lines ------------------------------------------------------------------------------

    def put(self, row: Row, order: int, *, first: bool = False) -> None:
        """Let a row wait in its line: at its end, or where it stood when it was taken out."""
        row.order = order
        row.is_ready = True
        self.n_ready[row.priority] += 1
        self.n_waiting += 1
        if row.kills:
            heapq.heappush(self.suspects, (row.priority, order, row))
            self.n_suspects += 1
            self.bells += 1
        elif first:
            self.lines[row.priority].appendleft(row)
        else:
            self.lines[row.priority].append(row)

    def leave(self, row: Row) -> None:
        """Take a row out from wherever it stands in its line."""
        self._out(row)
        if not row.kills:
            row.ghosts += 1
            self.n_ghosts += 1
            if self.n_ghosts > _SPARE + self.n_waiting:
                self._sweep()

    def head(self, priority: int) -> Row | None:
        """The longest waiting of a priority that is no suspect."""
        line = self.lines[priority]
        while line:
            row = line[0]
            if not row.ghosts:
                return row
            row.ghosts -= 1
            self.n_ghosts -= 1
            line.popleft()
        return None

    def suspect(self) -> tuple[int, int, Row] | None:
        """The foremost suspect, as it may be compared with those of other kinds."""
        while self.suspects:
            _, order, row = self.suspects[0]
            if row.is_ready and row.order == order:
                return self.suspects[0]
            heapq.heappop(self.suspects)
        return None

    def take(self, row: Row) -> None:
        """Take out a row that `head` or `suspect` gave."""
        self._out(row)
        if row.kills:
            heapq.heappop(self.suspects)
            self.bells = min(self.bells, self.n_suspects)
        else:
            self.lines[row.priority].popleft()

    def _out(self, row: Row) -> None:
        row.is_ready = False
        self.n_ready[row.priority] -= 1
        self.n_waiting -= 1
        self.n_suspects -= bool(row.kills)

    def _sweep(self) -> None:
        for line in self.lines:
            kept = []
            for row in line:
                if row.ghosts:
                    row.ghosts -= 1
                else:
                    kept.append(row)
            line.clear()
            line.extend(kept)
        self.n_ghosts = 0

    # --- limits -----------------------------------------------------------------------------

    def limit(self, limits: Limits, now_ns: int) -> None:
        """Bound starts; what was spent of an equal rate stays spent."""
        if limits[:2] != self.limits[:2]:
            self._start_ns = self._now_ns = now_ns
            burst = limits.burst or max(1.0, limits.rate)
            self._bucket = TokenBucket(limits.rate, burst, monotonic=self._passed_s) if limits.rate else None
        self.limits = limits

    def lacking_s(self, now_ns: int) -> float | None:
        """How long the next start has to wait: 0 for not at all, None for until another one has ended."""
        if self.limits.running and self.n_running >= self.limits.running:
            return None
        if self._bucket is None:
            return 0.0
        self._now_ns = now_ns
        wait_s = self._bucket.wait_s(1)
        return wait_s if wait_s > 1e-6 else 0.0  # less is rounding

    def spend(self) -> None:
        """Count a start."""
        if self._bucket is not None:
            self._bucket.spend(1)

    def _passed_s(self) -> float:
        return (self._now_ns - self._start_ns) / NS

    def soon_s(self, now_ns: int) -> float | None:
        """In how long time brings something that may start: 0 for at once, None for not foreseeable."""
        times = []
        if self.n_waiting > self.n_suspects and (lacking_s := self.lacking_s(now_ns)) is not None:
            times.append(lacking_s)
        if self.due and (due_ns := self.due.first_ns()) is not None:
            times.append(max(0, due_ns - now_ns) / NS)
        return min(times, default=None)
