"""All jobs of the memory queue, and what happens to them. One thread at a time: the queue has the lock.

It must not know cells, nor who waits.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from vcache.jobs.base import KILLS, TURNS, Claimed, Finished
from vcache.jobs.memory.rows import NS, KindRows, Row, Timers
from vcache.jobs.memory.sessions import SessionRow
from vcache.jobs.models import MOST_FAILURES, Failure, Priority, Spec
from vcache.jobs.packing import unpack_spec
from vcache.jobs.states import ENDED, Event, State, after

__all__ = ["Board"]

_CLAIMED: Final = after(State.QUEUED, Event.CLAIM)
_PLAIN: Final = Spec("", "")[5:]
_PRIORITIES: Final = range(len(Priority))
_WAITING: Final = (State.BLOCKED, State.QUEUED, State.RETRY)


def _expires(row: Row, at_ns: int) -> bool:
    return row.deadline_ns == at_ns and row.state in _WAITING


class Board:
    """See the module.

    Attributes:
        rows: by id, in the order in which they were asked for.
        few: those of the states in which there are few, by id, in the order in which they came there.
    """

    def __init__(self, keep_ended: int) -> None:
        self.rows: dict[str, Row] = {}
        self.kinds: dict[str, KindRows] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.few: dict[State, dict[str, Row]] = {
            state: {} for state in (State.BLOCKED, State.RETRY, State.DEAD, State.CANCELLED)
        }
        self.completed: deque[Row] = deque()
        self.n_completed = 0
        self._keep_ended = keep_ended
        self._deadlines = Timers(_expires)
        self._keys: dict[str, tuple[str, int]] = {}  # unique key: the job's id, until when (0: its end)
        self._windows: list[tuple[int, str]] = []
        self._dependents: dict[str, list[Row]] = {}
        self._numbers = self._order = self._turn = self._token = 0

    # --- who asks ---------------------------------------------------------------------------

    def add(self, spec: Spec, packed: bytes, now_ns: int) -> str:
        """Keep a job; the id of the one that is."""
        job_id = spec.id
        if job_id in self.rows:
            return job_id
        if spec.unique:
            taken = self._holder(spec.unique, now_ns)
            if taken:
                return taken
        kind = self.kind(spec.kind)
        kind.submitted[spec.priority] += 1
        self._numbers += 1
        row = Row(job_id, kind, spec.priority, packed, self._numbers)
        self.rows[job_id] = row
        if spec[5:] == _PLAIN:
            self._order += 1
            kind.put(row, self._order)
        else:
            self._add_special(row, spec, now_ns)
        return job_id

    def _add_special(self, row: Row, spec: Spec, now_ns: int) -> None:
        row.not_before_ns, row.deadline_ns = spec.not_before_ns, spec.deadline_ns
        if spec.unique and spec.unique_s:
            until_ns = now_ns + round(spec.unique_s * NS)
            self._keys[spec.unique] = (spec.id, until_ns)
            heapq.heappush(self._windows, (until_ns, spec.unique))
        elif spec.unique:
            row.unique = spec.unique
            self._keys[spec.unique] = (spec.id, 0)
        if spec.deadline_ns:
            self._deadlines.add(spec.deadline_ns, row)
        blockers = [each for each in map(self.rows.get, spec.after) if each and each is not row]
        row.blockers = frozenset(each.id for each in blockers if each.state is not State.COMPLETED)
        if not row.blockers:
            self._let_wait(row, now_ns)
            return
        row.state = State.BLOCKED
        self.few[State.BLOCKED][row.id] = row
        lost = next((each for each in blockers if each.state in (State.DEAD, State.CANCELLED)), None)
        if lost is not None:
            self._end(row, Event.CANCEL, now_ns, why=_because(lost))
            return
        for blocker in row.blockers:
            self._dependents.setdefault(blocker, []).append(row)

    def cancel(self, ids: Iterable[str], why: str, now_ns: int) -> list[str]:
        """Cancel jobs and what waits for them."""
        done: list[str] = []
        for job_id in ids:
            row = self.rows.get(job_id)
            if row is not None and row.state not in ENDED:
                done += self._end(row, Event.CANCEL, now_ns, why=why)
        return done

    def requeue(self, ids: Iterable[str], keep_attempts: bool) -> list[str]:
        """Let jobs run in spite of all."""
        done = []
        for job_id in ids:
            row = self.rows.get(job_id)
            if row is None or row.state not in (State.RETRY, State.DEAD, State.CANCELLED):
                continue
            if row.state is not State.RETRY and row.unique:
                if row.unique in self._keys:
                    continue  # another one took its place
                self._keys[row.unique] = (row.id, 0)
            del self.few[row.state][job_id]
            row.state = after(row.state, Event.REQUEUE)
            row.due_ns = row.deadline_ns = row.ended_ns = 0
            row.why = ""
            if not keep_attempts:
                row.attempts = row.kills = 0
            self._order += 1
            row.kind.put(row, self._order)
            done.append(job_id)
        return done

    def purge(self, state: State, kind: str, before_ns: int | None) -> int:
        """Forget ended jobs."""
        found = [
            row for row in self.in_state(state)
            if (not kind or row.kind.name == kind) and (before_ns is None or row.ended_ns < before_ns)
        ]  # fmt: skip
        for row in found:
            del self.rows[row.id]
            if state is State.COMPLETED:
                self.n_completed -= 1
            else:
                del self.few[state][row.id]
        if state is State.COMPLETED and found:
            self.completed = deque(row for row in self.completed if row.id in self.rows)
        return len(found)

    def in_state(self, state: State) -> Iterable[Row]:
        """The jobs of a state."""
        if (few := self.few.get(state)) is not None:
            return few.values()
        if state is State.RUNNING:
            return [row for session in self.sessions.values() for row in session.held.values()]
        if state is State.COMPLETED:
            return self.completed
        return (row for row in self.rows.values() if row.state is state)

    def kind(self, name: str) -> KindRows:
        """All of a kind."""
        found = self.kinds.get(name)
        if found is None:
            found = self.kinds[name] = KindRows(name)
        return found

    # --- who works --------------------------------------------------------------------------

    def claim(self, session: SessionRow, kinds: Sequence[str], want: int, now_ns: int) -> list[Claimed]:
        """Give a session what may run."""
        asked = [
            kind for name in dict.fromkeys(kinds)
            if (kind := self.kinds.get(name)) is not None and kind.n_waiting and kind.lacking_s(now_ns) == 0
        ]  # fmt: skip
        claimed: list[Claimed] = []
        while asked and len(claimed) < want:
            row = self._next(session, asked)
            if row is None:
                break
            kind = row.kind
            kind.take(row)
            claimed.append(self._start(row, session, now_ns))
            if not kind.n_waiting or kind.lacking_s(now_ns) != 0:
                asked.remove(kind)
        return claimed

    def _next(self, session: SessionRow, asked: list[KindRows]) -> Row | None:
        if not session.suspect:
            suspects = [found for kind in asked if kind.n_suspects and (found := kind.suspect())]
            if suspects:
                return min(suspects)[2]
        self._turn += 1
        is_turn = self._turn % TURNS == 0
        best: Row | None = None
        for priority in _PRIORITIES:
            for kind in asked:
                row = kind.head(priority) if kind.n_ready[priority] else None
                if row is not None and (best is None or row.order < best.order):
                    best = row
            if best is not None and not is_turn:
                break
        return best

    def _start(self, row: Row, session: SessionRow, now_ns: int) -> Claimed:
        self._token += 1
        row.state = _CLAIMED
        row.token = self._token
        row.attempts += 1
        row.started_ns, row.finished_ns, row.progress = now_ns, 0, None
        row.session, row.worker = session.id, session.worker
        session.held[row.id] = row
        if row.kills:
            session.suspect = row.id
        row.kind.n_running += 1
        row.kind.spend()
        return Claimed(unpack_spec(row.packed), row.token, row.attempts, row.kills)

    def finish(self, session: SessionRow, finished: Finished, packed: bytes, now_ns: int) -> bool:
        """Record how an attempt ended; whether its token counts."""
        row = session.held.get(finished.claimed.spec.id)
        if row is None or row.token != finished.claimed.token:
            return False
        event = finished.event
        if event is Event.COMPLETE:
            row.result = packed
            row.kind.completed += 1
            if row.id in self._dependents:
                self._end(row, event, now_ns)
            else:
                self._leave(row, event, now_ns)
        elif event is Event.RELEASE:
            self._let_go(row)
            row.state = after(row.state, event)
            row.attempts -= 1
            row.kind.put(row, row.order, first=True)
            if row.deadline_ns:
                self._deadlines.add(row.deadline_ns, row)
        elif event is Event.LOSE:
            self.lose(row, finished.failure, now_ns)
        else:
            self._fail(row, finished, now_ns)
        return True

    def _fail(self, row: Row, finished: Finished, now_ns: int) -> None:
        _evidence(row, finished.failure)
        row.kind.failed += 1
        if finished.event is Event.GIVE_UP:
            why = finished.failure.message if finished.failure else ""
            self._end(row, finished.event, now_ns, why=why)
            return
        row.state = after(row.state, Event.FAIL)
        row.state = after(row.state, finished.event)
        self._let_go(row)
        row.kind.retried += 1
        row.finished_ns = now_ns
        row.due_ns = now_ns + round(finished.delay_s * NS)
        self.few[State.RETRY][row.id] = row
        row.kind.due.add(row.due_ns, row)
        if row.deadline_ns:
            self._deadlines.add(row.deadline_ns, row)

    def lose(self, row: Row, failure: Failure | None, now_ns: int) -> None:
        """Take a job from a worker that was lost."""
        row.kills += 1
        message = f"its worker {row.worker} was lost"
        _evidence(row, failure or Failure(now_ns, row.attempts, "killed", message, worker=row.worker))
        if row.kills >= KILLS:
            self._end(row, Event.QUARANTINE, now_ns, why=f"{message}, for the {row.kills}. time")
            return
        self._let_go(row)
        row.state = after(row.state, Event.LOSE)
        row.finished_ns = now_ns
        self._order += 1
        row.kind.put(row, self._order)
        if row.deadline_ns:
            self._deadlines.add(row.deadline_ns, row)

    def _let_go(self, row: Row) -> None:
        session = self.sessions[row.session]
        del session.held[row.id]
        if session.suspect == row.id:
            session.suspect = ""
            for kind in self.kinds.values():
                kind.bells += bool(kind.suspects)
        row.session, row.token = "", 0
        row.kind.n_running -= 1

    # --- ends -------------------------------------------------------------------------------

    def _end(self, row: Row, event: Event, now_ns: int, *, why: str = "") -> list[str]:
        """Let a job end, and what waits for it run or be cancelled; the ids of those that did not complete."""
        ended: list[str] = []
        pending = [(row, event, why)]
        while pending:  # a loop: chains may be longer than the stack
            each, how, reason = pending.pop()
            if how is Event.CANCEL and each.state in ENDED:
                continue
            self._leave(each, how, now_ns)
            each.why = reason
            dependents = [one for one in self._dependents.pop(each.id, ()) if one.state is State.BLOCKED]
            if each.state is State.COMPLETED:
                for one in dependents:
                    self._unblock(one, each.id, now_ns)
            else:
                ended.append(each.id)
                pending += [(one, Event.CANCEL, _because(each)) for one in reversed(dependents)]
        return ended

    def _leave(self, row: Row, event: Event, now_ns: int) -> None:
        """Take a job out of the state where it is, into the one where it ends."""
        if row.state is State.RUNNING:
            if event is Event.CANCEL:
                self.sessions[row.session].revoked.append(row.id)
            self._let_go(row)
            row.finished_ns = now_ns
        elif row.state is not State.QUEUED:
            del self.few[row.state][row.id]
        elif row.is_ready:
            row.kind.leave(row)
        else:
            row.kind.n_delayed -= 1
        row.due_ns, row.ended_ns = 0, now_ns
        if event is Event.GIVE_UP:
            row.state = after(row.state, Event.FAIL)
        row.state = after(row.state, event)
        if row.unique:
            del self._keys[row.unique]
        if row.state is State.COMPLETED:
            self.completed.append(row)
            self.n_completed += 1
            self._forget()
            return
        self.few[row.state][row.id] = row
        if row.state is State.DEAD:
            row.kind.dead += 1
        else:
            row.kind.cancelled += 1

    def _forget(self) -> None:
        while self.n_completed > self._keep_ended:
            del self.rows[self.completed.popleft().id]
            self.n_completed -= 1

    def _unblock(self, row: Row, blocker: str, now_ns: int) -> None:
        row.blockers -= {blocker}
        if not row.blockers:
            del self.few[State.BLOCKED][row.id]
            row.state = after(row.state, Event.UNBLOCK)
            self._let_wait(row, now_ns)

    def _let_wait(self, row: Row, now_ns: int) -> None:
        if row.not_before_ns > now_ns:
            row.due_ns = row.not_before_ns
            row.kind.n_delayed += 1
            row.kind.due.add(row.due_ns, row)
        else:
            self._order += 1
            row.kind.put(row, self._order)

    # --- time -------------------------------------------------------------------------------

    def pass_time(self, kinds: Iterable[KindRows], now_ns: int) -> int:
        """Let what is due wait in its line, and what is late die; how many."""
        n_done = 0
        while self._deadlines and (row := self._deadlines.take(now_ns)):
            message = "it was not started before its deadline"
            _evidence(row, Failure(now_ns, row.attempts, "expired", message))
            self._end(row, Event.EXPIRE, now_ns, why=message)
            n_done += 1
        for kind in kinds:
            while kind.due and (row := kind.due.take(now_ns)):
                if row.state is State.RETRY:
                    del self.few[State.RETRY][row.id]
                    row.state = after(row.state, Event.DUE)
                else:
                    kind.n_delayed -= 1
                row.due_ns = 0
                self._order += 1
                kind.put(row, self._order)
                n_done += 1
        while self._windows and self._windows[0][0] <= now_ns:
            until_ns, key = heapq.heappop(self._windows)
            if self._keys.get(key, ("", 0))[1] == until_ns:
                del self._keys[key]
        return n_done

    def _holder(self, key: str, now_ns: int) -> str:
        job_id, until_ns = self._keys.get(key, ("", 0))
        return "" if until_ns and until_ns <= now_ns else job_id


def _because(row: Row) -> str:
    return f"it comes after job {row.id}, which is {row.state}"


def _evidence(row: Row, failure: Failure | None) -> None:
    if failure is not None:
        row.failures = (*row.failures, failure)[-MOST_FAILURES:]
