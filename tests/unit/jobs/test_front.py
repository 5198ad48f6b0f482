"""Jobs as a program asks for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest

import vcache.jobs
from vcache.errors import JobFailed, UsageError
from vcache.jobs.asking import in_order, unique_key
from vcache.jobs.base import Claimed, Finished
from vcache.jobs.front import Jobs
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Failure, Plain, Priority, Spec
from vcache.jobs.states import Event, State
from vcache.testing import FakeClock

_S = 10**9


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def jobs(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.delenv("TRACEPARENT", raising=False)
    with Jobs(MemoryQueue(clock=clock), sleep=clock.sleep) as jobs:
        yield jobs


def _take(jobs: Jobs, kind: str = "k") -> tuple[str, Claimed]:
    session = jobs.queue.open_session("worker", kinds=[kind], lease_s=10)
    (claimed,) = jobs.queue.exchange(session, kinds=[kind], want=1).claimed
    return session, claimed


def _run(
    jobs: Jobs, event: Event = Event.COMPLETE, result: Plain = None, failure: Failure | None = None
) -> None:
    session, claimed = _take(jobs)
    jobs.queue.exchange(session, [Finished(claimed, event, result, failure)])


def test_a_spec_says_what_was_asked(jobs: Jobs, clock: FakeClock) -> None:
    """each argument in its field, times by the queue's clock"""
    deadline = dt.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    spec = jobs.spec(
        "email.send", {"to": "ann"}, priority="HIGH", delay="1m30s", deadline=deadline, timeout="30s", retries=0,
        unique="key", unique_for="1h", after=["a", "b"], parent="p", tags=("x",), trace="00-1-2-01",
    )  # fmt: skip
    deadline_ns = 1_704_157_445_678_901_000
    assert spec == Spec(
        spec.id, "email.send", {"to": "ann"}, Priority.HIGH, clock(), clock() + 90 * _S, deadline_ns, 30.0, 0,
        "key", 3600.0, ("a", "b"), "p", ("x",), "", "00-1-2-01",
    )  # fmt: skip


def test_plain_asking_says_nothing_more(jobs: Jobs, clock: FakeClock) -> None:
    """a job without options has the defaults, so that its packed form is short"""
    assert jobs.spec("k")[1:] == Spec("", "k", {}, Priority.MEDIUM, clock())[1:]


@pytest.mark.parametrize(
    ("given", "at_s"),
    [
        ({"delay": 5}, 5),
        ({"delay": "5m"}, 300),
        ({"delay": dt.timedelta(hours=1)}, 3600),
        ({"delay": 0}, None),
        ({"not_before": dt.datetime(2024, 1, 1, 0, 0, 9, tzinfo=dt.UTC)}, 9),
        ({"not_before": dt.datetime(2023, 1, 1, tzinfo=dt.UTC)}, -365 * 86_400),
    ],
)
def test_a_start_is_a_delay_or_a_time(
    jobs: Jobs, clock: FakeClock, given: dict[str, object], at_s: int | None
) -> None:
    """in each form, and none for at once"""
    spec = jobs.spec("k", **given)  # type: ignore[arg-type]
    assert spec.not_before_ns == (0 if at_s is None else clock() + at_s * _S)


