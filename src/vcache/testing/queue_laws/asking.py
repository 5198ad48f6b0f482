"""Laws of who asks: what is submitted is kept, once, and can be looked at, cancelled and forgotten."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from vcache.errors import UsageError
from vcache.jobs.base import Finished, Queue
from vcache.jobs.models import Payload, Priority, Spec
from vcache.jobs.states import Event, State
from vcache.testing.queue_laws.hands import Base, Hand, ended, job_of, made, said, spec, states_of

__all__ = ["AskingLaws"]

_PLAIN: Final[Payload] = {
    "none": None, "true": True, "int": -(1 << 63), "most": (1 << 64) - 1, "float": 0.1, "text": "naïve 🦜 \0",
    "bytes": b"\0\xff", "list": [1, [2, []]], "dict": {"": {}}, "lone": "\udcff", "": 1,
}  # fmt: skip


class AskingLaws(Base):
    """See the module."""

    def test_it_is_a_queue(self, queue: Queue) -> None:
        """It satisfies the protocol, and an empty one has nothing."""
        assert isinstance(queue, Queue)
        assert queue.submit([]) == []
        stats = queue.stats()
        assert (dict(stats.waiting), stats.delayed, stats.oldest_ns) == ({}, 0, 0)
        assert set(stats.by_state) == set(State)
        assert set(stats.by_state.values()) == {0}
        assert [queue.list(state) for state in State] == [([], "")] * len(State)

    def test_a_job_is_as_it_was_asked_for(self, queue: Queue) -> None:
        """Every field and any plain value comes back, to who looks and to who works."""
        plain = spec("k", _PLAIN)._replace(namespace=queue.info.namespace)
        whole = Spec(
            spec().id, "kind/ 🦜", _PLAIN, Priority.HIGH, 5, 0, queue.now_ns() + 10**15, 1.5, 7, "key", 60.0,
            ("nobody",), "parent", ("one", "two"), queue.info.namespace, "00-1-2-01",
        )  # fmt: skip
        assert queue.submit([plain, whole]) == [plain.id, whole.id]
        hand = Hand(queue, "k", "kind/ 🦜")
        for asked in (plain, whole):
            job = job_of(queue, asked.id)
            assert said(job.spec) == said(asked)
            assert job[1:6] == (State.QUEUED, 0, 0, 0, 0)
        assert {each.spec.id: said(each.spec) for each in hand.take(5)} == {
            plain.id: said(plain), whole.id: said(whole)
        }  # fmt: skip

    def test_long_payloads_are_kept(self, queue: Queue) -> None:
        """A megabyte is no trouble, neither asked for nor returned."""
        long = {"bytes": bytes(range(256)) * 4096}
        (job_id,) = queue.submit([spec("k", long)])
        hand = Hand(queue)
        claimed = hand.one()
        assert claimed.spec.payload == long
        assert hand.complete(claimed, long) == []
        assert job_of(queue, job_id).result == long

    def test_nobody_is_none(self, queue: Queue) -> None:
        """Ids that are not known give None, in their places."""
        first, second = made(queue, 2)
        jobs = queue.get([second, "nobody", first, second])
        assert [job and job.id for job in jobs] == [second, None, first, second]

    def test_an_id_that_is_known_is_not_made_again(self, queue: Queue) -> None:
        """Submitting may be repeated: what is there stays as it is."""
        asked = [spec(), spec()]
        queue.submit(asked[:1])
        hand = Hand(queue)
        claimed = hand.one()
        assert queue.submit(asked) == [each.id for each in asked]
        hand.complete(claimed, 5)
        assert queue.submit(asked) == [each.id for each in asked]
        assert states_of(queue, [each.id for each in asked]) == [State.COMPLETED, State.QUEUED]
        assert job_of(queue, asked[0].id).result == 5
        assert queue.stats().totals["k"].submitted == 2

    def test_what_is_submitted_is_counted_by_kind_and_priority(self, queue: Queue) -> None:
        """For ever, and each job once: alone, with others, or with what is rare."""
        alone = [spec(priority=0), spec(kind="k:1", priority=0), spec(priority=0), spec()]
        together = [spec(priority=each % 4) for each in range(10)]
        rare = [spec(priority=3, unique="key"), spec(priority=1, not_before_ns=queue.now_ns() + 10**15)]
        for each in alone:
            queue.submit([each])
        for batch in (together, rare, [alone[0], *together], rare, [spec(priority=0, unique="key")]):
            queue.submit(batch)
        asked = [*alone, *together, *rare]
        expected = Counter((each.kind, int(each.priority)) for each in asked)
        queue.cancel([each.id for each in asked])
        queue.purge(State.CANCELLED)
        stats = queue.stats()
        assert dict(stats.submitted) == expected
        assert {kind: each.submitted for kind, each in stats.totals.items()} == {"k": 15, "k:1": 1}

    @pytest.mark.parametrize("wrong", [{"payload": {"x": object()}}, {"payload": {"x": 1 << 64}}])
    def test_all_are_kept_or_none(self, queue: Queue, wrong: dict[str, object]) -> None:
        """One job that cannot be kept keeps the others of its call from being so."""
        asked = [spec(), spec()._replace(**wrong), spec()]  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            queue.submit(asked)
        assert states_of(queue, [each.id for each in asked]) == [None] * 3
        assert Hand(queue).take(5) == []

    # --- unique ------------------------------------------------------------------------------

    def test_a_unique_job_is_made_once_until_it_ends(self, queue: Queue) -> None:
        """While one lives with a key, whatever state it is in, there is no second one."""
        asked = spec(unique="key")
        hand = Hand(queue)

        def again() -> str:
            return queue.submit([spec(unique="key")])[0]

        assert list(queue.submit([asked, spec(unique="key"), spec(unique="other")]))[1] == asked.id
        assert again() == asked.id
        (claimed,) = (each for each in hand.take(5) if each.spec.id == asked.id)
        assert again() == asked.id
        hand.fail(claimed, delay_s=60)
        assert again() == asked.id
        self.advance(queue, 61)
        hand.complete(hand.one())
        second = again()
        assert second != asked.id
        queue.cancel([second])
        third = again()
        assert third != second
        hand.fail(hand.one(), Event.GIVE_UP)
        assert again() != third

    def test_a_key_is_taken_for_its_window(self, queue: Queue) -> None:
        """With a window, a key is taken for so long, whether or not its job has ended."""
        hand = Hand(queue)
        (first,) = made(queue, unique="key", unique_s=60.0)
        hand.complete(hand.one())
        self.advance(queue, 50)
        assert made(queue, unique="key", unique_s=60.0) == [first]
        self.advance(queue, 20)
        (second,) = made(queue, unique="key", unique_s=60.0)
        assert second != first
        self.advance(queue, 70)
        assert made(queue, unique="key") not in ([first], [second])

    def test_a_requeued_job_takes_its_key_again(self, queue: Queue) -> None:
        """Or stays dead while another one lives that took its place."""
        (first,) = made(queue, unique="key")
        hand = Hand(queue)
        hand.fail(hand.one(), Event.GIVE_UP)
        assert queue.requeue([first]) == [first]
        assert made(queue, unique="key") == [first]
        queue.cancel([first])
        (second,) = made(queue, unique="key")
        assert second != first
        assert queue.requeue([first]) == []
        queue.cancel([second])
        assert queue.requeue([first]) == [first]

    # --- after -------------------------------------------------------------------------------

    def test_a_job_waits_for_those_before_it(self, queue: Queue) -> None:
        """It is blocked until all that it is after have completed."""
        first, second = made(queue, 2)
        (last,) = made(queue, after=(first, second, first), priority=0)
        assert states_of(queue, [last]) == [State.BLOCKED]
        hand = Hand(queue)
        claimed = hand.take(5)
        assert [each.spec.id for each in claimed] == [first, second]
        hand.complete(claimed[0])
        assert hand.take() == []
        assert states_of(queue, [last]) == [State.BLOCKED]
        got = hand.exchange(Finished(claimed[1], Event.COMPLETE), want=5)
        assert [each.spec.id for each in got.claimed] == [last]

    def test_a_failed_attempt_unblocks_nothing(self, queue: Queue) -> None:
        """What is to be tried again, or was given back or lost, has not completed."""
        (first,) = made(queue)
        (last,) = made(queue, after=(first,))
        hand = Hand(queue)
        hand.release(hand.one())
        hand.fail(hand.one())
        hand.one()
        hand.die()
        assert states_of(queue, [first, last]) == [State.QUEUED, State.BLOCKED]

    @pytest.mark.parametrize("event", [Event.GIVE_UP, Event.CANCEL])
    def test_what_waits_for_a_lost_one_is_cancelled(self, queue: Queue, event: Event) -> None:
        """When a job died or was cancelled, so is all that waits for it, near and far; with the reason."""
        (first,) = made(queue)
        (second,) = made(queue, after=(first,))
        third, other = [*made(queue, after=(second,)), *made(queue, kind="other")]
        if event is Event.CANCEL:
            assert set(queue.cancel([first])) == {first, second, third}
        else:
            hand = Hand(queue)
            hand.fail(hand.one(), event)
        assert states_of(queue, [second, third, other]) == [State.CANCELLED, State.CANCELLED, State.QUEUED]
        assert job_of(queue, third).why != ""
        assert queue.stats().totals["k"].cancelled == (3 if event is Event.CANCEL else 2)

    def test_who_comes_late_finds_what_was(self, queue: Queue) -> None:
        """After what completed or is unknown a job runs; after what is dead or cancelled it is cancelled."""
        completed = ended(queue)
        ran = made(queue, after=("nobody", completed))
        assert states_of(queue, ran) == [State.QUEUED]
        for event in (Event.GIVE_UP, Event.CANCEL):
            late = made(queue, after=(completed, ended(queue, event)))
            later = made(queue, after=late)
            assert states_of(queue, [*late, *later]) == [State.CANCELLED] * 2

    def test_an_unblocked_job_still_has_its_time(self, queue: Queue) -> None:
        """What it may start at counts when nothing blocks it any more."""
        (first,) = made(queue)
        (last,) = made(queue, after=(first,), not_before_ns=queue.now_ns() + 100 * 10**9)
        hand = Hand(queue)
        hand.complete(hand.one())
        assert hand.take() == []
        self.advance(queue, 101)
        assert hand.one().spec.id == last

    # --- cancel, requeue, purge ---------------------------------------------------------------

    def test_cancelled_jobs_do_not_run(self, queue: Queue) -> None:
        """Whether they wait for a worker, a time, another job or another attempt."""
        hand = Hand(queue)
        (retried,) = made(queue)
        hand.fail(hand.one(), delay_s=10)
        ids = [
            retried, *made(queue), *made(queue, not_before_ns=queue.now_ns() + 10 * 10**9),
            *made(queue, after=made(queue, kind="other")),
        ]  # fmt: skip
        (kept,) = made(queue)
        assert sorted(queue.cancel([*ids, "nobody"], why="not wanted")) == sorted(ids)
        assert queue.cancel(ids) == []
        self.advance(queue, 60)
        assert hand.one().spec.id == kept
        jobs = [job_of(queue, each) for each in ids]
        assert {(job.state, job.why) for job in jobs} == {(State.CANCELLED, "not wanted")}

    def test_what_has_ended_is_not_cancelled(self, queue: Queue) -> None:
        """Neither what completed nor what is dead."""
        ids = [ended(queue), ended(queue, Event.GIVE_UP)]
        assert queue.cancel(ids) == []
        assert states_of(queue, ids) == [State.COMPLETED, State.DEAD]

    def test_a_running_job_is_cancelled_at_once(self, queue: Queue) -> None:
        """Its worker is told, and what comes of it is refused."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        claimed = hand.one()
        assert queue.cancel([job_id]) == [job_id]
        assert states_of(queue, [job_id]) == [State.CANCELLED]
        assert queue.held(hand.session) == []
        told = hand.exchange(want=5)
        assert (list(told.revoked), told.claimed) == ([job_id], [])
        assert hand.complete(claimed) == [job_id]
        assert states_of(queue, [job_id]) == [State.CANCELLED]

    @pytest.mark.parametrize("event", [Event.GIVE_UP, Event.CANCEL])
    def test_who_is_requeued_runs_from_the_start(self, queue: Queue, event: Event) -> None:
        """A dead or cancelled job runs again, once, with all its attempts; its failures stay."""
        job_id = ended(queue, event)
        n_failures = len(job_of(queue, job_id).failures)
        assert queue.requeue([job_id, "nobody"]) == [job_id]
        assert queue.requeue([job_id]) == []
        job = job_of(queue, job_id)
        assert (job.state, job.attempts, job.why, len(job.failures)) == (State.QUEUED, 0, "", n_failures)
        hand = Hand(queue, "ends")
        claimed = hand.one()
        assert claimed.attempt == 1
        assert hand.complete(claimed) == []

    def test_attempts_may_be_kept(self, queue: Queue) -> None:
        """Where they are, the next one counts on."""
        job_id = ended(queue, Event.GIVE_UP)
        assert queue.requeue([job_id], keep_attempts=True) == [job_id]
        assert Hand(queue, "ends").one().attempt == 2

    def test_a_retry_is_requeued_for_now(self, queue: Queue) -> None:
        """What waits for another attempt need not; its time does not bring it a second time."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        hand.fail(hand.one(), delay_s=60)
        assert queue.requeue([job_id]) == [job_id]
        assert hand.one().spec.id == job_id
        self.advance(queue, 61)
        assert hand.take() == []

    def test_only_what_failed_is_requeued(self, queue: Queue) -> None:
        """Not what waits, runs or completed."""
        (running,) = made(queue)
        hand = Hand(queue)
        hand.one()
        ids = [running, ended(queue), *made(queue), *made(queue, after=(running,))]
        assert queue.requeue(ids) == []
        assert len(hand.take(5)) == 1

    def test_coming_and_going_leaves_one_place(self, queue: Queue) -> None:
        """A job that is cancelled and requeued again and again is claimed once."""
        ids = made(queue, 3)
        for _ in range(5):
            assert queue.cancel(ids[1:2]) == ids[1:2]
            assert queue.requeue(ids[1:2]) == ids[1:2]
        assert queue.stats().waiting == {("k", 2): 3}
        assert [each.spec.id for each in Hand(queue).take(10)] == [ids[0], ids[2], ids[1]]

    def test_purged_jobs_are_forgotten(self, queue: Queue) -> None:
        """Ended jobs of a state go: of one kind, or older than a time, or all."""
        with pytest.raises(UsageError):
            queue.purge(State.QUEUED)
        old = ended(queue, Event.GIVE_UP)
        self.advance(queue, 10)
        at_ns = queue.now_ns()
        self.advance(queue, 10)
        new = ended(queue, Event.GIVE_UP)
        others = [ended(queue), ended(queue, Event.CANCEL)]
        assert queue.purge(State.DEAD, kind="another") == 0
        assert queue.purge(State.DEAD, kind="ends", before_ns=at_ns) == 1
        assert states_of(queue, [old, new]) == [None, State.DEAD]
        assert queue.purge(State.DEAD) == 1
        assert queue.purge(State.COMPLETED) == 1
        assert queue.purge(State.CANCELLED, kind="ends") == 1
        assert states_of(queue, [new, *others]) == [None] * 3
        assert sum(queue.stats().by_state.values()) == 0
