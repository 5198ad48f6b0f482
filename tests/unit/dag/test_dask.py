"""The executor's own part of a cluster: addresses, what runs here, and who is told. The cluster is a fake."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vcache.cache import Cache
from vcache.dag import dask, events, remote
from vcache.dag.dask import DaskExecutor, Patience
from vcache.dag.executor import Ended, Job
from vcache.dag.node import CONSOLE, Command, Node
from vcache.errors import UsageError

_URL = "dask://somewhere:8786"


class Future:
    """Of a command that a fake cluster carries out, or never does."""

    def __init__(self, reply: object) -> None:
        self.reply = reply
        self.callbacks: list[Callable[[Future], object]] = []
        self.is_done = reply is not None

    def add_done_callback(self, callback: Callable[[Future], object]) -> None:
        self.callbacks.append(callback)
        if self.is_done:
            callback(self)

    def result(self, timeout: float) -> object:
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def cancel(self) -> None:
        self.reply, self.is_done = RuntimeError("cancelled"), True
        for callback in self.callbacks:
            callback(self)

    def release(self) -> None:
        pass


class Cluster:
    """One worker in this process."""

    def __init__(self) -> None:
        self.status = "running"
        self.threads = {"worker": 3}
        self.answer: Callable[[bytes], object] = remote.carry_out
        self.stopped: list[str] = []

    def wait_for_workers(self, count: int, timeout: float) -> None:
        if not self.threads:
            raise TimeoutError

    def nthreads(self, workers: object = None) -> dict[str, int]:
        return self.threads

    def run(self, function: Callable[..., object], *words: object, on_error: str) -> dict[str, object]:
        if function is remote.stop:
            self.stopped += words[0]  # type: ignore[arg-type]
        return {worker: function(*words) for worker in self.threads}

    def submit(self, function: object, packed: bytes, **_: object) -> Future:
        assert function is remote.carry_out
        return Future(self.answer(packed))

    def close(self, timeout: float) -> None:
        self.status = "closed"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    worker = remote._Worker(lambda: os.path.realpath(tmp_path / "trees"))
    monkeypatch.setattr(remote, "_worker", lambda: worker)
    found = Cluster()
    monkeypatch.setattr(dask, "_connected", lambda scheduler, url: found)
    yield found
    worker.close()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    (tmp_path / "project").mkdir()
    with Cache(f"disk:{tmp_path}/cache", root=tmp_path / "project") as made:
        yield made


@pytest.fixture
def executor(cache: Cache, cluster: Cluster) -> Iterator[DaskExecutor]:
    patience = Patience(watch_s=0.01, look_s=0.01, workerless_s=0.05)
    made = DaskExecutor(_URL, cache=cache, patience=patience)
    yield made
    made.close()


def job_of(cache: Cache, shell: str, out: str = "out", *, pool: str = "") -> Job:
    root = os.fspath(cache.root)
    node = Node(name=out, outs=(out,), pool=pool)
    makes = (os.path.join(root, out),)
    return Job(node=node, command=Command(shell=shell), base=root, makes=makes, has_terminal=pool == CONSOLE)


def run(executor: DaskExecutor, job: Job) -> Ended:
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    executor.start(job, ends.put)
    return ends.get(timeout=20)


def test_a_job_goes_to_the_cluster(executor: DaskExecutor, cache: Cache, caplog: pytest.LogCaptureFixture):
    """A job runs there, its output is here, and nobody has anything to say."""
    assert run(executor, job_of(cache, "echo made > out")).status == 0
    assert (cache.root / "out").read_text() == "made\n"
    assert executor.slots == 3
    assert not caplog.records


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (RuntimeError("a worker of this name died"), "its worker failed: a worker of this name died"),
        ({"declined": "worker x has another gcc"}, "worker x has another gcc"),
        ({"nonsense": 1}, "its worker failed: 'status'"),
    ],
)
def test_what_the_cluster_cannot_do_runs_here(
    executor: DaskExecutor,
    cluster: Cluster,
    cache: Cache,
    caplog: pytest.LogCaptureFixture,
    answer: object,
    why: str,
):
    """A reply that is no result costs a run here, and is told once."""
    cluster.answer = lambda packed: answer
    for name in ("a", "b"):
        assert run(executor, job_of(cache, f"echo here > {name}", name)).status == 0
        assert (cache.root / name).read_text() == "here\n"
    assert [record.message for record in caplog.records] == [f"a runs on this machine: {why}"]


def test_a_job_with_the_terminal_runs_here(executor: DaskExecutor, cluster: Cluster, cache: Cache):
    """It is never offered to the cluster."""
    cluster.answer = lambda packed: pytest.fail("it was sent")
    assert run(executor, job_of(cache, "echo > out", pool=CONSOLE)).status == 0


@pytest.mark.parametrize(
    ("status", "threads", "why"),
    [("closed", {"worker": 3}, "the scheduler is gone"), ("running", {}, "the cluster has no workers left")],
)
def test_a_lost_cluster_is_noticed(
    executor: DaskExecutor, cluster: Cluster, cache: Cache, caplog: pytest.LogCaptureFixture,
    status: str, threads: dict[str, int], why: str,
):  # fmt: skip
    """Futures that nobody will ever finish are given up; from then on all runs here."""
    sent = threading.Event()
    cluster.answer = lambda packed: sent.set()
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    executor.start(job_of(cache, "echo here > out"), ends.put)
    assert sent.wait(20)
    cluster.status, cluster.threads = status, threads
    assert ends.get(timeout=20).status == 0
    cluster.answer = lambda packed: pytest.fail("it was sent")
    assert run(executor, job_of(cache, "echo > other", "other")).status == 0
    assert [record.message for record in caplog.records] == [f"out runs on this machine: {why}"]


def test_a_stopped_job_ends_at_once(executor: DaskExecutor, cluster: Cluster, cache: Cache):
    """Its future is cancelled, its worker is told, and whoever waits hears of it once."""
    sent = threading.Event()
    cluster.answer = lambda packed: sent.set()
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    stop = executor.start(job_of(cache, "sleep 100"), ends.put)
    assert sent.wait(20)
    stop()
    stop()
    assert ends.get(timeout=20).is_killed
    executor.close()
    assert len(cluster.stopped) == 1
    assert ends.empty()
    with pytest.raises(UsageError, match="closed"):
        executor.start(job_of(cache, ""), ends.put)


def test_what_others_made_is_learnt_from_events(executor: DaskExecutor, cache: Cache):
    """A generated header that came from the cache reaches a command that was told nothing of it."""
    run(executor, job_of(cache, ": > out"))
    (cache.root / "gen.h").write_text("made meanwhile\n")
    executor.on_event(events.RunStarted("id", 0, os.fspath(cache.root), (), 1))
    executor.on_event(events.Hit(0, Node(name="gen.h", outs=("gen.h",)), "dag:gen.h", 0, 0))
    assert run(executor, job_of(cache, "cat gen.h > out")).status == 0
    assert (cache.root / "out").read_text() == "made meanwhile\n"

    (cache.root / "config.h").write_text("configured\n")
    generator = Node(name="build.ninja", outs=("build.ninja",), is_generator=True)
    executor.on_event(events.Finished(0, generator, 0, 0))
    assert run(executor, job_of(cache, "cat config.h > out")).status == 0
    assert (cache.root / "out").read_text() == "configured\n"


@pytest.mark.parametrize(
    ("url", "scheduler", "shared"),
    [
        ("dask://h:1", "tcp://h:1", ""),
        ("dask://h:1?tls=1", "tls://h:1", ""),
        ("dask://[::1]:1?cache=disk:/a?max=20GB", "tcp://[::1]:1", "disk:/a?max=20GB"),
        ("dask://h:1?tls=0&cache=disk:/a%20b", "tcp://h:1", "disk:/a b"),
    ],
)
def test_an_address_has_a_scheduler_and_a_cache(url: str, scheduler: str, shared: str):
    """Options follow a question mark; a cache's own may do so again."""
    assert dask.parse(url) == (scheduler, shared)


