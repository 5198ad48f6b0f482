"""Commands of builds as jobs of a queue: one run for two builds, stopped ones, lost ones. The worker is a thread."""

from __future__ import annotations

import os
import queue as queues
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.patience import until
from vcache.cache import Cache
from vcache.dag import remote
from vcache.dag.away import Patience
from vcache.dag.executor import Ended, Job
from vcache.dag.node import CONSOLE, Command, Node
from vcache.errors import UsageError
from vcache.jobs.base import Claimed, Finished
from vcache.jobs.building.carrier import QueueExecutor, Where, parse
from vcache.jobs.building.handlers import NODE
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Failure
from vcache.jobs.states import Event, State

_PATIENCE = Patience(watch_s=0.01, look_s=0.01, workerless_s=0.2)
Answer = Callable[[bytes], Mapping[str, object] | None]


class Worker:
    """Takes jobs in a thread; what it does not answer, it holds."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue = queue
        self.session = queue.open_session("worker", kinds=[NODE], lease_s=60)
        self.answer: Answer = remote.carry_out
        self.held: list[Claimed] = []
        self.packed: list[bytes] = []
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        finished: list[Finished] = []
        while not self._is_ended.is_set():
            claimed = self.queue.exchange(self.session, finished, kinds=[NODE], want=8).claimed
            finished = list(filter(None, map(self._finished, claimed)))
            if not finished:
                self.queue.wait([NODE], 0.02)

    def _finished(self, claimed: Claimed) -> Finished | None:
        payload = claimed.spec.payload
        if payload.get("probe"):
            address, key, version = payload["probe"]  # type: ignore[misc, str-unpack]
            return Finished(claimed, Event.COMPLETE, {"why_not": remote.probe(address, key, version)})  # type: ignore[arg-type]
        packed = payload["packed"]
        assert isinstance(packed, bytes)
        self.packed.append(packed)
        try:
            reply = self.answer(packed)
        except RuntimeError as error:
            failure = Failure(0, 1, "error", str(error))
            return Finished(claimed, Event.GIVE_UP, failure=failure)
        if reply is None:
            self.held.append(claimed)
            return None
        return Finished(claimed, Event.COMPLETE, reply)  # type: ignore[arg-type]

    def close(self) -> None:
        self._is_ended.set()
        self._thread.join()


@pytest.fixture
def queue() -> Iterator[MemoryQueue]:
    made = MemoryQueue()
    yield made
    made.close()


@pytest.fixture
def worker(queue: MemoryQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    place = remote._Worker(lambda: os.path.realpath(tmp_path / "trees"))
    monkeypatch.setattr(remote, "_worker", lambda: place)
    made = Worker(queue)
    yield made
    made.close()
    place.close()


def checkout(tmp_path: Path, name: str) -> Cache:
    (tmp_path / name).mkdir()
    return Cache(f"disk:{tmp_path}/cache", root=tmp_path / name)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with checkout(tmp_path, "project") as made:
        yield made


@pytest.fixture
def executor(cache: Cache, queue: MemoryQueue, worker: Worker) -> Iterator[QueueExecutor]:
    made = QueueExecutor("queue://", queue, cache=cache, patience=_PATIENCE)
    yield made
    made.close()


def job_of(cache: Cache, shell: str, out: str = "out", *, key: str = "", pool: str = "") -> Job:
    root = os.fspath(cache.root)
    node = Node(name=out, outs=(out,), pool=pool)
    makes = (os.path.join(root, out),)
    command = Command(shell=shell)
    return Job(node=node, command=command, base=root, makes=makes, has_terminal=pool == CONSOLE, key=key)


def run(executor: QueueExecutor, job: Job) -> Ended:
    ends: queues.SimpleQueue[Ended] = queues.SimpleQueue()
    executor.start(job, ends.put)
    return ends.get(timeout=20)


@pytest.mark.parametrize(
    ("url", "queue", "cache"),
    [
        ("queue://", "", ""),
        ("queue://redis://host:6379/0", "redis://host:6379/0", ""),
        ("queue:///a/b?cache=disk:/c%20d", "/a/b", "disk:/c d"),
        ("queue://redis://h:1/0?prefix=p&cache=s3://b", "redis://h:1/0?prefix=p", "s3://b"),
    ],
)
def test_an_address_says_where_the_queue_is(url: str, queue: str, cache: str):
    """The queue's own options stay its own."""
    assert parse(url) == Where(queue, cache)


@pytest.mark.parametrize("url", ["queue:/x", "queue://?cach=disk:/x"])
def test_a_wrong_address_is_refused(url: str):
    """With the part that is wrong."""
    with pytest.raises(UsageError, match="queue"):
        parse(url)


def test_a_job_goes_to_a_worker(
    executor: QueueExecutor, cache: Cache, worker: Worker, caplog: pytest.LogCaptureFixture
):
    """A command runs there, its output and words are here, and nobody has anything to say."""
    ended = run(executor, job_of(cache, "echo said; echo made > out"))
    assert (ended.status, [data for _, _, data in ended.chunks]) == (0, [b"said\n"])
    assert (cache.root / "out").read_text() == "made\n"
    assert len(worker.packed) == 1
    assert not caplog.records


def test_a_failure_is_the_commands_own(executor: QueueExecutor, cache: Cache, worker: Worker):
    """A command that fails is a job that completed: it is not tried again."""
    assert run(executor, job_of(cache, "exit 3", key="k")).status == 3
    assert len(worker.packed) == 1


