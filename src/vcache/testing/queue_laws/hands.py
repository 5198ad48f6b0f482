"""Who asks and who works, in the laws of queues. It must not know which queue is tested."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from vcache.jobs.base import Claimed, Exchanged, Finished, Queue
from vcache.jobs.models import Failure, Job, Payload, Plain, Spec
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7

__all__ = [
    "Base", "Hand", "at_once", "ended", "failure", "job_of", "made", "said", "spec", "states_of",
]  # fmt: skip


class Base:
    """What the parts of the suite have in common.

    Attributes:
        patience_s: how long something that is to come at once may take on a machine that is busy.
    """

    patience_s = 30.0

    def advance(self, queue: Queue, seconds: float) -> None:
        """Let time pass on the queue's clock: for who tests a queue to say how."""
        raise AssertionError(
            f"{type(self).__name__}.advance(queue, seconds) has to move the clock of {queue!r}"
        )


class Hand:
    """A worker's process: a session, and what it claims and ends in it."""

    def __init__(self, queue: Queue, *kinds: str, worker: str = "a worker", lease_s: float = 10.0) -> None:
        self.queue = queue
        self.kinds = kinds or ("k",)
        self.session = queue.open_session(worker, kinds=self.kinds, lease_s=lease_s)

    def take(self, want: int = 1) -> list[Claimed]:
        """Claim jobs."""
        return list(self.exchange(want=want).claimed)

    def exchange(self, *finished: Finished, want: int = 0) -> Exchanged:
        """Say what ended, and claim."""
        return self.queue.exchange(self.session, finished, kinds=self.kinds, want=want)

    def one(self) -> Claimed:
        """The one job that there is."""
        (found,) = self.take(2)
        return found

    def complete(self, claimed: Claimed, result: Plain = None) -> list[str]:
        """Complete a job; what is refused."""
        return list(self.exchange(Finished(claimed, Event.COMPLETE, result)).refused)

    def fail(self, claimed: Claimed, event: Event = Event.TRY_AGAIN, delay_s: float = 0.0) -> list[str]:
        """Fail a job; what is refused."""
        return list(
            self.exchange(Finished(claimed, event, failure=failure(claimed), delay_s=delay_s)).refused
        )

    def release(self, claimed: Claimed) -> list[str]:
        """Give a job back; what is refused."""
        return list(self.exchange(Finished(claimed, Event.RELEASE)).refused)

    def die(self) -> list[str]:
        """Be lost; the ids of what was held."""
        return list(self.queue.end_session(self.session))


def spec(kind: str = "k", payload: Payload | None = None, **fields: object) -> Spec:
    """A job as it is asked for."""
    return Spec(uuid7.text(), kind, payload or {})._replace(**fields)  # type: ignore[arg-type]


def made(queue: Queue, count: int = 1, kind: str = "k", **fields: object) -> list[str]:
    """Ids of jobs that were submitted, in order."""
    return list(queue.submit([spec(kind, {"number": number}, **fields) for number in range(count)]))


def failure(claimed: Claimed, message: str = "it fell") -> Failure:
    """Why an attempt came to nothing."""
    return Failure(1, claimed.attempt, "error", message, "Traceback …", "a worker")


def job_of(queue: Queue, job_id: str) -> Job:
    """A job that is known."""
    (job,) = queue.get([job_id])
    assert job is not None, f"job {job_id} is not known"
    return job


def states_of(queue: Queue, ids: Sequence[str]) -> list[State | None]:
    """Where jobs stand."""
    return [None if job is None else job.state for job in queue.get(ids)]


def ended(queue: Queue, event: Event = Event.COMPLETE) -> str:
    """The id of a job that ended so: by COMPLETE, GIVE_UP or CANCEL."""
    hand = Hand(queue, "ends")
    (job_id,) = made(queue, kind="ends")
    if event is Event.CANCEL:
        queue.cancel([job_id])
    elif event is Event.GIVE_UP:
        hand.fail(hand.one(), event)
    else:
        hand.complete(hand.one())
    hand.die()
    return job_id


def said(value: object) -> object:
    """A value with lists for tuples, as it may come back."""
    if isinstance(value, (list, tuple)):
        return [said(each) for each in value]
    if isinstance(value, dict):
        return {key: said(each) for key, each in value.items()}
    return value


def at_once(*works: Callable[[], object], patience_s: float) -> None:
    """Let threads do this at the same time; what one of them raises is raised here.

    Raises:
        AssertionError: one of them has not ended in time.
    """
    failed: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            start.wait(patience_s)
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience_s)
        assert not thread.is_alive(), "a call did not return"
    if failed:
        raise failed[0]
