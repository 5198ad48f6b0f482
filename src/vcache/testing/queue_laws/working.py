"""Laws of who works: claims, tokens, ends, sessions and their leases."""

from __future__ import annotations

import pytest

from vcache.errors import SessionLost
from vcache.jobs.base import KILLS, MOST_CLAIMED, TURNS, Finished, Queue
from vcache.jobs.models import MOST_FAILURES, Failure, Priority, Progress
from vcache.jobs.states import Event, State
from vcache.testing.queue_laws.hands import Base, Hand, at_once, failure, job_of, made, said, states_of

__all__ = ["WorkingLaws"]


class WorkingLaws(Base):
    """See the module."""

    # --- claims ------------------------------------------------------------------------------

    def test_what_is_claimed_is_held(self, queue: Queue) -> None:
        """A claim gives the job with a token, and says so to all who ask."""
        (job_id,) = made(queue)
        hand = Hand(queue, worker="host:1")
        before_ns = queue.now_ns()
        claimed = hand.one()
        assert (claimed.spec.id, claimed.attempt, claimed.kills) == (job_id, 1, 0)
        assert claimed.token > 0
        job = job_of(queue, job_id)
        assert (job.state, job.attempts, job.worker, job.token) == (
            State.RUNNING, 1, "host:1", claimed.token
        )  # fmt: skip
        assert before_ns - 10**6 <= job.started_ns <= queue.now_ns()
        (held,) = queue.held(hand.session)
        assert said(held) == said(claimed)
        assert hand.take() == []

    def test_nobody_gets_more_than_was_asked_for(self, queue: Queue) -> None:
        """So many, of those kinds, and never more than an exchange may give."""
        ids = made(queue, MOST_CLAIMED + 5)
        made(queue, kind="other")
        assert Hand(queue, "another").take(5) == []
        hand = Hand(queue)
        assert queue.exchange(hand.session, want=5).claimed == []
        assert hand.exchange(want=0).claimed == []
        got = hand.take(2) + hand.take(2 * MOST_CLAIMED)
        assert len(got) == MOST_CLAIMED + 2
        got += hand.take(MOST_CLAIMED)
        assert [each.spec.id for each in got] == ids

    def test_no_two_hold_the_same(self, queue: Queue) -> None:
        """Each job is claimed by one, and tokens rise from claim to claim."""
        ids = made(queue, 10)
        hands = [Hand(queue), Hand(queue)]
        got = [claimed for number in range(10) for claimed in hands[number % 2].take()]
        assert [each.spec.id for each in got] == ids
        tokens = [each.token for each in got]
        assert tokens == sorted(set(tokens))

    def test_higher_priorities_come_first(self, queue: Queue) -> None:
        """And of equal ones the longest waiting, whatever its kind."""
        asked = [
            (priority, kind) for priority in (Priority.LOW, Priority.MEDIUM, Priority.HIGH, Priority.CRITICAL)
            for kind in ("a", "b", "a")
        ]  # fmt: skip
        ids = [made(queue, kind=kind, priority=int(priority))[0] for priority, kind in asked]
        hand = Hand(queue, "b", "a")
        got = [each.spec.id for _ in range(len(ids)) for each in hand.take()]
        assert got == [*ids[9:], *ids[6:9], *ids[3:6], *ids[:3]]

    @pytest.mark.parametrize("want", [1, 7, 40])
    def test_nobody_waits_for_ever(self, queue: Queue, want: int) -> None:
        """Each so-many-th claim goes to the longest waiting of all, and no other one."""
        low = made(queue, 10, kind="a", priority=3)
        made(queue, 20 * TURNS, kind="b", priority=0)
        hand = Hand(queue, "a", "b")
        got: list[str] = []
        while len(got) < 4 * TURNS:
            got += [each.spec.id for each in hand.take(min(want, 4 * TURNS - len(got)))]
        assert [each for each in got if each in low] == low[:4]
        assert want > 1 or not set(low).isdisjoint(got[:TURNS])

    # --- ends --------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "result", [None, True, 5, 0.5, "text", b"\0", [1, [2]], {"a": {"b": [None]}}, "", 0, {}]
    )
    def test_a_completion_is_recorded(self, queue: Queue, result: object) -> None:
        """With its result and its time, and nothing holds the job any more."""
        (job_id,) = made(queue)
        hand = Hand(queue, worker="host:1")
        assert hand.complete(hand.one(), result) == []  # type: ignore[arg-type]
        job = job_of(queue, job_id)
        assert (job.state, job.result, job.worker, job.attempts) == (State.COMPLETED, result, "host:1", 1)
        assert (job.token, list(job.failures), job.why) == (0, [], "")
        assert 0 < job.started_ns <= job.finished_ns <= queue.now_ns()
        assert queue.held(hand.session) == []
        assert hand.take() == []

    def test_there_is_one_completion(self, queue: Queue) -> None:
        """What ended is refused when it comes again, whatever it says."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        claimed = hand.one()
        assert hand.complete(claimed, 1) == []
        for event in (Event.COMPLETE, Event.TRY_AGAIN, Event.GIVE_UP, Event.RELEASE, Event.LOSE):
            assert list(hand.exchange(Finished(claimed, event, 2)).refused) == [job_id]
        job = job_of(queue, job_id)
        assert (job.state, job.result, len(job.failures)) == (State.COMPLETED, 1, 0)
        assert queue.stats().totals["k"].completed == 1

    def test_one_exchange_ends_and_claims(self, queue: Queue) -> None:
        """Many may end in it, and what is refused keeps no other one from being recorded."""
        ids = made(queue, 8)
        hand = Hand(queue)
        claimed = hand.take(5)
        hand.complete(claimed[2])
        got = hand.exchange(*(Finished(each, Event.COMPLETE, 1) for each in claimed), want=2)
        assert list(got.refused) == [ids[2]]
        assert [each.spec.id for each in got.claimed] == ids[5:7]
        assert states_of(queue, ids) == [State.COMPLETED] * 5 + [State.RUNNING] * 2 + [State.QUEUED]

    def test_nobody_ends_what_another_holds(self, queue: Queue) -> None:
        """A token counts in its own session only."""
        (job_id,) = made(queue)
        mine, other = Hand(queue), Hand(queue)
        claimed = mine.one()
        assert other.complete(claimed, 2) == [job_id]
        assert not queue.report(other.session, job_id, claimed.token, Progress(1))
        assert mine.complete(claimed, 1) == []
        assert job_of(queue, job_id).result == 1

    def test_a_failed_attempt_is_tried_again(self, queue: Queue) -> None:
        """After its delay, and not before; with its failure kept."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        claimed = hand.one()
        assert hand.fail(claimed, delay_s=10) == []
        job = job_of(queue, job_id)
        assert (job.state, job.attempts, job.token) == (State.RETRY, 1, 0)
        assert said(job.failures) == [said(failure(claimed))]
        assert abs(job.due_ns - queue.now_ns() - 10 * 10**9) < 5 * 10**9
        self.advance(queue, 4)
        assert hand.take() == []
        self.advance(queue, 7)
        again = hand.one()
        assert (again.spec.id, again.attempt, again.kills) == (job_id, 2, 0)
        assert again.token > claimed.token
        assert hand.complete(claimed) == [job_id]
        assert hand.complete(again) == []
        assert len(job_of(queue, job_id).failures) == 1
        assert queue.stats().totals["k"] == (1, 1, 1, 1, 0, 0)

    def test_a_dead_job_keeps_its_evidence(self, queue: Queue) -> None:
        """Given up, it is not tried again, and says why."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        hand.fail(hand.one())
        claimed = hand.one()
        hand.fail(claimed, Event.GIVE_UP)
        self.advance(queue, 10_000)
        assert hand.take() == []
        job = job_of(queue, job_id)
        assert (job.state, job.attempts, job.token) == (State.DEAD, 2, 0)
        assert said(job.failures[-1:]) == [said(failure(claimed))]
        assert (len(job.failures), job.why) == (2, "it fell")
        assert queue.stats().totals["k"] == (1, 0, 2, 1, 1, 0)

    def test_the_last_failures_are_kept(self, queue: Queue) -> None:
        """A bounded number of them, the oldest first."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        for number in range(MOST_FAILURES + 3):
            claimed = hand.one()
            hand.exchange(Finished(claimed, Event.TRY_AGAIN, failure=failure(claimed, str(number))))
        messages = [each.message for each in job_of(queue, job_id).failures]
        assert messages == [str(number) for number in range(3, MOST_FAILURES + 3)]

    def test_what_is_given_back_was_no_attempt(self, queue: Queue) -> None:
        """It is the next one to run, as if it had never been claimed."""
        ids = made(queue, 2)
        hand = Hand(queue)
        claimed = hand.take()[0]
        assert hand.release(claimed) == []
        job = job_of(queue, ids[0])
        assert (job.state, job.attempts, list(job.failures)) == (State.QUEUED, 0, [])
        (again,) = hand.take()
        assert (again.spec.id, again.attempt, again.kills) == (ids[0], 1, 0)
        assert again.token > claimed.token
        assert hand.complete(claimed) == [ids[0]]

    # --- sessions ----------------------------------------------------------------------------

    def test_each_exchange_is_a_beat(self, queue: Queue) -> None:
        """Sessions show who works, for whom, and that they live."""
        one, two = Hand(queue, "a", "b", worker="one", lease_s=3.0), Hand(queue, worker="two")
        made(queue, 2, kind="b")

        def seen() -> dict[str, tuple[object, ...]]:
            return {
                each.id: (each.worker, each.lease_s, each.n_held, said(each.kinds))
                for each in queue.sessions()
            }

        def beats() -> list[int]:
            found = {each.id: each.beats for each in queue.sessions()}
            return [found[one.session], found[two.session]]

        first = beats()
        one.take(2)
        assert seen() == {one.session: ("one", 3.0, 2, ["a", "b"]), two.session: ("two", 10.0, 0, ["k"])}
        one.exchange()
        assert [later - before for later, before in zip(beats(), first, strict=True)] == [2, 0]
        queue.stats()
        queue.held(one.session)
        assert [later - before for later, before in zip(beats(), first, strict=True)] == [2, 0]
        assert {each.id for each in queue.stats().sessions} == {one.session, two.session}

    def test_what_a_lost_session_held_comes_back(self, queue: Queue) -> None:
        """At once, with a kill counted, to whoever asks."""
        ids = made(queue, 2)
        hand, other = Hand(queue), Hand(queue)
        claimed = hand.take(1)[0]
        assert hand.die() == [ids[0]]
        assert queue.end_session(hand.session) == []
        job = job_of(queue, ids[0])
        assert (job.state, job.attempts, job.kills, job.token) == (State.QUEUED, 1, 1, 0)
        got = {each.spec.id: each for each in other.take(5)}
        assert set(got) == set(ids)
        assert (got[ids[0]].attempt, got[ids[0]].kills) == (2, 1)
        assert got[ids[0]].token > claimed.token

    def test_a_lost_session_is_told(self, queue: Queue) -> None:
        """Nothing that comes from it counts, and it is given nothing."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        claimed = hand.one()
        hand.die()
        for use in (
            lambda: hand.exchange(Finished(claimed, Event.COMPLETE, 1), want=1), hand.exchange,
            lambda: queue.held(hand.session),
        ):  # fmt: skip
            with pytest.raises(SessionLost):
                use()
        assert not queue.report(hand.session, job_id, claimed.token, Progress(1))
        job = job_of(queue, job_id)
        assert (job.state, job.result, job.progress) == (State.QUEUED, None, None)
        with pytest.raises(SessionLost):
            queue.exchange("nobody", kinds=["k"], want=1)

    def test_the_late_are_refused(self, queue: Queue) -> None:
        """Who lost its lease and comes again with the old token is refused; who holds the job counts."""
        (job_id,) = made(queue)
        lost = Hand(queue)
        old = lost.one()
        lost.die()
        again, other = Hand(queue), Hand(queue)
        new = other.one()
        assert again.complete(old, "late") == [job_id]
        assert other.complete(new, "right") == []
        assert again.complete(old, "late") == [job_id]
        assert job_of(queue, job_id).result == "right"

    def test_a_session_that_beats_is_not_ended(self, queue: Queue) -> None:
        """Who saw a number of beats ends it only while it still has that number."""
        made(queue)
        hand = Hand(queue)
        (seen,) = queue.sessions()
        claimed = hand.one()
        assert queue.end_session(hand.session, beats=seen.beats) == []
        assert hand.complete(claimed) == []
        (seen,) = queue.sessions()
        queue.end_session(hand.session, beats=seen.beats)
        assert queue.sessions() == []

    # --- suspects ----------------------------------------------------------------------------

    def test_suspects_come_one_at_a_time(self, queue: Queue) -> None:
        """A session holds one of them beside any number of others."""
        suspects = set(made(queue, 3))
        lost = Hand(queue)
        lost.take(5)
        lost.die()
        others = set(made(queue, 2))
        hand, second = Hand(queue), Hand(queue)
        got = hand.take(10)
        first = [each for each in got if each.kills]
        assert [each.spec.id in suspects for each in first] == [True]
        assert {each.spec.id for each in got if not each.kills} == others
        assert hand.take(10) == []
        (elsewhere,) = second.take(10)
        assert elsewhere.spec.id in suspects - {first[0].spec.id}
        got = list(hand.exchange(Finished(first[0], Event.COMPLETE), want=10).claimed)
        assert {each.spec.id for each in got} == suspects - {first[0].spec.id, elsewhere.spec.id}

    def test_a_suspect_that_fails_is_one_still(self, queue: Queue) -> None:
        """When it is tried again, it comes alone as before."""
        suspects = set(made(queue, 2))
        lost = Hand(queue)
        lost.take(5)
        lost.die()
        hand = Hand(queue)
        failed = hand.one()
        hand.fail(failed, delay_s=5)
        self.advance(queue, 6)
        (first,) = hand.take(5)
        (second,) = hand.exchange(Finished(first, Event.COMPLETE), want=5).claimed
        assert {first.spec.id, second.spec.id} == suspects

    def test_a_requeued_suspect_may_keep_its_count(self, queue: Queue) -> None:
        """With its attempts it keeps its kills, neither more nor fewer."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        hand.one()
        hand.die()
        queue.cancel([job_id])
        assert list(queue.requeue([job_id], keep_attempts=True)) == [job_id]
        claimed = Hand(queue).one()
        assert (claimed.kills, claimed.attempt) == (1, 2)

    @pytest.mark.parametrize("alone", [False, True])
    def test_a_job_that_kills_is_quarantined(self, queue: Queue, alone: bool) -> None:
        """The third time its worker is lost it is dead; also when only its own process was."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        for number in range(1, KILLS + 1):
            if not alone:
                hand = Hand(queue)
            claimed = hand.one()
            assert (claimed.kills, claimed.attempt) == (number - 1, number)
            if alone:
                lost = Failure(1, number, "killed", "signal 9")
                assert list(hand.exchange(Finished(claimed, Event.LOSE, failure=lost)).refused) == []
            else:
                assert hand.die() == [job_id]
        job = job_of(queue, job_id)
        assert (job.state, job.kills, job.attempts) == (State.DEAD, KILLS, KILLS)
        assert [each.reason for each in job.failures[-1:]] == ["killed"]
        assert Hand(queue).take() == []
        queue.requeue([job_id])
        assert Hand(queue).one().kills == 0

    def test_a_suspect_that_proves_itself_is_done(self, queue: Queue) -> None:
        """One that was beside the killer completes, and its successor is no suspect."""
        ids = made(queue, 2)
        lost = Hand(queue)
        lost.take(2)
        lost.die()
        hand = Hand(queue)
        for _ in ids:
            (claimed,) = hand.take(5)
            hand.complete(claimed)
        assert states_of(queue, ids) == [State.COMPLETED] * 2
        made(queue, 5)
        assert len(hand.take(5)) == 5

    # --- progress, threads -------------------------------------------------------------------

    def test_progress_is_kept(self, queue: Queue) -> None:
        """As the holder says it, until another attempt; from nobody else."""
        (job_id,) = made(queue)
        hand = Hand(queue)
        claimed = hand.one()
        half = Progress(1, 2, "half", 5)
        assert job_of(queue, job_id).progress is None
        assert queue.report(hand.session, job_id, claimed.token, half)
        assert said(job_of(queue, job_id).progress) == said(half)
        assert not queue.report(hand.session, job_id, claimed.token + 1, Progress(2))
        assert not queue.report(hand.session, "nobody", claimed.token, Progress(2))
        assert said(job_of(queue, job_id).progress) == said(half)
        hand.complete(claimed)
        assert not queue.report(hand.session, job_id, claimed.token, Progress(2))

    def test_threads_share_the_work(self, queue: Queue) -> None:
        """Each job is run by one of many, and none is lost, whoever asks meanwhile."""
        ran: list[str] = []
        asked: list[str] = []

        def ask() -> None:
            for _ in range(10):
                asked.extend(made(queue, 5))

        def work() -> None:
            hand = Hand(queue)
            while len(ran) < 100:
                queue.wait(hand.kinds, 0.05)
                for claimed in hand.take(7):
                    assert hand.complete(claimed) == []
                    ran.append(claimed.spec.id)

        at_once(ask, ask, work, work, patience_s=self.patience_s)
        assert len(ran) == 100
        assert set(ran) == set(asked)
        assert queue.stats().totals["k"].completed == 100