def test_two_builds_have_one_run(
    executor: QueueExecutor, cache: Cache, queue: MemoryQueue, worker: Worker, tmp_path: Path
):
    """What another checkout asked for under the same key is not run again, and is had there as well."""
    assert run(executor, job_of(cache, "echo made > out", key="k")).status == 0
    with checkout(tmp_path, "other") as other:
        second = QueueExecutor("queue://", queue, cache=other, patience=_PATIENCE)
        assert run(second, job_of(other, "echo made > out", key="k")).status == 0
        second.close()
        assert (other.root / "out").read_text() == "made\n"
    assert len(worker.packed) == 1


@pytest.mark.parametrize("shell", ["pwd > out", "pwd; : > out", "ln -s $PWD/x out"])
def test_a_result_that_names_its_place_is_no_other_ones(
    executor: QueueExecutor, cache: Cache, queue: MemoryQueue, worker: Worker, tmp_path: Path, shell: str
):
    """Another checkout has it made for itself."""
    run(executor, job_of(cache, shell, key="k"))
    with checkout(tmp_path, "other") as other:
        second = QueueExecutor("queue://", queue, cache=other, patience=_PATIENCE)
        ended = run(second, job_of(other, shell, key="k"))
        second.close()
        out = other.root / "out"
        said = b"".join(data for _, _, data in ended.chunks).decode()
        said += os.readlink(out) if out.is_symlink() else out.read_text()
        assert os.fspath(other.root) in said
        assert os.fspath(cache.root) not in said


def test_anothers_failure_is_not_ours(
    executor: QueueExecutor, cache: Cache, queue: MemoryQueue, worker: Worker, tmp_path: Path
):
    """What failed for another build is tried for this one."""
    shell = f"mkdir {tmp_path}/once && exit 3; echo made > out"
    assert run(executor, job_of(cache, shell, key="k")).status == 3
    again = QueueExecutor("queue://", queue, cache=cache, patience=_PATIENCE)
    assert run(again, job_of(cache, shell, key="k")).status == 0
    again.close()


def test_a_stopped_job_is_cancelled(
    executor: QueueExecutor, cache: Cache, queue: MemoryQueue, worker: Worker
):
    """Whoever waits hears of it once, and no worker takes it."""
    worker.answer = lambda packed: None
    ends: queues.SimpleQueue[Ended] = queues.SimpleQueue()
    stop = executor.start(job_of(cache, "sleep 100"), ends.put)
    until(lambda: worker.held)
    stop()
    stop()
    assert ends.get(timeout=20).is_killed
    executor.close()
    assert ends.empty()
    assert len(queue.list(State.CANCELLED, kind=NODE).jobs) == 1
    with pytest.raises(UsageError, match="closed"):
        executor.start(job_of(cache, ""), ends.put)


def test_who_waits_for_a_stopped_build_asks_anew(
    executor: QueueExecutor, cache: Cache, queue: MemoryQueue, worker: Worker, tmp_path: Path
):
    """A build that waits for another one's job has its own when that is cancelled."""
    worker.answer = lambda packed: None
    ends: queues.SimpleQueue[Ended] = queues.SimpleQueue()
    stop = executor.start(job_of(cache, "echo made > out", key="k"), ends.put)
    until(lambda: worker.held)
    with checkout(tmp_path, "other") as other:
        second = QueueExecutor("queue://", queue, cache=other, patience=_PATIENCE)
        second.start(job_of(other, "echo made > out", key="k"), ends.put)
        until(lambda: second._carrier._errands)  # type: ignore[attr-defined]
        worker.answer = remote.carry_out
        stop()
        assert sorted(ends.get(timeout=20).is_killed for _ in range(2)) == [False, True]
        second.close()
    assert len(worker.packed) == 2


def test_what_no_worker_can_do_runs_here(
    executor: QueueExecutor, cache: Cache, worker: Worker, caplog: pytest.LogCaptureFixture
):
    """A handler that raises costs a run here, and is told once."""

    def fail(packed: bytes) -> None:
        raise RuntimeError("boom")

    worker.answer = fail
    for name in ("a", "b"):
        assert run(executor, job_of(cache, f"echo here > {name}", name)).status == 0
    assert caplog.records[0].message.startswith("a runs on this machine: ")
    assert "boom" in caplog.records[0].message


def test_workers_that_are_gone_are_noticed(
    executor: QueueExecutor,
    cache: Cache,
    queue: MemoryQueue,
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
):
    """What waits for them runs here, and no worker that comes later takes it."""
    worker.close()
    queue.end_session(worker.session)
    assert run(executor, job_of(cache, "echo here > out")).status == 0
    assert [record.message for record in caplog.records] == [
        f"out runs on this machine: the queue mem: has no workers for {NODE}"
    ]
    executor.close()
    assert not queue.list(State.QUEUED, kind=NODE).jobs


def test_a_queue_without_workers_is_told(cache: Cache, queue: MemoryQueue):
    """How to start some is said, and nothing is left in the queue."""
    with pytest.raises(UsageError, match=r"has no workers for vcache\.node: start some with `vcache worker"):
        QueueExecutor("queue://", queue, cache=cache, patience=_PATIENCE)
    assert not queue.list(State.QUEUED, kind=NODE).jobs


def test_a_cache_that_workers_cannot_open_is_told(
    cache: Cache, queue: MemoryQueue, worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    """With what the worker says."""
    monkeypatch.setattr(remote, "probe", lambda *_: "worker x cannot open it")
    with pytest.raises(UsageError, match="worker x cannot open it"):
        QueueExecutor("queue://", queue, cache=cache, patience=_PATIENCE)