@pytest.mark.parametrize(
    "deadline", ["10m", 600, dt.timedelta(minutes=10), "2024-01-01T00:10:00Z", "2024-01-01 01:10+01:00"]
)
def test_a_deadline_is_a_time_or_a_stretch(jobs: Jobs, clock: FakeClock, deadline: str | float) -> None:
    """in each form"""
    assert jobs.spec("k", deadline=deadline).deadline_ns == clock() + 600 * _S


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": ""}, r"kind='': give the name of a handler"),
        ({"kind": 5}, r"kind=5: give the name"),
        ({"payload": ["x"]}, r"job 'k': its payload is \['x'\], a list: give a dict"),
        ({"payload": "x"}, r"its payload is 'x', a str: give a dict"),
        ({"payload": {1: "x"}}, r"has the name 1, which is no text"),
        ({"payload": {"x": {1, 2}}}, r"job 'k': its payload \{'x': \{1, 2\}\} is not made of"),
        ({"priority": "hihg"}, r"job 'k': unknown priority 'hihg'; did you mean 'high'"),
        ({"priority": "urgent"}, r"unknown priority 'urgent'; there is 'critical', 'high'"),
        ({"priority": 4}, r"priority=4: give 'critical', 'high', 'medium', 'low', or 0 to 3"),
        ({"priority": True}, r"priority=True"),
        ({"delay": -1}, r"job 'k': delay: not a duration: -1"),
        ({"delay": "soon"}, r"delay: not a duration: 'soon'"),
        ({"delay": 1, "not_before": dt.datetime(2030, 1, 1, tzinfo=dt.UTC)}, r"both delay=1 and not_before="),
        ({"not_before": dt.datetime(2030, 1, 1)}, r"not_before=2030-01-01 00:00:00 says no zone.*astimezone\(\)"),
        ({"not_before": "2030-01-01"}, r"not_before='2030-01-01': give a datetime with a zone"),
        ({"deadline": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, r"deadline=2020-01-01 00:00:00\+00:00 is past already"),
        ({"deadline": dt.datetime(2030, 1, 1)}, r"deadline=2030-01-01 00:00:00 says no zone"),
        ({"deadline": "2030-01-01T00:00:00"}, r"deadline=2030-01-01 00:00:00 says no zone"),
        ({"deadline": "2030-13-01"}, r"deadline='2030-13-01': "),
        ({"deadline": 0}, r"deadline=0 is past already"),
        ({"deadline": "later"}, r"deadline: not a duration"),
        ({"timeout": 0}, r"timeout=0: no attempt could end in time"),
        ({"timeout": -5}, r"timeout: not a duration: -5"),
        ({"retries": -1}, r"retries=-1: give how many"),
        ({"retries": 1.5}, r"retries=1.5"),
        ({"retries": True}, r"retries=True"),
        ({"unique": 5}, r"unique=5: give a text"),
        ({"unique_for": "1h"}, r"unique_for='1h' without unique"),
        ({"unique": "x", "unique_for": 0}, r"unique_for=0: leave it out"),
        ({"unique": True, "payload": {"x": object()}}, r"job 'k': its payload has no digest"),
        ({"after": "id"}, r"after='id': give a list: \['id'\]"),
        ({"after": [5]}, r"after has 5: give texts"),
        ({"after": [""]}, r"after has ''"),
        ({"tags": "x"}, r"tags='x': give a list"),
        ({"parent": None}, r"parent=None: give a text"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(jobs: Jobs, given: dict[str, object], said: str) -> None:
    """with the job, the argument, the value, and what to give; and nothing is kept"""
    with pytest.raises(UsageError, match=said):
        jobs.submit(**{"kind": "k", **given})  # type: ignore[arg-type]
    assert sum(jobs.stats().by_state.values()) == 0


@vcache.jobs.job("urgent", priority="high", unique=True)
def urgent(number: int) -> int:
    return number


def test_a_job_may_be_asked_for_by_its_handler(jobs: Jobs) -> None:
    """What it says of priority and key counts, unless the asker says otherwise; a flow's step has no key."""
    spec = jobs.spec(urgent, {"number": 1})
    assert (spec.kind, spec.priority) == ("urgent", Priority.HIGH)
    first = jobs.submit(urgent, {"number": 1})
    assert jobs.submit(urgent, {"number": 1}) == first
    assert jobs.submit(urgent, {"number": 1}, unique=False) != first
    said = jobs.spec(urgent, {"number": 1}, priority=0, unique="mine")
    assert (said.priority, said.unique) == (Priority.CRITICAL, "mine")
    assert jobs.flow().job(urgent, {"number": 1}).spec.unique == ""
    with pytest.raises(UsageError, match="or a function with @job"):
        jobs.spec(len)


def test_unique_is_a_key_or_the_payload(jobs: Jobs) -> None:
    """equal payloads are the same job whatever the order of their fields; of other kinds they are not"""
    first = jobs.submit("k", {"a": 1, "b": {"x": [1], "y": 2}}, unique=True)
    assert jobs.submit("k", {"b": {"y": 2, "x": (1,)}, "a": 1}, unique=True) == first
    others = [
        jobs.submit("k", {"a": 1, "b": {"x": 1, "y": 2}}, unique=True),
        jobs.submit("other", {"a": 1, "b": {"x": [1], "y": 2}}, unique=True),
        jobs.submit("k", {"a": 1}, unique="key"), jobs.submit("k"),
    ]  # fmt: skip
    assert len({first, *others}) == 5
    assert jobs.submit("k", unique="key") == others[2]


@pytest.mark.parametrize(
    ("one", "two"), [({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), ({"a": "x"}, {"a": b"x"}), ({"a": {}}, {"a": []}),
                     ({"a": {"b": 1}}, {"a": [{}, ["b", 1]]}), ({}, {"a": None})],
)  # fmt: skip
def test_other_payloads_have_other_keys(one: dict[str, Plain], two: dict[str, Plain]) -> None:
    """also where Python takes the values for equal, or their order could be mistaken"""
    assert unique_key("k", one) != unique_key("k", two)


def test_many_are_submitted(jobs: Jobs, clock: FakeClock) -> None:
    """in their order, in parts; a spec without an id or a time is given them"""
    ids = jobs.submit_many(Spec("", "k", {"n": number}) for number in range(12_000))
    assert len(set(ids)) == 12_000
    assert ids == sorted(ids)
    assert [job and job.spec.payload["n"] for job in jobs.queue.get(ids[::4000])] == [0, 4000, 8000]
    job = jobs.get(ids[5])
    assert job is not None
    assert job.spec.created_ns == clock()
    own = jobs.spec("k", tags=["x"])
    assert jobs.submit_many([own, Spec("", "k", {}, 0, 7), own])[0::2] == [own.id, own.id]
    assert jobs.submit_many([]) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec("", ""), "job of the kind ''"),
        (Spec("", 5), "job of the kind 5"),  # type: ignore[arg-type]
        (Spec("", "k", [1]), "its payload is"),  # type: ignore[arg-type]
        (Spec("", "k", {"x": object()}), "is not made of"),  # type: ignore[dict-item]
        (Spec("", "k", {1: 2}), "which is no text"),  # type: ignore[dict-item]
        (Spec("", "k", {}, 7), "priority=7"),
        (Spec("", "k", {}, -1), "priority=-1"),
        (Spec("", "k", {}, "high"), "priority"),  # type: ignore[arg-type]
    ],
)
def test_many_with_a_wrong_one_are_refused(jobs: Jobs, spec: Spec, said: str) -> None:
    """none of its part is kept"""
    with pytest.raises(UsageError, match=said):
        jobs.submit_many([Spec("", "k"), spec])
    assert sum(jobs.stats().by_state.values()) == 0


