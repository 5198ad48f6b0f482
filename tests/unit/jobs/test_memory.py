"""What the queue in memory has of its own: bounds, long chains, its clock."""

from __future__ import annotations

import gc
import time

import pytest

from vcache.errors import UsageError
from vcache.jobs.base import Claimed, Finished
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.memory.queue import steady_clock
from vcache.jobs.memory.rows import Row
from vcache.jobs.models import Limits, Spec
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7
from vcache.testing import FakeClock
from vcache.testing.queue_laws.hands import Hand, made, states_of


def _n_rows() -> int:
    return sum(1 for each in gc.get_objects() if type(each) is Row)


def test_old_completed_jobs_are_forgotten() -> None:
    """the last so many are remembered; dead and cancelled ones are until they are purged"""
    queue = MemoryQueue(keep_ended=3)
    hand = Hand(queue)
    dead, cancelled, *ids = made(queue, 7)
    queue.cancel([cancelled])
    hand.fail(hand.take()[0], Event.GIVE_UP)
    for claimed in hand.take(10):
        hand.complete(claimed)
    assert states_of(queue, [dead, cancelled, *ids]) == [
        State.DEAD, State.CANCELLED, None, None, *[State.COMPLETED] * 3
    ]  # fmt: skip
    assert queue.stats().by_state[State.COMPLETED] == 3
    assert queue.purge(State.COMPLETED) == 3
    hand.complete((made(queue), hand.one())[1])
    assert queue.stats().by_state[State.COMPLETED] == 1


def test_what_is_forgotten_takes_no_memory() -> None:
    """neither deadlines nor keys, nor what was cancelled in its line, hold jobs that are gone"""
    clock = FakeClock()
    queue = MemoryQueue(clock=clock, keep_ended=10)
    hand = Hand(queue)
    before = _n_rows()
    for _ in range(40):
        far_ns = clock() + 10**15
        made(queue, 100, deadline_ns=far_ns)
        got = hand.take(100)
        hand.exchange(*(Finished(each, Event.COMPLETE) for each in got))
        queue.cancel(made(queue, 100, deadline_ns=far_ns, not_before_ns=far_ns))
        queue.cancel(made(queue, 100))
        queue.cancel([queue.submit([Spec(uuid7.text(), "k", {}, unique=f"{clock()}", unique_s=5)])[0]])
        queue.purge(State.CANCELLED)
        clock.advance(10)
    assert queue.stats().by_state[State.COMPLETED] == 10
    assert _n_rows() - before < 4_000
    assert len(queue._board._keys) <= 1


def test_a_chain_may_be_longer_than_the_stack() -> None:
    """cancelling its first job cancels all"""
    queue = MemoryQueue()
    specs = [Spec(str(number), "k", {}, after=(str(number - 1),)) for number in range(20_000)]
    queue.submit(specs)
    assert queue.stats().by_state[State.BLOCKED] == 19_999
    assert len(queue.cancel(["0"])) == 20_000


def test_a_payload_is_as_it_was_when_it_was_asked_for() -> None:
    """changing it afterwards changes no job"""
    queue = MemoryQueue()
    payload = {"list": [1]}
    queue.submit([Spec("1", "k", payload)])
    payload["list"].append(2)
    assert Hand(queue).one().spec.payload == {"list": [1]}


def test_its_clock_is_steady() -> None:
    """it starts as the wall clock does, and goes on as the monotonic one does"""
    clock = steady_clock()
    before_ns, at_ns, after_ns = time.monotonic_ns(), clock(), time.monotonic_ns()
    assert after_ns - before_ns >= clock() - at_ns - (time.monotonic_ns() - after_ns)
    assert abs(at_ns - time.time_ns()) < 60 * 10**9
    assert MemoryQueue().now_ns() >= at_ns


def test_a_requeued_job_does_not_take_a_key_from_another() -> None:
    """while one has it, the dead one stays so; then it takes it again"""
    queue = MemoryQueue()
    hand = Hand(queue)
    (first,) = made(queue, unique="key")
    hand.fail(hand.one(), Event.GIVE_UP)
    (second,) = made(queue, unique="key")
    assert queue.requeue([first]) == []
    hand.complete(hand.one())
    assert queue.requeue([first]) == [first]
    assert made(queue, unique="key") == [first] != [second]


@pytest.mark.parametrize(
    "use",
    [
        lambda queue: queue.submit([Spec("", "k")]),
        lambda queue: queue.submit([Spec("1", "")]),
        lambda queue: queue.submit([Spec("1", "k", {}, 4)]),
        lambda queue: queue.list(State.QUEUED, limit=0),
        lambda queue: queue.list(State.QUEUED, cursor="x"),
        lambda queue: queue.purge(State.RUNNING),
        lambda queue: queue.limit("k", Limits(rate=-1)),
        lambda queue: queue.open_session("worker", kinds=["k"], lease_s=0),
        lambda queue: queue.exchange("x", [Finished(Claimed(Spec("1", "k"), 1, 1), Event.CLAIM)]),
    ],
)
def test_what_makes_no_sense_is_refused(use: object) -> None:
    """with what to give"""
    with pytest.raises(UsageError):
        use(MemoryQueue())  # type: ignore[operator]


def test_many_waiting_jobs_cost_a_claim_nothing() -> None:
    """a claim looks at the heads of lines, however long they are"""
    queue = MemoryQueue()
    made(queue, 20_000)
    looked: list[int] = []
    kind = queue._board.kinds["k"]
    head = kind.head

    def counted(priority: int) -> Row | None:
        looked.append(priority)
        return head(priority)

    kind.head = counted  # type: ignore[method-assign]
    assert len(Hand(queue).take(100)) == 100
    assert len(looked) <= 400
