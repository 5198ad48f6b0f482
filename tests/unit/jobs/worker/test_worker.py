"""Workers over a queue in memory: what comes of handlers that do well, badly, or nothing at all."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from tests.patience import NEVER_S, until
from tests.unit.jobs.worker import yard
from tests.unit.jobs.worker.yard import HANDLERS, ended, working
from vcache.errors import StoreUnavailable, UsageError
from vcache.jobs.base import KILLS, Exchanged, Finished
from vcache.jobs.front import Jobs
from vcache.jobs.handlers import Registry
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.states import State
from vcache.jobs.worker import pump
from vcache.jobs.worker.clerk import Clerk
from vcache.jobs.worker.judge import Judge
from vcache.jobs.worker.run import resident_bytes
from vcache.jobs.worker.tenure import Tenure
from vcache.jobs.worker.worker import Ended, Worker
from vcache.logs.memory import MemoryLogs
from vcache.logs.record import Record
from vcache.metrics import Metrics
from vcache.query.syntax import Everything, Query
from vcache.tracing import Span, SpanContext


@pytest.fixture
def queue() -> Iterator[MemoryQueue]:
    made = MemoryQueue()
    yield made
    made.close()


@pytest.fixture
def jobs(queue) -> Jobs:
    return Jobs(queue)


MODES = ("auto", "threads", "processes")


@pytest.mark.parametrize("mode", MODES)
def test_a_handler_gets_its_payload_and_its_result_is_recorded(queue, jobs, mode):
    """Plain and coroutine functions run in every mode."""
    with working(queue, mode=mode, concurrency=2):
        one, two = jobs.submit("plain", {"number": 4}), jobs.submit("waits")
        assert (jobs.wait(one, 30), jobs.wait(two, 30)) == (5, 3)


@pytest.mark.parametrize("mode", MODES)
def test_a_failing_handler_is_tried_as_often_as_it_says(queue, jobs, mode):
    """The evidence of each attempt is kept: one line, and the traceback without the worker's frames."""
    with working(queue, mode=mode, concurrency=1):
        found = ended(jobs, jobs.submit("raises"))
    assert found.state is State.DEAD
    assert [each.message for each in found.failures] == ["RuntimeError: two lines"] * 3
    assert [each.reason for each in found.failures] == ["error"] * 3
    assert "in raises" in found.failures[0].traceback
    assert "vcache/jobs/worker" not in found.failures[0].traceback


@pytest.mark.parametrize("kind", ["exits", "exits.plain"])
def test_what_would_end_the_process_is_the_jobs_failure(queue, jobs, kind):
    """SystemExit and KeyboardInterrupt of a handler do not reach the worker."""
    with working(queue):
        assert ended(jobs, jobs.submit(kind)).state is State.DEAD
        assert jobs.wait(jobs.submit("plain"), 30) == 2


