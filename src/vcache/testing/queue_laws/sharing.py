"""Laws of who else has the queue open, and of its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vcache.errors import StoreClosed
from vcache.jobs.base import Queue
from vcache.jobs.models import Limits
from vcache.jobs.states import Event, State
from vcache.testing.queue_laws.hands import Base, Hand, at_once, ended, job_of, made, said

__all__ = ["SharingLaws"]

_S = 10**9


class SharingLaws(Base):
    """See the module."""

    def test_others_see_the_same_jobs(self, make_queue: Callable[[], Queue]) -> None:
        """Where a queue is shared, what one opening does is there for all; else each has its own."""
        one, two = make_queue(), make_queue()
        (job_id,) = made(one)
        if not one.info.is_shared:
            assert two.get([job_id]) == [None]
            return
        hand = Hand(two)
        claimed = hand.one()
        assert job_of(one, job_id).state is State.RUNNING
        assert [each.id for each in one.sessions()] == [hand.session]
        one.limit("k", Limits(running=1))
        made(one, 2)
        assert hand.take(5) == []
        assert one.swap("cell", 0, b"x")
        assert two.swap("cell", one.cells("")["cell"].version, b"y")
        assert one.end_session(hand.session) == [job_id]
        assert Hand(one).complete(claimed) == [job_id]

    def test_who_waits_is_woken_from_elsewhere(self, make_queue: Callable[[], Queue]) -> None:
        """Where a queue is shared, by what another opening submits."""
        one = make_queue()
        two = make_queue() if one.info.is_shared else one
        hand = Hand(one)
        got: list[object] = []

        def work() -> None:
            while not got:
                one.wait(hand.kinds, 4 * self.patience_s)
                got.extend(hand.take())

        at_once(work, lambda: made(two), patience_s=self.patience_s)
        assert len(got) == 1

    def test_who_waits_for_a_place_is_woken(self, make_queue: Callable[[], Queue]) -> None:
        """When it is left by a worker that takes nothing more itself."""
        one = make_queue()
        two = make_queue() if one.info.is_shared else one
        two.limit("k", Limits(running=1))
        hand, draining = Hand(one), Hand(two)
        made(two, 2)
        held = draining.one()
        one.wait(hand.kinds, 0.05)  # of what came before it need not be told again
        got = list[object](hand.take())
        assert got == []

        def work() -> None:
            while not got:
                one.wait(hand.kinds, 4 * self.patience_s)
                got.extend(hand.take())

        at_once(work, lambda: draining.complete(held), patience_s=self.patience_s)
        assert len(got) == 1

    def test_what_is_durable_is_there_again(self, make_queue: Callable[[], Queue]) -> None:
        """Where a queue is durable, all is as it was when it is opened anew, sessions and what they hold too."""
        queue = make_queue()
        if not queue.info.is_durable:
            queue.close()
            assert make_queue().stats().totals == {}
            return
        hand = Hand(queue)
        first, second = made(queue, 2)
        (delayed,) = made(queue, not_before_ns=queue.now_ns() + 100 * _S)
        claimed = hand.take()[0]
        dead = ended(queue, Event.GIVE_UP)
        done = ended(queue)
        queue.limit("k", Limits(running=5))
        queue.swap("cell", 0, b"x")
        cells = dict(queue.cells(""))
        before = [said(job) for job in queue.get([first, second, delayed, dead, done])]
        queue.close()
        queue = make_queue()
        assert [said(job) for job in queue.get([first, second, delayed, dead, done])] == before
        assert (dict(queue.limits()), dict(queue.cells(""))) == (
            {"k": Limits(running=5)},
            cells,
        )
        assert queue.swap("cell", cells["cell"].version, b"y")
        assert queue.cells("")["cell"].version > cells["cell"].version
        hand.queue = queue
        assert hand.complete(claimed) == []
        (again,) = hand.take(5)
        assert again.spec.id == second
        assert again.token > claimed.token

    def test_a_closed_queue_says_so(self, queue: Queue) -> None:
        """After `close` nothing is taken or answered; closing again is nothing."""
        hand = Hand(queue)
        queue.close()
        queue.close()
        for use in (
            lambda: made(queue),
            lambda: queue.get(["x"]),
            queue.stats,
            hand.exchange,
            queue.sessions,
        ):
            with pytest.raises(StoreClosed):
                use()
