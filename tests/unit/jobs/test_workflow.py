"""Flows: several jobs as one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vcache.errors import GraphError, JobFailed, StoreUnavailable, UsageError
from vcache.jobs import Jobs, MemoryQueue, Worker, job
from vcache.jobs.base import Finished
from vcache.jobs.handlers import Registry
from vcache.jobs.models import Plain, Spec
from vcache.jobs.references import resolved
from vcache.jobs.states import Event, State
from vcache.jobs.workflow import Flow


@job("number", retries=0)
def number(value: int) -> dict[str, object]:
    return {"value": value, "parts": [value, value * 10]}


@job("total", retries=0)
def total(values: list[int], more: int = 0) -> int:
    return sum(values) + more


@job("broken", retries=0)
def broken() -> None:
    raise RuntimeError("no luck")


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    with Jobs(MemoryQueue()) as made:
        yield made


@contextmanager
def working(jobs: Jobs) -> Iterator[None]:
    worker = Worker(jobs.queue, Registry([number, total, broken]), mode="threads")
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.drain()
        thread.join(30)
        assert not thread.is_alive()


def test_results_are_handed_on(jobs: Jobs) -> None:
    """A step gets what others returned, and parts of it, in place of what stands for them"""
    flow = jobs.flow()
    parts = flow.map("number", [{"value": value} for value in (1, 2, 3)])
    last = flow.job(
        "total", {"values": [part.result["value"] for part in parts], "more": parts[2].result["parts"][1]}
    )
    flow.submit()
    with working(jobs):
        results = flow.wait(60)
    assert results[last] == 36
    assert results[parts[1]] == {"value": 2, "parts": [2, 20]}
    assert flow.counts() == {State.COMPLETED: 4}


def test_steps_are_one_transaction_in_their_order(jobs: Jobs) -> None:
    """Ids rise along the order of running, all have one parent, and a second submit makes nothing"""
    flow = jobs.flow()
    last = flow.job("total", {"values": []})
    first = flow.job("number", {"value": 1})
    last.after(first)
    ids = flow.submit()
    assert ids == sorted(ids) == [first.id, last.id] == flow.submit()
    found = [each for each in jobs.queue.get(ids) if each is not None]
    assert [each.state for each in found] == [State.QUEUED, State.BLOCKED]
    assert {each.spec.parent for each in found} == {flow.id}
    assert flow.counts() == {State.QUEUED: 1, State.BLOCKED: 1}
    with pytest.raises(UsageError, match="this flow was submitted, make another one"):
        flow.job("number")


def test_a_flow_goes_on_from_another(jobs: Jobs) -> None:
    """Steps come after jobs by id, and after steps of a flow that was submitted, and take their results"""
    earlier = jobs.flow()
    begun = earlier.job("number", {"value": 5})
    later = jobs.flow()
    with pytest.raises(
        UsageError, match=r"cannot come after number \(step 1\) of another flow: submit that one first"
    ):
        later.job("total", {"values": begun.result["parts"]})
    earlier.submit()
    step = later.job("total", {"values": begun.result["parts"]})
    plain = later.job("number", {"value": 0}).after(begun.id)
    later.submit()
    assert step.spec.after == plain.spec.after == (begun.id,)
    with working(jobs):
        assert later.wait(60)[step] == 55


def test_steps_that_wait_for_each_other_are_an_error(jobs: Jobs) -> None:
    """The cycle is shown, and nothing is submitted"""
    flow = jobs.flow()
    first, second = flow.job("number"), flow.job("total")
    first.after(second.after(first))
    with pytest.raises(GraphError, match=r"number \(step 1\) -> total \(step 2\) -> number \(step 1\)"):
        flow.submit()
    assert not jobs.list("queued").jobs
    with pytest.raises(UsageError, match="call its submit"):
        flow.wait()


def test_a_result_is_not_looked_at_before_it_is_there(jobs: Jobs) -> None:
    """To loop over it would never end"""
    with pytest.raises(UsageError, match="not looped over"):
        list(jobs.flow().job("number").result)


def test_a_failure_is_the_one_that_is_raised(jobs: Jobs) -> None:
    """What waited for it is cancelled, and the error is that of the job which failed"""
    flow = jobs.flow()
    flow.job("total", {"values": []}).after(flow.job("broken"))
    flow.submit()
    with working(jobs), pytest.raises(JobFailed, match=r"\(broken\) is dead.*no luck"):
        flow.wait(60)
    assert flow.counts() == {State.DEAD: 1, State.CANCELLED: 1}


def test_a_flow_can_be_cancelled_and_does_not_wait_for_ever(jobs: Jobs) -> None:
    """All of it that has not ended"""
    flow = jobs.flow()
    flow.map("number", [{"value": 1}] * 3)
    flow.submit()
    with pytest.raises(TimeoutError, match="3 of 3 jobs have not ended after 0 s"):
        flow.wait(0)
    assert len(flow.cancel(why="enough")) == 3
    with pytest.raises(JobFailed, match="enough"):
        flow.wait()


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        (["size"], r"needs \['size'\] of the result of job .* which has no 'size'"),
        ([0], "which has no 0"),
        (["value", "x"], "has no 'x'"),
    ],
)
def test_what_a_result_does_not_have_is_said(jobs: Jobs, path: list[str | int], complaint: str) -> None:
    """The job is dead at once, with the part that is missing"""
    flow = jobs.flow()
    result = flow.job("number", {"value": 1}).result
    for key in path:
        result = result[key]
    flow.job("total", {"values": [result]})
    flow.submit()
    with working(jobs), pytest.raises(JobFailed, match=complaint):
        flow.wait(60)


def test_results_of_others_are_not_read_by_naming_them(jobs: Jobs) -> None:
    """Only what a job comes after is handed on; a payload that looks alike stays as it is"""
    other = jobs.submit("number", {"value": 1})
    payload: dict[str, Plain] = {
        "values": {"$result": [other]},
        "more": [{"$result": other}, {"$result": []}, {"$result": [[other]]}, {"$result": [other], "x": 1}],
    }
    alone = jobs.spec("total", payload)
    behind = jobs.spec("total", payload, after=[jobs.submit("number")])
    assert resolved([alone, behind], jobs.queue) == [alone, behind]


def test_a_payload_as_deep_as_a_well_stops_no_worker(jobs: Jobs) -> None:
    """What nobody could have meant is an error of that job, or left as it is"""
    first = jobs.submit("number")
    well: Plain = []
    for _ in range(5000):
        well = [well]
    reference: Plain = {"$result": [first]}
    alone, mixed = (
        Spec("x", "total", payload, after=(first,)) for payload in ({"a": well}, {"a": well, "b": reference})
    )
    assert resolved([alone, mixed], jobs.queue)[0] is alone
    behind = Spec("y", "total", {"a": reference}, after=(first,))
    assert "nested too deeply" in str(resolved([mixed, behind], jobs.queue)[0])


def test_a_result_that_is_gone_is_said(jobs: Jobs) -> None:
    """One that was forgotten, and one that is not there yet, are errors of that job alone"""
    flow: Flow = jobs.flow()
    first = flow.job("number", {"value": 1})
    second = flow.job("total", {"values": first.result["parts"]})
    flow.submit()
    (spec,) = [each.spec for each in jobs.queue.get([second.id]) if each is not None]
    (early,) = resolved([spec], jobs.queue)
    assert "which is queued" in str(early)
    session = jobs.queue.open_session("w", kinds=["number"], lease_s=10)
    (claimed,) = jobs.queue.exchange(session, kinds=["number"], want=1).claimed
    jobs.queue.exchange(session, [Finished(claimed, Event.COMPLETE, {"parts": [1]})])
    plain = jobs.spec("number")
    assert resolved([spec, plain], jobs.queue) == [spec._replace(payload={"values": [1]}), plain]
    jobs.purge("completed")
    (gone,) = resolved([spec], jobs.queue)
    assert "is not kept any more" in str(gone)


def test_a_queue_that_is_away_delays_a_step(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker gives the job back, and it runs when results can be had again"""
    flow = jobs.flow()
    last = flow.job("total", {"values": flow.job("number", {"value": 4}).result["parts"]})
    flow.submit()
    real, away = jobs.queue.get, [True]

    def get(ids: list[str]) -> object:
        if away and threading.current_thread() is not threading.main_thread():
            away.clear()
            raise StoreUnavailable("gone for a moment")
        return real(ids)

    monkeypatch.setattr(jobs.queue, "get", get)
    with working(jobs):
        assert flow.wait(60)[last] == 44
    assert not away


def test_a_batch_of_any_jobs(jobs: Jobs) -> None:
    """Jobs that were submitted in bulk are waited for together, in order, however many"""
    ids = jobs.submit_many([jobs.spec("number", {"value": value}) for value in range(1500)])
    with working(jobs):
        results = jobs.batch(ids).wait(60)
    assert [each["value"] for each in results] == list(range(1500))  # type: ignore[call-overload, index]
