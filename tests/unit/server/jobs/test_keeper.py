"""Who looks after queues: leases that are over, what time brings, schedules; and faults of one that are not another's."""

from __future__ import annotations

from collections.abc import Callable

from vcache.errors import StoreUnavailable
from vcache.jobs.base import Queue, Session
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Spec
from vcache.jobs.schedules import Schedules, make_schedule
from vcache.jobs.states import State
from vcache.kit.ids import uuid7
from vcache.server.jobs.keeper import Keeper
from vcache.server.jobs.queues import Queues


class Time:
    """Seconds that pass when they are told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def kept(make: Callable[[str], Queue], *, fires: bool = True) -> tuple[Queues, Keeper, Time, list[str]]:
    queues, time, lost = Queues(make), Time(), list[str]()
    return queues, Keeper(queues, lost=lost.extend, fires=fires, monotonic=time), time, lost


def test_what_a_silent_worker_held_comes_back() -> None:
    """After its lease, by the keeper's own clock; one that beats is left alone."""
    queues, keeper, time, lost = kept(lambda _: MemoryQueue())
    queue = queues.of("")
    (job_id,) = queue.submit([Spec(uuid7.text(), "k", {})])
    session = queue.open_session("w", kinds=["k"], lease_s=10)
    queue.exchange(session, kinds=["k"], want=1)
    keeper.look()
    time.now_s += 7
    queue.exchange(session)
    keeper.look()
    time.now_s += 7
    keeper.look()
    assert lost == []
    time.now_s += 1
    keeper.look()
    assert lost == [job_id]
    (job,) = queue.get([job_id])
    assert job is not None
    assert (job.state, job.kills) == (State.QUEUED, 1)


def test_a_fault_of_one_queue_is_not_the_others() -> None:
    """It is said why it does not answer, until it does."""

    class Gone(MemoryQueue):
        is_gone = True

        def sessions(self) -> list[Session]:
            if self.is_gone:
                raise StoreUnavailable("no answer")
            return []

    queues, keeper, _, _ = kept(lambda namespace: Gone() if namespace == "gone" else MemoryQueue())
    gone = queues.of("gone")
    assert isinstance(gone, Gone)
    queues.of("there")
    keeper.look()
    assert keeper.troubles == {"gone": "no answer"}
    gone.is_gone = False
    keeper.look()
    assert keeper.troubles == {}


def test_schedules_fire_where_they_may() -> None:
    """Those of a queue that somebody asked for; not where the server is told not to."""
    for fires in (True, False):
        queues, keeper, time, _ = kept(lambda _: MemoryQueue(), fires=fires)
        queue = queues.of("")
        made = Schedules(queue, clock=lambda: 0).put(make_schedule("s", "k", when="every 1s", misfire="once"))
        assert made.done_ns == 0
        time.now_s += 10
        keeper.look()
        assert queue.stats().by_state[State.QUEUED] == (1 if fires else 0)


def test_queues_that_have_jobs_are_opened() -> None:
    """Their schedules are to fire though nobody asks; those that have none are left alone."""
    opened: list[str] = []

    def make(namespace: str) -> Queue:
        opened.append(namespace)
        return MemoryQueue()

    queues = Queues(make, are_kept=lambda namespace: namespace != "empty")
    keeper = Keeper(queues, lost=lambda _: None)
    keeper.start(["full", "empty"])
    keeper.close()
    assert opened == ["full"]