def test_many_may_come_in_any_order(jobs: Jobs) -> None:
    """what is after another one of its part waits for it, wherever that stands"""
    first = jobs.spec("k")
    second = jobs.spec("k", after=[first.id])
    third = jobs.spec("k", after=[second.id, first.id, "nobody"])
    assert jobs.submit_many([third, second, first]) == [third.id, second.id, first.id]
    states = [job and job.state for job in jobs.queue.get([first.id, second.id, third.id])]
    assert states == [State.QUEUED, State.BLOCKED, State.BLOCKED]


def test_jobs_that_wait_for_each_other_are_refused(jobs: Jobs) -> None:
    """a circle would never start; a long chain is no circle"""
    one, two = jobs.spec("one"), jobs.spec("two")
    with pytest.raises(
        UsageError, match=r"job 'two' comes after 'one', which comes after it|job 'one' comes after"
    ):
        jobs.submit_many([one._replace(after=(two.id,)), two._replace(after=(one.id,))])
    with pytest.raises(UsageError, match="cycle"):
        jobs.submit_many([one._replace(after=(one.id,))])
    chain = [Spec(str(number), "k", after=(str(number + 1),)) for number in range(5_000)]
    assert [spec.id for spec in in_order(chain)] == [str(number) for number in reversed(range(5_000))]


def test_whose_jobs_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """each says its queue's namespace, and the trace that started the process"""
    monkeypatch.setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    with Jobs(MemoryQueue(namespace="ci")) as jobs:
        ids = [jobs.submit("k"), *jobs.submit_many([Spec("", "k"), Spec("", "k", trace="mine")])]
        specs = [job.spec for job in jobs.queue.get(ids) if job]
        assert {spec.namespace for spec in specs} == {"ci"}
        assert [spec.trace[-2:] for spec in specs] == ["01", "01", "ne"]


