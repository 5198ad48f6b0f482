"""A queue against a small model of one: a hypothesis state machine for any queue.

Which of several jobs is claimed is the queue's business; the model says which may be, and how many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vcache.jobs.base import KILLS, Claimed, Finished, KindTotals, Queue
from vcache.jobs.models import Limits, Progress, Spec
from vcache.jobs.states import ENDED, Event, State, after
from vcache.kit.ids import uuid7

__all__ = ["queue_machine"]

# Times differ by at least half a minute, whatever is added up: the real time of a test does not matter.
_STEP_S = 130
_DELAY_S = 100
_KINDS = ("a", "b", "late")
_WAITING = (State.BLOCKED, State.QUEUED, State.RETRY)


@dataclass
class _Model:
    """A job as it should be."""

    spec: Spec
    state: State
    due_s: int = 0
    late_s: int = 0
    attempts: int = 0
    kills: int = 0
    blockers: set[str] = field(default_factory=set)
    holder: int = -1
    claimed: Claimed | None = None


@dataclass
class _Session:
    """A worker as it should be."""

    id: str
    is_lost: bool = False
    beats: int = 0
    revoked: set[str] = field(default_factory=set)


def queue_machine(
    build: Callable[[ExitStack], Callable[[], Queue]], advance: Callable[[Queue, float], None]
) -> type[RuleBasedStateMachine]:
    """A state machine that does to a queue and to a model the same, and compares.

    Args:
        build: gives what opens the queue, on one place that is empty at first; a queue whose `info` says
            that it is durable is closed and opened again. What is to be closed goes onto the stack.
        advance: moves the queue's clock by seconds.

    Returns:
        The class; its `TestCase` is what a test module exports.
    """

    class QueueMachine(_QueueMachine):
        def build(self) -> Callable[[], Queue]:
            return build(self.stack)

        def advance(self, seconds: float) -> None:
            advance(self.queue, seconds)

    return QueueMachine


class _QueueMachine(RuleBasedStateMachine):
    """The rules."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.open = self.build()
        self.queue = self.open()
        self.now_s = 0
        self.jobs: dict[str, _Model] = {}
        self.gone: set[str] = set()
        self.sessions: list[_Session] = []
        self.keys: dict[str, tuple[str, int]] = {}  # the holder, until when; 0 for its end
        self.limits: dict[str, int] = {}
        self.totals: dict[str, list[int]] = {}
        self.stale: list[Claimed] = []
        self.version = 0

    def build(self) -> Callable[[], Queue]:
        raise AssertionError("use queue_machine")

    def advance(self, seconds: float) -> None:
        raise AssertionError("use queue_machine")

    def teardown(self) -> None:
        self.stack.close()

    # --- who asks ----------------------------------------------------------------------------

    @rule(
        kind=st.sampled_from(_KINDS), priority=st.integers(0, 3), delays=st.integers(0, 3),
        unique=st.sampled_from(["", "", "u", "v"]), has_window=st.booleans(), blockers=st.data(),
    )  # fmt: skip
    def submit(
        self, kind: str, priority: int, delays: int, unique: str, has_window: bool, blockers: st.DataObject
    ) -> None:
        """Ask for a job; those of the kind "late" have a deadline."""
        known = [*self.jobs, "nobody"]
        waits_for = blockers.draw(st.lists(st.sampled_from(known), max_size=2))
        now_ns = self.queue.now_ns()
        spec = Spec(
            uuid7.text(), kind, {"n": len(self.jobs)}, priority, now_ns,
            now_ns + delays * _DELAY_S * 10**9 if delays else 0,
            now_ns + 2 * _DELAY_S * 10**9 if kind == "late" else 0,
            unique=unique, unique_s=_DELAY_S if unique and has_window else 0.0, after=tuple(waits_for),
        )  # fmt: skip
        taken, until_s = self.keys.get(unique, ("", 0))
        if taken and (not until_s or until_s > self.now_s):
            assert list(self.queue.submit([spec])) == [taken]
            return
        assert list(self.queue.submit([spec])) == [spec.id]
        self.total(kind, 0)
        job = self.jobs[spec.id] = _Model(spec, State.QUEUED)
        job.due_s = self.now_s + delays * _DELAY_S if delays else 0
        job.late_s = self.now_s + 2 * _DELAY_S if kind == "late" else 0
        if unique:
            self.keys[unique] = (spec.id, self.now_s + _DELAY_S if has_window else 0)
        found = {each: self.jobs[each].state for each in waits_for if each in self.jobs}
        job.blockers = {each for each, state in found.items() if state is not State.COMPLETED}
        if job.blockers:
            job.state = State.BLOCKED
        if {State.DEAD, State.CANCELLED} & set(found.values()):
            self.end(job, Event.CANCEL)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def submit_again(self, data: st.DataObject) -> None:
        """Nothing comes of it."""
        job = self.any_job(data)
        assert list(self.queue.submit([job.spec])) == [job.spec.id]

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel a job; it, and what waits for it, does not run."""
        job = self.any_job(data)
        expected = [] if job.state in ENDED else self.end(job, Event.CANCEL)
        assert sorted(self.queue.cancel([job.spec.id])) == sorted(expected)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), keep=st.booleans())
    def requeue(self, data: st.DataObject, keep: bool) -> None:
        """Let a job run after all. What becomes of its key is the queue's business."""
        job = self.any_job(data)
        is_possible = job.state in (State.RETRY, State.DEAD, State.CANCELLED)
        if is_possible and (job.spec.unique or job.spec.kind == "late"):
            return
        if job.state is State.RETRY and job.due_s <= self.now_s:
            return  # it may be queued already
        done = self.queue.requeue([job.spec.id], keep_attempts=keep)
        assert list(done) == [job.spec.id] * is_possible
        if is_possible:
            job.state = after(job.state, Event.REQUEUE)
            job.due_s = 0
            if not keep:
                job.attempts = job.kills = 0

    @rule(state=st.sampled_from(sorted(ENDED)))
    def purge(self, state: State) -> None:
        """Forget all that ended so."""
        ids = {each for each, job in self.jobs.items() if job.state is state}
        assert self.queue.purge(state) == len(ids)
        self.gone |= ids
        for each in ids:
            del self.jobs[each]

    # --- who works ---------------------------------------------------------------------------

    @precondition(lambda self: len(self.sessions) < 4)
    @rule()
    def open_session(self) -> None:
        """One worker more."""
        made = self.queue.open_session("worker", kinds=_KINDS, lease_s=10)
        self.sessions.append(_Session(made))

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), kinds=st.sets(st.sampled_from(_KINDS)), want=st.integers(0, 5))
    def claim(self, data: st.DataObject, kinds: set[str], want: int) -> None:
        """Claim jobs: only such as may run, and as many as there are."""
        number = data.draw(st.sampled_from(self.alive()))
        possible = self.possible_counts(number, kinds)
        for claimed in self.exchange(number, (), sorted(kinds), want):
            job = self.jobs[claimed.spec.id]
            assert claimed.spec.kind in kinds
            assert self.is_ready(job), job
            job.state = State.RUNNING
            job.attempts += 1
            assert (claimed.attempt, claimed.kills) == (job.attempts, job.kills)
            assert job.claimed is None or claimed.token > job.claimed.token
            job.holder, job.claimed, job.due_s = number, claimed, 0
        got = sum(1 for job in self.jobs.values() if job.holder == number and job.state is State.RUNNING)
        suspects = [job for job in self.held(number) if job.kills]
        assert len(suspects) <= 1
        assert got - self.n_before in {min(want, each) for each in possible}

    @precondition(lambda self: self.running())
    @rule(
        data=st.data(), delays=st.integers(0, 2),
        event=st.sampled_from([Event.COMPLETE, Event.TRY_AGAIN, Event.GIVE_UP, Event.RELEASE, Event.LOSE]),
    )  # fmt: skip
    def finish(self, data: st.DataObject, delays: int, event: Event) -> None:
        """End an attempt."""
        job = data.draw(st.sampled_from(self.running()))
        assert job.claimed is not None
        self.stale.append(job.claimed)
        self.exchange(job.holder, [Finished(job.claimed, event, delay_s=delays * _DELAY_S)], (), 0)
        if event is Event.TRY_AGAIN:
            self.total(job.spec.kind, 2)
            self.total(job.spec.kind, 3)
            job.state = after(after(job.state, Event.FAIL), event)
            job.due_s = self.now_s + delays * _DELAY_S
        elif event is Event.RELEASE:
            job.state = after(job.state, event)
            job.attempts -= 1
        elif event is Event.LOSE:
            self.lose(job)
        else:
            if event is Event.GIVE_UP:
                self.total(job.spec.kind, 2)
                job.state = after(job.state, Event.FAIL)
            self.end(job, event)
        self.expire()

    @precondition(lambda self: self.stale and self.alive())
    @rule(data=st.data(), event=st.sampled_from([Event.COMPLETE, Event.TRY_AGAIN, Event.LOSE]))
    def finish_late(self, data: st.DataObject, event: Event) -> None:
        """What ended before, or was lost or cancelled, is refused."""
        number = data.draw(st.sampled_from(self.alive()))
        claimed = data.draw(st.sampled_from(self.stale))
        self.exchange(number, [Finished(claimed, event)], (), 0, refused=[claimed.spec.id])
        assert not self.queue.report(self.sessions[number].id, claimed.spec.id, claimed.token, Progress(1))

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), ahead=st.integers(0, 1))
    def die(self, data: st.DataObject, ahead: int) -> None:
        """A session is ended, unless its beats went on."""
        number = data.draw(st.sampled_from(self.alive()))
        session = self.sessions[number]
        ended = self.queue.end_session(session.id, beats=session.beats + ahead)
        held = self.held(number)
        assert sorted(ended) == sorted(job.spec.id for job in held) * (1 - ahead)
        if ahead:
            return
        session.is_lost = True
        for job in held:
            assert job.claimed is not None
            self.stale.append(job.claimed)
            self.lose(job)
        self.expire()

    @rule(kind=st.sampled_from(_KINDS), most=st.integers(0, 2))
    def limit(self, kind: str, most: int) -> None:
        """Bound how many run at the same time."""
        self.queue.limit(kind, Limits(running=most))
        self.limits[kind] = most

    # --- the rest ----------------------------------------------------------------------------

    @rule(steps=st.integers(1, 2))
    def pass_time(self, steps: int) -> None:
        """Time passes, and brings what it does."""
        for _ in range(steps):
            self.advance(_STEP_S)
            self.now_s += _STEP_S
            self.expire()

    @rule(is_right=st.booleans())
    def swap(self, is_right: bool) -> None:
        """A cell goes from version to version."""
        spec = Spec(uuid7.text(), "b")
        asked = self.version if is_right else self.version + 1
        value = b"%d" % len(self.jobs)
        assert self.queue.swap("cell", asked, value, [spec]) == is_right
        if is_right:
            changed = self.queue.cells("cell")["cell"]
            assert changed.version > self.version
            assert changed.value == value
            self.version = changed.version
            self.total("b", 0)
            self.jobs[spec.id] = _Model(spec, State.QUEUED)

    @precondition(lambda self: self.queue.info.is_durable)
    @rule()
    def reopen(self) -> None:
        """All is as it was."""
        self.queue.close()
        self.queue = self.open()

    @invariant()
    def agrees(self) -> None:
        """Each job is where it should be, and is counted there."""
        found = dict(zip(self.jobs, self.queue.get(list(self.jobs)), strict=True))
        counts = dict.fromkeys(State, 0)
        for job_id, job in found.items():
            model = self.jobs[job_id]
            assert job is not None, model
            if job.state is not model.state:
                # Who is to bring what is due may not have come yet.
                assert (model.state, job.state) == (State.RETRY, State.QUEUED), (model, job)
                assert model.due_s <= self.now_s
                model.state = State.QUEUED
            assert (job.attempts, job.kills) == (model.attempts, model.kills), (model, job)
            counts[job.state] += 1
        assert self.queue.get(list(self.gone)) == [None] * len(self.gone)
        stats = self.queue.stats()
        n_due = stats.by_state[State.QUEUED] - counts[State.QUEUED]
        assert n_due == counts[State.RETRY] - stats.by_state[State.RETRY] >= 0
        assert {state: stats.by_state[state] for state in State if state not in (State.QUEUED, State.RETRY)} == {
            state: count for state, count in counts.items() if state not in (State.QUEUED, State.RETRY)
        }  # fmt: skip
        assert sum(stats.waiting.values()) == sum(map(self.is_ready, self.jobs.values()))
        for kind, totals in self.totals.items():
            assert stats.totals[kind] == KindTotals(*totals)
            mine = [n for (of, _), n in stats.submitted.items() if of == kind]
            assert sum(mine) == totals[0]
        lively = {self.sessions[number].id: self.sessions[number].beats for number in self.alive()}
        assert {each.id: each.beats for each in self.queue.sessions()} == lively
        for number in self.alive():
            held = {each.spec.id: each.token for each in self.queue.held(self.sessions[number].id)}
            assert held == {job.spec.id: job.claimed and job.claimed.token for job in self.held(number)}

    # --- the model ---------------------------------------------------------------------------

    def any_job(self, data: st.DataObject) -> _Model:
        return self.jobs[data.draw(st.sampled_from(list(self.jobs)))]

    def alive(self) -> list[int]:
        return [number for number, session in enumerate(self.sessions) if not session.is_lost]

    def running(self) -> list[_Model]:
        return [job for job in self.jobs.values() if job.state is State.RUNNING]

    def held(self, number: int) -> list[_Model]:
        return [job for job in self.running() if job.holder == number]

    def total(self, kind: str, column: int) -> None:
        self.totals.setdefault(kind, [0] * len(KindTotals._fields))[column] += 1

    def is_ready(self, job: _Model) -> bool:
        return job.state in (State.QUEUED, State.RETRY) and job.due_s <= self.now_s

    def possible_counts(self, number: int, kinds: set[str]) -> set[int]:
        """How many may be claimed: it depends on of which kind a suspect is."""
        self.n_before = len(self.held(number))
        ready = [job for job in self.jobs.values() if self.is_ready(job) and job.spec.kind in kinds]
        room = {}
        for kind in kinds:
            n_running = sum(1 for job in self.running() if job.spec.kind == kind)
            most = self.limits.get(kind, 0)
            room[kind] = max(0, most - n_running) if most else len(ready)
        free = not any(job.kills for job in self.held(number))
        suspects = {job.spec.kind for job in ready if job.kills and free and room[job.spec.kind]}
        normal = [job.spec.kind for job in ready if not job.kills]
        return {
            sum(min(room[kind], normal.count(kind) + (kind == suspect)) for kind in kinds)
            for suspect in suspects or {""}
        }

    def exchange(
        self, number: int, finished: Sequence[Finished], kinds: Sequence[str], want: int, *,
        refused: Sequence[str] = (),
    ) -> Sequence[Claimed]:  # fmt: skip
        session = self.sessions[number]
        got = self.queue.exchange(session.id, finished, kinds=kinds, want=want)
        session.beats += 1
        assert list(got.refused) == list(refused)
        assert set(got.revoked) - set(refused) == session.revoked - set(refused)
        session.revoked = set()
        return got.claimed

    def expire(self) -> None:
        """What waits and is late dies, whether or not it has started before."""
        self.queue.upkeep()
        for job in list(self.jobs.values()):
            if job.state in _WAITING and 0 < job.late_s <= self.now_s:
                self.end(job, Event.EXPIRE)

    def lose(self, job: _Model) -> None:
        job.kills += 1
        if job.kills >= KILLS:
            self.end(job, Event.QUARANTINE)
        else:
            job.state = after(job.state, Event.LOSE)

    def end(self, job: _Model, event: Event) -> list[str]:
        """A job ends, and what waits for it goes on; the ids of those that were cancelled."""
        if job.state is State.RUNNING and event is Event.CANCEL:
            assert job.claimed is not None
            self.sessions[job.holder].revoked.add(job.spec.id)
            self.stale.append(job.claimed)
        job.state = after(job.state, event)
        if self.keys.get(job.spec.unique) == (job.spec.id, 0):
            del self.keys[job.spec.unique]
        column = {State.COMPLETED: 1, State.DEAD: 4, State.CANCELLED: 5}[job.state]
        self.total(job.spec.kind, column)
        cancelled = [job.spec.id]
        for other in list(self.jobs.values()):
            if other.state is State.BLOCKED and job.spec.id in other.blockers:
                if job.state is not State.COMPLETED:
                    cancelled += self.end(other, Event.CANCEL)
                    continue
                other.blockers.discard(job.spec.id)
                if not other.blockers:
                    other.state = after(other.state, Event.UNBLOCK)
        return cancelled
