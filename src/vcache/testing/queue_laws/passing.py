"""Laws of time, limits, lists and cells."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from vcache.jobs.base import Finished, Queue
from vcache.jobs.models import Limits
from vcache.jobs.states import Event, State
from vcache.testing.queue_laws.hands import (
    Base,
    Hand,
    at_once,
    ended,
    job_of,
    made,
    said,
    spec,
    states_of,
)

__all__ = ["PassingLaws"]

_S = 10**9


class PassingLaws(Base):
    """See the module."""

    # --- time --------------------------------------------------------------------------------

    def test_the_clock_goes_on(self, queue: Queue) -> None:
        """It says about UTC, and moves as time does."""
        before_ns = queue.now_ns()
        self.advance(queue, 5)
        passed_ns = queue.now_ns() - before_ns
        assert 5 * _S - 10**6 <= passed_ns <= 5 * _S + self.patience_s * _S
        assert before_ns > 1_600_000_000 * _S

    def test_a_delayed_job_starts_in_its_time(self, queue: Queue) -> None:
        """Not before, and it is foreseeable."""
        hand = Hand(queue)
        assert hand.exchange(want=1).next_due_s is None
        due_ns = queue.now_ns() + 100 * _S
        (job_id,) = made(queue, not_before_ns=due_ns)
        job = job_of(queue, job_id)
        assert job.state is State.QUEUED
        assert abs(job.due_ns - due_ns) < 10**6
        stats = queue.stats()
        assert (stats.delayed, dict(stats.waiting), stats.by_state[State.QUEUED]) == (1, {}, 1)
        got = hand.exchange(want=1)
        assert got.claimed == []
        assert got.next_due_s is not None
        assert 100 - self.patience_s < got.next_due_s <= 100
        self.advance(queue, 101)
        assert hand.one().spec.id == job_id
        assert queue.stats().delayed == 0

    def test_the_past_is_at_once(self, queue: Queue) -> None:
        """A job that could have started already is like any other."""
        ids = [*made(queue, not_before_ns=1), *made(queue)]
        assert [each.spec.id for each in Hand(queue).take(5)] == ids

    def test_the_late_are_dead(self, queue: Queue) -> None:
        """What was not started before its deadline is not, wherever it waited; what it blocked is cancelled."""
        deadline_ns = queue.now_ns() + 100 * _S
        (running,) = made(queue, deadline_ns=deadline_ns)
        hand = Hand(queue)
        claimed = hand.one()
        waiting = [
            *made(queue, deadline_ns=deadline_ns), *made(queue, after=(running,), deadline_ns=deadline_ns),
            *made(queue, deadline_ns=deadline_ns, not_before_ns=deadline_ns + 100 * _S),
        ]  # fmt: skip
        (last,) = made(queue, after=waiting[:1])
        (patient,) = made(queue, priority=3, deadline_ns=deadline_ns + 100 * _S)
        self.advance(queue, 101)
        assert [each.spec.id for each in hand.take(5)] == [patient]
        queue.upkeep()
        assert states_of(queue, waiting) == [State.DEAD] * 3
        assert states_of(queue, [last]) == [State.CANCELLED]
        reasons = [each.reason for job_id in waiting for each in job_of(queue, job_id).failures]
        assert reasons == ["expired"] * 3
        assert hand.complete(claimed) == []
        assert queue.stats().totals["k"].dead == 3

    @pytest.mark.parametrize("event", [Event.TRY_AGAIN, Event.RELEASE, Event.LOSE])
    def test_a_deadline_counts_for_each_attempt(self, queue: Queue, event: Event) -> None:
        """What came back from a worker has the deadline that it had."""
        (job_id,) = made(queue, deadline_ns=queue.now_ns() + 100 * _S)
        hand = Hand(queue)
        hand.exchange(Finished(hand.one(), event, delay_s=200))
        self.advance(queue, 101)
        assert hand.take() == []
        queue.upkeep()
        assert states_of(queue, [job_id]) == [State.DEAD]
        self.advance(queue, 200)
        assert hand.take() == []

    def test_an_expired_job_may_be_requeued(self, queue: Queue) -> None:
        """Somebody wants it after all: its deadline does not count any more."""
        (job_id,) = made(queue, deadline_ns=queue.now_ns() + 10 * _S)
        self.advance(queue, 20)
        queue.upkeep()
        assert queue.requeue([job_id]) == [job_id]
        self.advance(queue, 20)
        queue.upkeep()
        assert Hand(queue).one().spec.id == job_id

    def test_what_may_start_is_not_waited_for(self, queue: Queue) -> None:
        """Waiting ends at once where there is something to claim, and in time where there is not."""
        queue.wait(["k"], 0.01)
        made(queue)
        queue.wait(["other", "k"], 1000)
        self.advance(queue, 1)
        queue.wait([], 0)

    @pytest.mark.parametrize("how", ["submit", "requeue", "unblock", "lose", "release"])
    def test_who_waits_is_woken(self, queue: Queue, how: str) -> None:
        """By whatever brings something to claim, long before its patience ends."""
        dead = ended(queue, Event.GIVE_UP)
        other = Hand(queue, "k", "first")
        claimed = None
        if how in ("lose", "release", "unblock"):
            (first,) = made(queue, kind="first")
            (claimed,) = other.take()
            if how == "unblock":
                made(queue, after=(first,))
        acts: dict[str, Callable[[], object]] = {
            "submit": lambda: made(queue),
            "requeue": lambda: queue.requeue([dead]),
            "unblock": lambda: claimed and other.complete(claimed),
            "lose": other.die,
            "release": lambda: claimed and other.release(claimed),
        }
        hand = Hand(queue, "k", "ends", "first")
        is_waiting = threading.Event()
        got: list[object] = []

        def work() -> None:
            while not got:
                is_waiting.set()
                queue.wait(hand.kinds, 4 * self.patience_s)
                got.extend(hand.take())

        def act() -> None:
            assert is_waiting.wait(self.patience_s)
            acts[how]()

        at_once(work, act, patience_s=self.patience_s)
        assert len(got) == 1

    # --- limits ------------------------------------------------------------------------------

    def test_so_many_run_at_the_same_time(self, queue: Queue) -> None:
        """Of all workers together; others are not held up, and an end makes room."""
        queue.limit("k", Limits(running=2))
        assert queue.limits() == {"k": Limits(running=2)}
        made(queue, 5)
        made(queue, 1, kind="other", priority=3)
        one, two = Hand(queue, "k", "other"), Hand(queue, "k", "other")
        got = one.take(5)
        assert sorted(each.spec.kind for each in got) == ["k", "k", "other"]
        assert two.take(5) == []
        (first, second) = (each for each in got if each.spec.kind == "k")
        one.complete(first)
        assert len(two.take(5)) == 1
        one.fail(second, delay_s=100)
        assert len(one.take(5)) == 1
        two.die()
        assert len(one.take(5)) == 1
        queue.limit("k", Limits())
        assert queue.limits() == {}
        assert len(one.take(5)) == 1

    def test_so_many_start_in_a_second(self, queue: Queue) -> None:
        """A burst at first, then one by one; when the next may start is foreseeable."""
        queue.limit("k", Limits(rate=0.01, burst=3))
        made(queue, 10)
        hand = Hand(queue)
        for n_claimed in (3, 0):  # who takes the last of a burst is told as who comes in vain
            got = hand.exchange(want=10)
            assert len(got.claimed) == n_claimed
            assert got.next_due_s is not None
            assert 100 - self.patience_s < got.next_due_s <= 100
        queue.limit("k", Limits(rate=0.01, burst=3))
        assert hand.take(10) == []
        self.advance(queue, 101)
        assert len(hand.take(10)) == 1
        self.advance(queue, 10_000)
        assert len(hand.take(10)) == 3

    def test_a_slow_rate_starts_at_least_one(self, queue: Queue) -> None:
        """Without a burst it is what a second brings, at least one."""
        queue.limit("k", Limits(rate=0.01))
        made(queue, 3)
        hand = Hand(queue)
        assert len(hand.take(3)) == 1
        self.advance(queue, 1000)
        assert len(hand.take(3)) == 1

    # --- lists and counts --------------------------------------------------------------------

    def test_lists_have_all_of_a_state(self, queue: Queue) -> None:
        """Each once, in pages of any length, of a kind or of all."""
        expected: dict[State, set[str]] = {state: set() for state in State}
        for kind in ("a", "b"):
            hand = Hand(queue, kind)
            for event in (Event.COMPLETE, Event.GIVE_UP, Event.TRY_AGAIN):
                ids = made(queue, 5, kind=kind)
                for claimed in hand.take(5):
                    hand.exchange(Finished(claimed, event, delay_s=1000))
                to = {
                    Event.COMPLETE: State.COMPLETED,
                    Event.GIVE_UP: State.DEAD,
                    Event.TRY_AGAIN: State.RETRY,
                }
                expected[to[event]] |= set(ids)
            expected[State.RUNNING] |= set(running := made(queue, 5, kind=kind))
            hand.take(5)
            expected[State.BLOCKED] |= set(made(queue, 5, kind=kind, after=running))
            expected[State.CANCELLED] |= set(cancelled := made(queue, 5, kind=kind))
            queue.cancel(cancelled)
            expected[State.QUEUED] |= set(made(queue, 4, kind=kind))
            expected[State.QUEUED] |= set(made(queue, 1, kind=kind, not_before_ns=queue.now_ns() + 1000 * _S))
        for state in State:
            for limit in (1, 3, 10, 100):
                found = self._listed(queue, state, limit=limit)
                assert sorted(found) == sorted(expected[state]), state
            of_kind = self._listed(queue, state, kind="a", limit=2)
            assert sorted(of_kind) == sorted(
                each for each in expected[state] if job_of(queue, each).kind == "a"
            )
        (job,) = queue.list(State.DEAD, limit=1).jobs
        assert said(job) == said(job_of(queue, job.id))

    def _listed(self, queue: Queue, state: State, *, kind: str = "", limit: int = 100) -> list[str]:
        found: list[str] = []
        cursor = ""
        while True:
            page = queue.list(state, kind=kind, cursor=cursor, limit=limit)
            assert len(page.jobs) <= limit
            assert {job.state for job in page.jobs} <= {state}
            found += [job.id for job in page.jobs]
            cursor = page.next
            if not cursor:
                return found

    @pytest.mark.parametrize("state", [State.QUEUED, State.DEAD])
    def test_lists_bear_changes_meanwhile(self, queue: Queue, state: State) -> None:
        """What stays is shown, whatever comes and goes between two pages."""
        ids = made(queue, 40)
        hand = Hand(queue)
        if state is State.DEAD:
            for claimed in hand.take(40):
                hand.fail(claimed, Event.GIVE_UP)
        found: list[str] = []
        cursor = ""
        going = ids[::2]
        while True:
            page = queue.list(state, cursor=cursor, limit=7)
            found += [job.id for job in page.jobs]
            cursor = page.next
            if not cursor:
                break
            gone, going = going[:5], going[5:]
            if state is State.QUEUED:
                queue.cancel(gone)
            else:
                queue.requeue(gone)
                hand.take(5)
        assert set(ids[1::2]) <= set(found)
        assert len(set(found)) == len(found)

    def test_stats_count(self, queue: Queue) -> None:
        """What is there by state, what waits by kind and priority, and all that ever was."""
        hand = Hand(queue, "a")
        made(queue, 3, kind="a", created_ns=5)
        hand.complete(hand.take()[0])
        hand.fail(hand.take()[0], delay_s=1000)
        made(queue, 2, kind="b", priority=0, created_ns=7)
        made(queue, 1, kind="b", priority=3, created_ns=9)
        made(queue, 1, kind="b", after=[hand.take()[0].spec.id])
        queue.cancel(made(queue, 1, kind="b"))
        stats = queue.stats()
        assert dict(stats.waiting) == {("b", 0): 2, ("b", 3): 1}
        assert (stats.delayed, stats.oldest_ns) == (0, 7)
        assert dict(stats.by_state) == {
            State.BLOCKED: 1, State.QUEUED: 3, State.RUNNING: 1, State.FAILED: 0, State.RETRY: 1,
            State.COMPLETED: 1, State.DEAD: 0, State.CANCELLED: 1,
        }  # fmt: skip
        assert dict(stats.totals) == {"a": (3, 1, 1, 1, 0, 0), "b": (5, 0, 0, 0, 0, 1)}
        assert dict(stats.submitted) == {("a", 2): 3, ("b", 0): 2, ("b", 2): 2, ("b", 3): 1}
        (session,) = stats.sessions
        assert (session.id, session.n_held) == (hand.session, 1)

    # --- cells -------------------------------------------------------------------------------

    def test_a_cell_is_changed_by_who_saw_it(self, queue: Queue) -> None:
        """Each change gives a further version, and submits its jobs; what is refused does neither."""
        lost, kept, last = spec(), spec(), spec()
        assert queue.cells("") == {}
        assert not queue.swap("schedule/a", 1, b"x", [lost])
        assert not queue.swap("schedule/a", 1, None, [lost])
        assert queue.swap("schedule/a", 0, b"x", [kept])
        assert not queue.swap("schedule/a", 0, b"y", [lost])
        first = queue.cells("")["schedule/a"].version
        assert queue.swap("schedule/a", first, b"\0\xff")
        assert queue.swap("schedule/b", 0, b"")
        assert queue.swap("other", 0, b"z")
        found = queue.cells("schedule/")
        assert {name: cell.value for name, cell in found.items()} == {
            "schedule/a": b"\0\xff",
            "schedule/b": b"",
        }
        second = found["schedule/a"].version
        assert 0 < first < second
        assert not queue.swap("schedule/a", first, None, [lost])
        assert queue.swap("schedule/a", second, None, [last])
        assert not queue.swap("schedule/a", second, None)
        assert set(queue.cells("")) == {"schedule/b", "other"}
        states = states_of(queue, [kept.id, lost.id, last.id])
        assert states == [State.QUEUED, None, State.QUEUED]

    def test_a_cell_made_anew_is_another_one(self, queue: Queue) -> None:
        """No version comes twice: who saw a cell before it was dropped does not change the one made anew."""
        lost, versions = spec(), []
        for name in ("a", "b", "a", "a"):
            assert queue.swap(name, 0, b"x")
            versions.append(queue.cells(name)[name].version)
            assert not any(queue.swap(name, version, b"y", [lost]) for version in versions[:-1])
            assert queue.swap(name, versions[-1], None)
        assert versions == sorted(set(versions))
        assert states_of(queue, [lost.id]) == [None]

    def test_one_of_many_changes_a_cell(self, queue: Queue) -> None:
        """Of those who saw the same version, exactly one goes on, and its jobs alone are made."""
        won: list[int] = []

        def fire() -> None:
            for _ in range(10):
                seen = queue.cells("tick")
                version = seen["tick"].version if seen else 0
                if queue.swap("tick", version, b"", [spec()]):
                    won.append(version)

        at_once(*[fire] * 4, patience_s=self.patience_s)
        assert len(set(won)) == len(won) > 0
        assert queue.stats().by_state[State.QUEUED] == len(won)