@pytest.mark.parametrize(
    "url", ["dask://", "dask://h", "dask://:1", "dask://h:x", "dask:h:1", "dask://h:1?x=1"]
)
def test_another_address_is_refused(url: str):
    """The error has the address and what to write instead."""
    with pytest.raises(UsageError, match=r"--executor 'dask:.*(write dask://HOST:PORT|none of cache=)"):
        dask.parse(url)


def test_without_workers_nothing_begins(cluster: Cluster, cache: Cache):
    """A scheduler alone is an error that says what to start."""
    cluster.threads = {}
    with pytest.raises(UsageError, match="start some with `dask worker`"):
        DaskExecutor(_URL, cache=cache)


def test_a_cache_that_cannot_be_shared_is_refused(cluster: Cluster):
    """Memory is nobody else's: another cache has to be named."""
    with Cache("mem:1MB") as cache, pytest.raises(UsageError, match="add \\?cache=ADDRESS"):
        DaskExecutor(_URL, cache=cache)


def test_some_workers_that_cannot_take_part_are_left_out(
    cluster: Cluster, cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The others do the work, and the log says who does not."""
    answers = {"good": "", "bad": "worker bad cannot open it: no such directory"}
    monkeypatch.setattr(cluster, "run", lambda function, *words, on_error: answers)
    monkeypatch.setattr(cluster, "nthreads", lambda workers: dict.fromkeys(workers, 2))
    executor = DaskExecutor(_URL, cache=cache)
    assert executor.slots == 2
    executor.close()
    assert "worker bad cannot open it" in caplog.text


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    """Without `distributed` the error says what to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'vcache\[dask\]'"):
        dask._connected("tcp://127.0.0.1:1", _URL)


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "vcache")
