"""A queue as the place of job nodes: one run for two builds, evidence of failures, stopping."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.patience import until
from vcache.dag.errands import Errand
from vcache.errors import NodeFailed
from vcache.jobs.base import Claimed, Finished
from vcache.jobs.building.endings import Endings
from vcache.jobs.building.place import QueuePlace
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Failure, Job, Spec
from vcache.jobs.states import Event, State

_ERRAND = Errand("mail", {"to": "ann"}, "key", "send", "high", 5.0, 1)


@pytest.fixture
def queue() -> Iterator[MemoryQueue]:
    made = MemoryQueue()
    yield made
    made.close()


@pytest.fixture
def new(queue: MemoryQueue) -> Iterator[Callable[[], QueuePlace]]:
    """Places of builds; the queue outlives them, as another process's does."""
    queue.close = lambda: None  # type: ignore[method-assign]
    made: list[QueuePlace] = []

    def make() -> QueuePlace:
        made.append(QueuePlace(lambda: queue, parent="run"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def claim(queue: MemoryQueue) -> tuple[str, Claimed]:
    session = queue.open_session("w", kinds=["mail"], lease_s=60)
    found: list[Claimed] = []

    def look() -> bool:
        found.extend(queue.exchange(session, kinds=["mail"], want=1).claimed)
        return bool(found)

    until(look)
    return session, found[0]


def test_builds_that_want_the_same_wait_for_one_job(
    queue: MemoryQueue, new: Callable[[], QueuePlace], threads: ThreadPoolExecutor
):
    """Both get its result; the job says what was asked."""
    places = [new(), new()]
    results = [threads.submit(each.run, _ERRAND) for each in places]
    until(lambda: all(map(waits, places)))
    session, claimed = claim(queue)
    spec = claimed.spec
    assert (spec.kind, spec.payload, spec.priority, spec.timeout_s, spec.retries, spec.parent) == (
        "mail", {"to": "ann"}, 1, 5.0, 1, "run",
    )  # fmt: skip
    queue.exchange(session, [Finished(claimed, Event.COMPLETE, {"id": 7})])
    assert [each.result(20).value for each in results] == [{"id": 7}, {"id": 7}]
    assert queue.stats().totals["mail"].submitted == 1


def waits(place: QueuePlace) -> bool:
    """Whether somebody waits in it."""
    return place._opened is not None and bool(place._opened[1]._waiting)


def test_a_dead_job_fails_with_its_evidence(
    queue: MemoryQueue, new: Callable[[], QueuePlace], threads: ThreadPoolExecutor
):
    """Which job it was, why, in which attempt, and where it was raised."""
    result = threads.submit(new().run, _ERRAND)
    session, claimed = claim(queue)
    failure = Failure(0, 1, "error", "ValueError: no", "Traceback\n  line 7", "host:1")
    queue.exchange(session, [Finished(claimed, Event.GIVE_UP, failure=failure)])
    with pytest.raises(NodeFailed) as caught:
        result.result(20)
    assert str(caught.value).splitlines() == [
        f"send: job {claimed.spec.id} (mail) is dead: ValueError: no",
        f"error in attempt 1 on host:1; `vcache jobs show {claimed.spec.id}` shows all of them",
        "Traceback",
        "  line 7",
    ]


def test_it_says_how_a_job_was_done(
    queue: MemoryQueue, new: Callable[[], QueuePlace], threads: ThreadPoolExecutor
):
    """A line for each attempt, with who it was and why it failed; and in which run that was asked for."""
    result = threads.submit(new().run, _ERRAND)
    session, claimed = claim(queue)
    failure = Failure(queue.now_ns(), 1, "error", "ValueError: no\nway", "Traceback", "host:1")
    queue.exchange(session, [Finished(claimed, Event.TRY_AGAIN, failure=failure)])
    session, claimed = claim(queue)
    queue.exchange(session, [Finished(claimed, Event.COMPLETE, "sent")])
    answer = result.result(20)
    text = b"".join(data for _, _, data in answer.told.chunks).decode()
    name = f"job {claimed.spec.id} (mail)"
    first, second = text.splitlines()
    assert first == f"{name}, attempt 1 on host:1 failed (error): ValueError: no way"
    assert re.fullmatch(
        re.escape(f"{name}, attempt 2 on w completed in ")
        + r"\d+\.\d{3} s; see vcache jobs log "
        + claimed.spec.id,
        second,
    )
    assert answer.told.origin == "run"
    times = [at_ns for _, at_ns, _ in answer.told.chunks]
    assert times == sorted(times) and times[0] >= 0


def test_a_stopped_build_cancels_what_it_asked_for(
    queue: MemoryQueue, new: Callable[[], QueuePlace], threads: ThreadPoolExecutor
):
    """A build that waits for the same asks for it anew."""
    first, second = new(), new()
    mine = threads.submit(first.run, _ERRAND)
    until(lambda: queue.list(State.QUEUED).jobs)
    others = threads.submit(second.run, _ERRAND)
    until(lambda: waits(second))
    first.stop()
    with pytest.raises(NodeFailed, match="interrupted"):
        mine.result(20)
    session, claimed = claim(queue)
    queue.exchange(session, [Finished(claimed, Event.COMPLETE, "made")])
    assert others.result(20).value == "made"


def test_who_did_not_ask_for_it_cancels_nothing(
    queue: MemoryQueue, new: Callable[[], QueuePlace], threads: ThreadPoolExecutor
):
    """A build that only waits for another one's job leaves it alone when it is stopped."""
    queue.submit([Spec("id", "mail", {}, unique="vcache.build:key")])
    place = new()
    result = threads.submit(place.run, _ERRAND)
    until(lambda: waits(place))
    place.stop()
    with pytest.raises(NodeFailed, match="interrupted"):
        result.result(20)
    assert [job.id for job in queue.list(State.QUEUED).jobs] == ["id"]
    with pytest.raises(NodeFailed, match="interrupted"):
        place.run(_ERRAND)


def test_a_cancelled_job_fails_the_node(
    queue: MemoryQueue, new: Callable[[], QueuePlace], threads: ThreadPoolExecutor
):
    """Somebody cancelled it by its id: the build says why."""
    result = threads.submit(new().run, _ERRAND)
    until(lambda: queue.list(State.QUEUED).jobs)
    (job,) = queue.list(State.QUEUED).jobs
    queue.cancel([job.id], why="not today")
    with pytest.raises(NodeFailed, match="is cancelled: not today"):
        result.result(20)


def test_many_ends_are_told_each_once(queue: MemoryQueue):
    """Also of jobs that are not known; what is forgotten is not told."""
    told: list[tuple[str, Job | None]] = []
    lock = threading.Lock()

    def on_end(job_id: str) -> Callable[[Job | None], None]:
        def end(job: Job | None) -> None:
            with lock:
                told.append((job_id, job))

        return end

    ids = list(queue.submit([Spec(f"{number:04}", "mail", {}) for number in range(600)]))
    endings = Endings(queue)
    for job_id in (*ids, "unknown"):
        endings.watch(job_id, on_end(job_id))
    silent = on_end("0")
    endings.watch(ids[0], silent)
    assert endings.forget(ids[0], silent)
    assert not endings.forget(ids[0], silent)
    queue.cancel(ids)
    until(lambda: len(told) == 601)
    endings.close()
    assert {job_id for job_id, _ in told} == {*ids, "unknown"}
    assert dict(told)["unknown"] is None