def test_the_current_span_is_the_trace(jobs: Jobs) -> None:
    """of a program that has OpenTelemetry"""
    from opentelemetry import trace

    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        assert jobs.spec("k").trace == f"00-{0xABC:032x}-{0xDEF:016x}-01"
    assert jobs.spec("k").trace == ""


# --- waiting ---------------------------------------------------------------------------------


def test_who_waits_gets_the_result(jobs: Jobs) -> None:
    """of what completed, at once"""
    job_id = jobs.submit("k")
    _run(jobs, result={"sent": [1, 2]})
    assert jobs.wait(job_id) == {"sent": [1, 2]}


def test_waiting_looks_again(jobs: Jobs, clock: FakeClock) -> None:
    """less and less often, until the job has ended"""
    pauses: list[float] = []

    def sleep(for_s: float) -> None:
        clock.sleep(for_s)
        pauses.append(for_s)
        if len(pauses) == 30:
            _run(jobs, result=5)

    job_id = jobs.submit("k")
    assert Jobs(jobs.queue, sleep=sleep).wait(job_id) == 5
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.002, 0.25)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (
            lambda jobs, job_id: jobs.cancel(job_id, why="no need"),
            r"\(k\) is cancelled after 0 attempts: no need$",
        ),
        (
            lambda jobs, _: _run(
                jobs, Event.GIVE_UP, failure=Failure(1, 1, "error", "it fell", "Traceback:\n  line 5")
            ),
            r"\(k\) is dead after 1 attempts: it fell\nTraceback:\n  line 5$",
        ),
    ],
)
def test_what_failed_says_why(jobs: Jobs, end: Callable[[Jobs, str], object], said: str) -> None:
    """who waits for it is told, with the traceback of the last attempt"""
    job_id = jobs.submit("k")
    end(jobs, job_id)
    with pytest.raises(JobFailed, match=said):
        jobs.wait(job_id)


def test_patience_ends(clock: FakeClock) -> None:
    """a job that does not end in time is said to be where it is"""
    jobs = Jobs(MemoryQueue(), sleep=lambda for_s: None)
    job_id = jobs.submit("k")
    with pytest.raises(TimeoutError, match=r"\(k\) is queued after 0 s"):
        jobs.wait(job_id, timeout_s=0)
    with pytest.raises(UsageError, match=r"job 'nobody' is not known"):
        jobs.wait("nobody")


def test_a_job_that_is_forgotten_meanwhile(jobs: Jobs) -> None:
    """has no result to give"""

    def sleep(for_s: float) -> None:
        _run(jobs)
        jobs.purge("completed")

    job_id = jobs.submit("k")
    with pytest.raises(JobFailed, match="was forgotten before its result was seen"):
        Jobs(jobs.queue, sleep=sleep).wait(job_id)


# --- the rest --------------------------------------------------------------------------------


def test_one_or_many_are_cancelled_and_requeued(jobs: Jobs) -> None:
    """an id alone is one job, not its letters"""
    one, two = jobs.submit("k"), jobs.submit("k")
    assert jobs.cancel(one) == [one]
    assert jobs.cancel(iter([one, two])) == [two]
    assert jobs.requeue(one) == [one]
    assert jobs.requeue([one, two], keep_attempts=True) == [two]


def test_lists_and_purges_take_words(jobs: Jobs, clock: FakeClock) -> None:
    """states by name; a list may be walked whole"""
    ids = jobs.submit_many([Spec("", "k")] * 2500)
    assert [job.id for job in jobs.each("queued", kind="k")] == ids
    assert len(jobs.list("queued", limit=10).jobs) == 10
    jobs.cancel(ids[:5])
    clock.advance(3600)
    jobs.cancel(ids[5:6])
    assert jobs.purge("cancelled", older_than="30m") == 5
    assert jobs.purge(State.CANCELLED) == 1
    with pytest.raises(UsageError, match=r"no state of jobs: 'ded'; did you mean 'dead'"):
        jobs.list("ded")


def test_the_public_names_are_there() -> None:
    """each is found, and no other one"""
    for name in vcache.jobs.__all__:
        assert getattr(vcache.jobs, name) is not None
    assert dir(vcache.jobs) == sorted(vcache.jobs.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Que'"):
        vcache.jobs.Que  # noqa: B018