def test_a_handler_may_give_up_or_come_later(queue, jobs):
    """GiveUp ends it at once; RetryLater says itself how long is waited."""
    with working(queue):
        given_up, late = jobs.submit("gives-up"), jobs.submit("later")
        found = ended(jobs, given_up)
        assert (found.state, found.attempts) == (State.DEAD, 1)
        assert "no such address" in found.failures[0].message
        assert jobs.wait(late, 30) == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        ("plain", {"number": "x"}, "Expected `int`, got `str` - at `$.number`"),
        ("plain", {"nummer": 1}, "unknown field `nummer`; did you mean 'number'?"),
        ("says", {}, "missing required field `text`"),
        ("raises", {"a": 1}, "unknown field `a`"),
        ("odd", {}, "no plain value"),
        ("silent", {}, "a Silent (its text cannot be had), which is no plain value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_dead_at_once_with_the_reason(queue, jobs, kind, payload, said, mode):
    """A poisoned payload or result is tried once, and the queue goes on."""
    with working(queue, mode=mode, concurrency=1):
        found = ended(jobs, jobs.submit(kind, payload))
        assert jobs.wait(jobs.submit("plain"), 30) == 2
    assert (found.state, found.attempts, found.failures[0].reason) == (State.DEAD, 1, "invalid")
    assert said in found.failures[0].message


def test_an_unknown_kind_waits_unless_the_worker_takes_all(queue, jobs):
    """Without a handler here there may be one elsewhere."""
    job_id = jobs.submit("never-heard")
    with working(queue):
        jobs.wait(jobs.submit("plain"), 30)
    assert jobs.get(job_id).state is State.QUEUED
    with working(queue, takes_unknown=True, kinds=["never-heard"]):
        found = ended(jobs, job_id)
    assert (found.state, found.failures[0].reason) == (State.DEAD, "unknown")


def test_an_attempt_that_takes_too_long_is_ended(queue, jobs):
    """A coroutine is cancelled; a thread is left to itself, and replaced."""
    gate = yard.gates["t"] = threading.Event()
    with working(queue, concurrency=1) as worker:
        for kind, payload in (("hangs", {}), ("hangs.plain", {"gate": "t"})):
            found = ended(jobs, jobs.submit(kind, payload))
            assert (found.state, found.failures[0].reason) == (State.DEAD, "timeout")
        assert jobs.wait(jobs.submit("plain"), 30) == 2, "the thread was replaced"
        gate.set()
        until(lambda: worker.n_running == 0)
    assert jobs.stats().totals["hangs.plain"].completed == 0


def test_a_process_that_takes_too_long_is_killed(queue, jobs):
    """And another one takes its place."""
    with working(queue, mode="processes", concurrency=1):
        found = ended(jobs, jobs.submit("hangs"))
        assert (found.state, found.failures[0].reason) == (State.DEAD, "timeout")
        assert jobs.wait(jobs.submit("plain"), 30) == 2


def test_a_job_that_kills_its_process_is_quarantined_and_its_neighbours_complete(queue, jobs):
    """Exactly the job that was in the dead process is to blame."""
    with working(queue, mode="processes", concurrency=2):
        poison = jobs.submit("dies")
        others = [jobs.submit("plain", {"number": number}) for number in range(20)]
        assert [jobs.wait(each, 30) for each in others] == list(range(1, 21))
        found = ended(jobs, poison)
    assert (found.state, found.kills) == (State.DEAD, KILLS)
    assert "SIGKILL" in found.failures[-1].message or "SIGKILL" in found.why
    assert all(jobs.get(each).kills == 0 for each in others)


def test_a_process_is_replaced_after_its_jobs(queue, jobs):
    """Each does as many as it may."""
    with working(queue, mode="processes", concurrency=1, most_jobs=2) as worker:
        pids = [jobs.wait(jobs.submit("pid"), 30) for _ in range(4)]
        assert worker.n_running == 0
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_cancelled_jobs_are_stopped(queue, jobs):
    """Coroutines by cancelling them; threads that look are told."""
    with working(queue) as worker:
        ids = [jobs.submit("until-cancelled"), jobs.submit("looks")]
        until(lambda: worker.n_running == 2)
        until(lambda: jobs.get(ids[0]).progress is not None)
        said = jobs.get(ids[0]).progress
        assert said[:3] == (1, 2, "half")
        assert jobs.get(ids[0]).started_ns <= said.at_ns <= queue.now_ns()
        jobs.cancel(ids)
        until(lambda: worker.n_running == 0)
    assert [jobs.get(each).state for each in ids] == [State.CANCELLED] * 2


def test_draining_waits_for_what_runs_then_gives_it_back(queue, jobs):
    """What did not end within the grace period is queued again, and no attempt is counted."""
    with working(queue) as worker:
        job_id = jobs.submit("until-cancelled")
        until(lambda: worker.n_running == 1)
    found = jobs.get(job_id)
    assert (found.state, found.attempts) == (State.QUEUED, 0)
    assert not jobs.stats().sessions


def test_a_worker_ends_after_so_many_jobs(queue, jobs):
    """It says that it is to be replaced, and leaves the rest."""
    ids = [jobs.submit("plain") for _ in range(5)]
    before_s = sys.getswitchinterval()
    assert Worker(queue, HANDLERS, most_jobs=3).run() is Ended.RECYCLE
    assert [jobs.get(each).state for each in ids].count(State.COMPLETED) == 3
    assert sys.getswitchinterval() == before_s


def test_a_handler_knows_its_job_and_may_submit_others(queue, jobs):
    """`current_job()` says what the job is."""
    with working(queue):
        job_id = jobs.submit("says", {"text": "hello"}, tags=("a", "b"), parent="p")
        assert jobs.wait(job_id, 30) == {
            "id": job_id,
            "kind": "says",
            "attempt": 1,
            "tags": ["a", "b"],
            "parent": "p",
        }
        assert jobs.wait(str(jobs.wait(jobs.submit("submits"), 30)), 30) == 6


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_attempts_are_records_of_a_log_store(queue, jobs, mode):
    """Begin, what the handler says, and end, all found by the job."""
    store = MemoryLogs()
    with working(queue, log=store, mode=mode, concurrency=1):
        job_id, bad = jobs.submit("says", {"text": "hello"}), jobs.submit("gives-up")
        jobs.wait(job_id, 30)
        ended(jobs, bad)

        def said(wanted: str) -> set[str]:
            found = cast("Iterator[Record]", store.search(Query(Everything())).rows)
            return {each.message for each in found if each.fields.get("job") == wanted}

        until(lambda: said(job_id) == {"started", "hello", "completed"})
        until(lambda: said(bad) == {"started", "failed for the last time"})


def test_attempts_are_counted_and_traced(queue, jobs):
    """Counts and histograms by kind; a span below the one of who submitted."""
    metrics, spans = Metrics(), _Spans()
    parent = SpanContext.below(None)
    with working(queue, metrics=metrics, spans=spans):
        (job_id,) = jobs.submit_many([jobs.spec("plain")._replace(trace=parent.traceparent)])
        jobs.wait(job_id, 30)
        ended(jobs, jobs.submit("raises"))
    text = metrics.text().decode()
    for line in (
        'vcache_jobs_completed_total{kind="plain"} 1.0',
        'vcache_jobs_failed_total{kind="raises"} 3.0',
        'vcache_jobs_retried_total{kind="raises"} 2.0',
        'vcache_jobs_dlq_total{kind="raises"} 1.0',
        'vcache_job_duration_seconds_count{kind="raises"} 3.0',
        'vcache_job_wait_seconds_count{kind="plain"} 1.0',
    ):
        assert line in text
    assert spans.n_flushed, "they are delivered while it works, too"
    (mine,) = [each for each in spans.found if each.name == "job plain"]
    assert (mine.context.trace_id, mine.parent, mine.status) == (parent.trace_id, parent, "ok")


def test_a_blocked_loop_does_not_lose_the_lease(queue, jobs):
    """Beats come from threads of their own: the job runs once."""
    with working(queue, lease_s=0.2), working(queue, lease_s=0.2):
        job_id = jobs.submit("blocks-loop", {"seconds": 1.0})
        assert jobs.wait(job_id, 30) == 1
    assert jobs.get(job_id).kills == 0


def test_a_lost_session_is_followed_by_a_new_one(queue, jobs, caplog):
    """What ran under the old one is stopped, and what it came to is dropped."""
    gate = yard.gates["l"] = threading.Event()
    with working(queue) as worker:
        job_id = jobs.submit("until-cancelled")
        until(lambda: worker.n_running == 1)
        old = worker.session
        queue.end_session(old)
        until(lambda: worker.session != old)
        gate.set()
        assert jobs.wait(jobs.submit("plain"), 30) == 2
        until(lambda: jobs.get(job_id).attempts == 2)
    assert "lease ran out" in caplog.text


def test_limits_of_handlers_are_set(queue):
    """A worker tells the queue what all of them together may do."""
    from vcache.jobs.handlers import job

    @job("bound", rate="120/m", concurrency=3)
    def bound() -> None: ...

    worker = Worker(queue, Registry([bound]))
    worker.drain(0)
    worker.run()
    assert (queue.limits()["bound"].rate, queue.limits()["bound"].running) == (2.0, 3)


def test_nonsense_is_refused_with_words(queue):
    """A kind without a handler, a mode that is none, no handlers at all."""
    with pytest.raises(UsageError, match="did you mean 'plain'"):
        Worker(queue, HANDLERS, kinds=["plane"])
    with pytest.raises(UsageError, match="mode='fibers'"):
        Worker(queue, HANDLERS, mode="fibers")
    with pytest.raises(UsageError, match="nothing to do"):
        Worker(queue, Registry())


class _Flaky(MemoryQueue):
    """A queue behind a bad line: calls fail before or after they took effect."""

    def __init__(self) -> None:
        super().__init__()
        self._dice = random.Random(4)
        self.n_faults = 0

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        fate = self._dice.random() if self.n_faults < 12 else 1.0
        if fate < 0.2:
            self.n_faults += 1
            raise StoreUnavailable("the request was lost")
        found = super().exchange(session, finished, kinds=kinds, want=want)
        if fate < 0.4:
            self.n_faults += 1
            raise StoreUnavailable("the answer was lost")
        return found


def test_faults_of_the_queue_lose_no_result_and_repeat_no_job():
    """What is held after a fault is asked for: unknown jobs are started, known ones acknowledged again."""
    queue = _Flaky()
    jobs, before = Jobs(queue), len(yard.seen)
    with working(queue, concurrency=3):
        ids = [jobs.submit("sees") for _ in range(60)]
        for each in ids:
            jobs.wait(each, 60)
    assert queue.n_faults == 12
    assert sorted(yard.seen[before:]) == sorted(ids), "each ran once"
    assert jobs.stats().totals["sees"].completed == 60
    queue.close()


class _Forgetful(MemoryQueue):
    """A queue of which one answer is lost: the one that says what was cancelled."""

    n_lost = 0

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        found = super().exchange(session, finished, kinds=kinds, want=want)
        if found.revoked and not self.n_lost:
            self.n_lost += 1
            raise StoreUnavailable("the answer was lost")
        return found


def test_who_was_cancelled_in_a_lost_answer_is_stopped():
    """After a fault, what the queue does not count as held any more does not go on."""
    queue = _Forgetful()
    jobs = Jobs(queue)
    with working(queue, concurrency=1, lease_s=0.4) as worker:
        job_id = jobs.submit("until-cancelled")
        until(lambda: worker.n_running == 1)
        jobs.cancel(job_id)
        assert jobs.wait(jobs.submit("plain"), 60) == 2
    assert queue.n_lost == 1
    queue.close()


def test_a_session_that_was_lost_before_this_one_is_no_matter(queue, jobs):
    """Another thread may hear of it late: what the next session holds goes on."""
    with working(queue, concurrency=1) as worker:
        job_id = jobs.submit("until-cancelled")
        until(lambda: worker.n_running == 1)
        session = worker.session
        worker._pump.lost("an older one")
        worker._pump.doubt()
        until(lambda: not worker._pump._is_unsure)
        assert (worker.session, worker.n_running) == (session, 1)
        jobs.cancel(job_id)


def test_time_runs_out_also_while_others_keep_the_worker_busy(queue, jobs):
    """Who takes too long is looked for between any two exchanges."""
    with working(queue, concurrency=2):
        slow = jobs.submit("hangs")
        over = threading.Event()

        def flood() -> None:
            while not over.is_set():
                jobs.submit_many([jobs.spec("plain") for _ in range(50)])

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            assert ended(jobs, slow).failures[0].reason == "timeout"
        finally:
            over.set()
            thread.join()


class _Spans:
    def __init__(self) -> None:
        self.found: list[Span] = []
        self.n_flushed = 0

    def add(self, span: Span) -> None:
        self.found.append(span)

    def flush(self) -> None:
        self.n_flushed = len(self.found)

    def close(self) -> None: ...


@pytest.mark.parametrize("mode", ["auto", "threads"])
@pytest.mark.parametrize("kind", ["plain", "waits"])
def test_a_fault_of_the_workers_own_fails_the_job_and_nothing_hangs(queue, jobs, mode, kind, monkeypatch):
    """Whatever goes wrong between a handler and the queue: the job says so, and its thread goes on."""

    def broken(*_: object) -> None:
        raise RuntimeError("not to be judged")

    with working(queue, mode=mode, concurrency=1):
        with monkeypatch.context() as patch:
            patch.setattr(Judge, "returned", broken)
            job_id = jobs.submit(kind, retries=0)
            found = ended(jobs, job_id)
        assert jobs.wait(jobs.submit("plain"), 30) == 2
    assert (found.state, found.failures[0].reason) == (State.DEAD, "error")
    assert "the worker could not see to it: RuntimeError: not to be judged" in found.failures[0].message


def test_a_cancelled_coroutine_in_a_thread_is_cancelled(queue, jobs, caplog):
    """At its next await, as on the loop of all: the thread is not lost."""
    with working(queue, mode="threads", concurrency=1, lease_s=1) as worker:
        job_id = jobs.submit("until-cancelled")
        until(lambda: jobs.get(job_id).progress is not None)
        jobs.cancel([job_id])
        assert jobs.wait(jobs.submit("plain"), 30) == 2
        assert worker.n_running == 0
    assert "does not end" not in caplog.text


def test_a_thread_that_does_not_look_has_its_time_then_another_takes_its_place(
    queue, jobs, caplog, monkeypatch
):
    """Who comes to its end within it is no matter; who does not is said once."""
    caplog.set_level("WARNING")
    first, second = (yard.gates.setdefault(each, threading.Event()) for each in ("one", "two"))
    with working(queue, concurrency=1, lease_s=1) as worker:
        ids = [jobs.submit("waits-for", {"gate": "one"}), jobs.submit("plain")]
        until(lambda: worker.n_running == 1)
        monkeypatch.setattr(pump, "_LOOK_UP_S", NEVER_S)
        jobs.cancel(ids[:1])
        until(lambda: next(iter(worker._pump.running)).is_cancelled)
        assert jobs.get(ids[1]).state is State.QUEUED, "it still has its place"
        first.set()
        assert jobs.wait(ids[1], 30) == 2
        assert not caplog.messages
        monkeypatch.setattr(pump, "_LOOK_UP_S", 0.1)
        lost = jobs.submit("waits-for", {"gate": "two"})
        until(lambda: worker.n_running == 1)
        jobs.cancel([lost])
        assert jobs.wait(jobs.submit("plain"), 30) == 2
        second.set()
    assert [each for each in caplog.messages if lost in each] == [
        f"job {lost} (waits-for) does not end on being told so (revoked): what it returns will be dropped"
    ]


def test_what_cannot_be_recorded_at_all_is_dropped_and_the_rest_goes_on(caplog):
    """One whose replacement is refused too: it is said once, and others are not held up."""

    class Picky(MemoryQueue):
        def exchange(
            self,
            session: str,
            finished: Sequence[Finished] = (),
            *,
            kinds: Sequence[str] = (),
            want: int = 0,
        ) -> Exchanged:
            if any(each.claimed.spec.tags for each in finished):
                raise ValueError("not this one")
            return super().exchange(session, finished, kinds=kinds, want=want)

    queue = Picky()
    jobs = Jobs(queue)
    with working(queue) as worker:
        bad = jobs.submit("plain", tags=("bad",))
        until(lambda: "cannot be recorded at all" in caplog.text)
        assert jobs.wait(jobs.submit("plain"), 30) == 2
        assert worker.n_running == 0
        assert [each.id for each in queue.list(State.RUNNING).jobs] == [bad]
    assert caplog.text.count("cannot be recorded at all") == 1
    assert [each.id for each in queue.list(State.QUEUED).jobs] == [bad]
    queue.close()


def test_a_queue_that_stays_away_is_said_now_and_then(caplog, monkeypatch):
    """Not five times a second."""
    clerk = Clerk(MemoryQueue(), cast("Tenure", None), tallies=())
    now_s = 100.0
    monkeypatch.setattr("vcache.jobs.worker.clerk.perf_counter", lambda: now_s)
    for _ in range(2):
        for _ in range(10):
            clerk._warn("reports", StoreUnavailable("away"))
        clerk._warn("log", StoreUnavailable("the disk is full"))
        now_s += 31
    assert caplog.messages == ["away", "the disk is full"] * 2


def test_memory_is_told_where_there_is_no_proc(monkeypatch):
    """As the most that the process ever took."""
    there = resident_bytes()

    def none(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", none)
    assert resident_bytes() >= there // 2
