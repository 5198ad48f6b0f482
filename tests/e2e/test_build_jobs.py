"""Builds and jobs together: real builds, real workers, each in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.patience import until
from tests.servers import redis_server
from vcache.jobs.building.handlers import NODE
from vcache.jobs.opening import open_queue
from vcache.jobs.states import State

pytestmark = pytest.mark.e2e

_CALC = Path(__file__).parents[2] / "docs" / "examples" / "calc"
_NODES = "vcache.jobs.building.handlers"
_HANDLERS = """
from vcache.jobs.handlers import GiveUp, job

@job("greet")
def greet(to: str, marks: str) -> str:
    with open(marks, "a") as file:
        file.write(f"{to}\\n")
    if to == "nobody":
        raise GiveUp("there is nobody to greet")
    return f"hello {to}\\n"
"""
_VCACHEFILE = """
from vcache.dag import build, cmd

@build.job("greet", outs=["{to}.txt"])
def greet(to):
    return {"to": to, "marks": MARKS}

@build.step(outs=["all.txt"])
def together(texts):
    return build.sh('cat "$@" > all.txt', *texts)

build.default(together([greet(to) for to in build.option("to", "ann").split(",")]))
"""


class Bench:
    """A cache, a queue, workers and checkouts. All processes end with it, by their ids."""

    def __init__(self, home: Path, queue: str) -> None:
        self.home, self.address = home, queue
        self.environ = {
            **os.environ, "VCACHE_DIR": os.fspath(home / "cache"), "VCACHE_QUEUE": queue,
            "PYTHONPATH": os.fspath(home), "TMPDIR": os.fspath(home / "tmp"),
        }  # fmt: skip
        (home / "tmp").mkdir()
        self.processes: list[subprocess.Popen[str]] = []
        self.queue = open_queue(queue)

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            (sys.executable, "-m", "vcache", *words), cwd=cwd or self.home, env=self.environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def worker(self, module: str = _NODES, *words: str) -> subprocess.Popen[str]:
        known = len(self.queue.sessions())
        process = self.start("worker", "--module", module, *words)
        until(lambda: len(self.queue.sessions()) > known or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        return process

    def calc(self, name: str) -> Path:
        shutil.copytree(_CALC, self.home / name, ignore=shutil.ignore_patterns("target", ".vcache*"))
        return self.home / name

    def build(self, checkout: Path, *words: str) -> subprocess.Popen[str]:
        return self.start("build", "--json", *words, cwd=checkout)

    def n_submitted(self, kind: str = NODE) -> int:
        return self.queue.stats().totals[kind].submitted if kind in self.queue.stats().totals else 0

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.queue.close()


def ended(process: subprocess.Popen[str]) -> dict[str, object]:
    """What a build says at its end; it went well."""
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    found: dict[str, object] = json.loads(said[said.rindex("\n{") if "\n{" in said else said.index("{") :])
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, f"sqlite:{tmp_path}/queue")
    yield made
    made.close()


def test_two_workers_make_a_build_and_the_next_one_has_it(bench: Bench):
    """All commands ran there; in another checkout none has to."""
    for _ in range(2):
        bench.worker(_NODES, "--concurrency", "2")
    first = ended(bench.build(bench.calc("a"), "--executor", "queue://"))
    assert (first["run_count"], first["failed_count"]) == (31, 0)
    assert bench.n_submitted() == 31 + 1  # and the question whether somebody can
    second = ended(bench.build(bench.calc("b"), "--executor", "queue://"))
    assert (second["run_count"], second["hit_count"]) == (0, 31)
    program = bench.home / "b" / "target" / "graph" / "release" / "calc"
    assert (
        subprocess.run([program, "-e", "6 * 7"], capture_output=True, text=True, check=True).stdout == "42\n"
    )


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_two_builds_at_once_run_each_node_once(tmp_path: Path, kind: str):
    """Two checkouts, one queue, one shared cache: what one asks for, the other waits for."""
    with ExitStack() as stack:
        address = f"sqlite:{tmp_path}/queue"
        if kind == "redis":
            (tmp_path / "redis").mkdir()
            address = f"redis://127.0.0.1:{stack.enter_context(redis_server(tmp_path / 'redis')).port}/0"
        bench = Bench(tmp_path, address)
        stack.callback(bench.close)
        for _ in range(2):
            bench.worker(_NODES, "--concurrency", "2")
        builds = [bench.build(bench.calc(name), "--executor", "queue://") for name in ("a", "b")]
        found = [ended(each) for each in builds]
        assert [each["failed_count"] for each in found] == [0, 0]
        assert bench.n_submitted() == 31 + 2
        assert bench.queue.stats().by_state[State.COMPLETED] == 31 + 2
        one, other = ((tmp_path / name / "target/graph/release/calc").read_bytes() for name in ("a", "b"))
        assert one == other


def test_a_killed_worker_costs_a_lease(bench: Bench):
    """Its commands come back by themselves, and the build goes well."""
    victim = bench.worker(_NODES, "--concurrency", "2", "--lease", "2s", "--processes", "0")
    build = bench.build(bench.calc("a"), "--executor", "queue://")
    until(lambda: bench.queue.stats().by_state[State.RUNNING] and bench.n_submitted() > 5)
    victim.send_signal(signal.SIGKILL)
    bench.worker(_NODES, "--concurrency", "2", "--lease", "2s")
    found = ended(build)
    assert (found["run_count"], found["failed_count"]) == (31, 0)


def test_ctrl_c_leaves_nothing_in_the_queue(bench: Bench):
    """What was asked for is cancelled, queued and running alike, and its processes end."""
    bench.worker(_NODES, "--concurrency", "1")
    checkout = bench.home / "slow"
    checkout.mkdir()
    (checkout / "build.ninja").write_text(
        "rule slow\n  command = echo $$$$ > $out.pid; sleep 600; : > $out\n"
        + "".join(f"build out{number}: slow\n" for number in range(3))
    )
    build = bench.build(checkout, "--executor", "queue://", "-j", "3")
    until(lambda: bench.queue.stats().by_state[State.RUNNING] and bench.n_submitted() == 4)
    build.send_signal(signal.SIGINT)
    build.communicate(timeout=60)
    assert build.returncode == 130
    stats = bench.queue.stats()
    assert (stats.by_state[State.QUEUED], stats.by_state[State.RUNNING]) == (0, 0)
    assert stats.by_state[State.CANCELLED] == 3
    until(lambda: not any(session.n_held for session in bench.queue.sessions()))


@pytest.fixture
def greeter(bench: Bench) -> Path:
    """A project with job nodes, and a worker that does them."""
    (bench.home / "greeters.py").write_text(_HANDLERS)
    bench.worker("greeters")
    return project(bench, "p")


def project(bench: Bench, name: str) -> Path:
    checkout = bench.home / name
    checkout.mkdir()
    marks = os.fspath(bench.home / "marks")
    (checkout / "vcachefile.py").write_text(f"MARKS = {marks!r}\n{_VCACHEFILE}")
    return checkout


def marks(bench: Bench) -> list[str]:
    path = bench.home / "marks"
    return path.read_text().split() if path.exists() else []


def test_a_known_job_is_not_run(bench: Bench, greeter: Path):
    """It is run for the first build; later ones, here and elsewhere, have its result."""
    ended(bench.build(greeter, "-D", "to=ann,bob"))
    assert (greeter / "all.txt").read_text() == "hello ann\nhello bob\n"
    ended(bench.build(greeter, "-D", "to=ann,bob"))
    other = project(bench, "q")
    ended(bench.build(other, "-D", "to=bob,ann,cid"))
    assert (other / "all.txt").read_text() == "hello bob\nhello ann\nhello cid\n"
    assert sorted(marks(bench)) == ["ann", "bob", "cid"]


def test_a_node_says_which_job_it_was(bench: Bench, greeter: Path):
    """The build that ran it, and one elsewhere that has its result: in both the log of the node is the same."""
    texts = []
    for checkout in (greeter, project(bench, "q")):
        ended(bench.build(checkout, "-D", "to=ann"))
        log = bench.start("log", "ann.txt", "--json", cwd=checkout)
        texts.append(json.loads(log.communicate(timeout=60)[0])["text"])
    (job,) = bench.queue.list(State.COMPLETED, kind="greet").jobs
    assert texts[0] == texts[1]
    assert texts[0].startswith(f"job {job.id} (greet), attempt 1 on {job.worker} completed in ")


def test_a_dead_job_fails_its_node(bench: Bench, greeter: Path):
    """The build says which job, why, and where it was raised."""
    build = bench.build(greeter, "-D", "to=nobody")
    said = build.communicate(timeout=60)[0]
    assert build.returncode == 1
    assert "there is nobody to greet" in said
    (job,) = bench.queue.list(State.DEAD).jobs
    assert job.id in said
