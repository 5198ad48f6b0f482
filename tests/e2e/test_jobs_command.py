"""`vcache jobs`, `vcache worker` and `vcache schedule` as people use them: real processes; where the queue matters, on each."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tests.servers import RedisServer, free_port, redis_server
from vcache.jobs import Jobs, connect

pytestmark = [pytest.mark.e2e]

HANDLERS = """
import os, time
from pathlib import Path
from vcache.jobs import RetryLater, current_job, job

WHO = os.urandom(8).hex()

@job("add")
def add(a: int, b: int = 1) -> int:
    print("not lost")
    current_job().log.info("adding", a=a)
    return a + b

@job("kill", retries=0)
def kill(at: str) -> str:
    if not Path(at, "killed").exists():
        Path(at, "killed").touch()
        os._exit(9)
    return WHO

@job("who")
def who() -> str:
    return WHO

@job("later")
async def later(path: str) -> str:
    return "written"

@job("hold", timeout="2m")
def hold(at: str) -> str:
    me = current_job()
    me.progress(1, 2, "half")
    Path(at, "begun").touch()
    while not Path(at, "go").exists():
        time.sleep(0.01)
    return "held"

@job("asks")
def asks() -> str:
    me = current_job()
    return me.jobs.submit("add", {"a": 1}, parent=me.id)

@job("again")
def again() -> int:
    me = current_job()
    if me.attempt < 3:
        raise RetryLater(0.05)
    return me.attempt
"""
BROKEN = """
from vcache.jobs import job

@job("report", retries=0)
def report(day: str) -> str:
    raise RuntimeError(f"no figures of {day}")
"""


@dataclass
class Desk:
    """A directory with handlers, and a queue."""

    root: Path
    queue: str
    begun: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        ours = {"VCACHE_QUEUE": self.queue, "VCACHE_DIR": os.fspath(self.root / "cache"), "PYTHONUTF8": "1"}
        return {**kept, **ours, "NO_COLOR": "1", "XDG_CONFIG_HOME": os.fspath(self.root), "CI": ""}

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(
            [sys.executable, "-m", "vcache", *words], cwd=self.root, env=self.environ, **given
        )
        self.begun.append(process)
        return process

    def run(self, *words: str, status: int | None = 0) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        if status is not None:
            assert process.returncode == status, err.decode()
        return out.decode() + (err.decode() if status else "")

    def submit(self, *words: str) -> str:
        return self.run("jobs", "submit", *words).strip()

    def show(self, job_id: str) -> dict[str, Any]:
        found = json.loads(self.run("jobs", "show", "--json", job_id))
        assert isinstance(found, dict)
        return found

    def burst(self, module: str = "handlers") -> None:
        self.run("-q", "worker", "--module", module, "--burst")

    def jobs(self) -> Jobs:
        return connect(self.queue)

    def close(self) -> None:
        for process in self.begun:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


on_every_queue = pytest.mark.parametrize("desk", ["sqlite", "redis"], indirect=True)


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    root = tmp_path / "work"
    root.mkdir()
    (root / "handlers.py").write_text(HANDLERS)
    address = f"sqlite:{root}/jobs"
    if getattr(request, "param", "") == "redis":
        server = request.getfixturevalue("redis")
        address = f"redis://127.0.0.1:{server.port}/0?prefix={tmp_path.name}"
    made = Desk(root, address)
    try:
        yield made
    finally:
        made.close()


def held(desk: Desk, *words: str) -> tuple[str, subprocess.Popen[bytes]]:
    """A job that runs until it is let go, and its worker."""
    job_id = desk.submit("hold", f"at={desk.root}")
    process = desk.start("worker", "-m", "handlers", "--lease", "2s", *words)
    until((desk.root / "begun").exists)
    return job_id, process


@on_every_queue
def test_submit_work_show(desk):
    """A job's way through three processes: asked for, run, shown, with its log"""
    job_id, other = desk.submit("add", "a=2"), desk.submit("later", "path=x")
    assert desk.show(job_id)["state"] == "queued"
    desk.burst()
    found = desk.show(job_id)
    assert (found["state"], found["result"], found["attempts"]) == ("completed", 3, 1)
    assert desk.show(other)["result"] == "written"
    assert "adding" in desk.run("jobs", "log", job_id)
    assert "2 completed" not in desk.run("jobs", "log", other)


def test_a_burst_waits_for_what_is_tried_again(desk):
    """It ends when nothing is left, not when nothing is left for a moment"""
    job_id = desk.submit("again")
    desk.burst()
    found = desk.show(job_id)
    assert (found["state"], found["result"]) == ("completed", 3)


def test_a_payload_that_does_not_fit_is_dead(desk):
    """At once, with the reason"""
    job_id = desk.submit("add", "a=two")
    desk.burst()
    found = desk.show(job_id)
    assert (found["state"], found["failures"][0]["reason"]) == ("dead", "invalid")
    assert "a" in found["failures"][0]["message"]


@on_every_queue
def test_dead_mended_and_run_again(desk):
    """The evidence names the line; when the module is mended, a retry completes"""
    (desk.root / "reports.py").write_text(BROKEN)
    job_id = desk.submit("report", "day=monday")
    desk.burst("reports")
    text = desk.run("jobs", "dlq", "show", job_id)
    assert 'reports.py", line 6, in report' in text
    assert "RuntimeError: no figures of monday" in text
    (desk.root / "reports.py").write_text(BROKEN.replace("raise RuntimeError", "return str"))
    assert desk.run("jobs", "dlq", "retry", job_id).split() == [job_id]
    desk.burst("reports")
    assert desk.show(job_id)["result"] == "no figures of monday"
    assert desk.run("jobs", "dlq") == ""


def test_sigterm_drains(desk):
    """What runs ends, and is recorded; the worker's exit code is 0"""
    job_id, process = held(desk)
    waiting = desk.submit("add", "a=1")
    process.send_signal(signal.SIGTERM)
    (desk.root / "go").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert desk.show(job_id)["result"] == "held"
    assert desk.show(waiting)["state"] in ("queued", "completed")


@on_every_queue
def test_ctrl_c_twice_gives_back(desk):
    """What runs is queued again, and no attempt counts"""
    job_id, process = held(desk)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)  # two at once may be one to a process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    found = desk.show(job_id)
    assert (found["state"], found["attempts"]) == ("queued", 0)


@on_every_queue
def test_a_killed_worker_loses_nothing(desk):
    """Another one runs the job, which shows both"""
    job_id, process = held(desk, "--processes", "0")
    process.kill()
    process.wait()
    (desk.root / "go").touch()
    other = desk.start("worker", "-m", "handlers", "--lease", "2s")
    with desk.jobs() as jobs:
        assert jobs.wait(job_id, 60) == "held"
    assert desk.show(job_id)["kills"] == 1
    other.send_signal(signal.SIGTERM)
    other.communicate(timeout=60)
    assert other.returncode == 0


def test_watch_until_it_ends(desk):
    """A line for each change, then the result; its exit code says how it ended"""
    job_id, _ = held(desk)
    watching = desk.start("jobs", "watch", job_id)
    assert watching.stderr is not None
    line = watching.stderr.readline()
    assert line.decode().startswith("vcache: hold running")
    (desk.root / "go").touch()
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b'"held"\n')
    assert b"hold completed in" in err


def test_watch_on_a_terminal(desk):
    """A line that changes in place, and is taken away at the end"""
    job_id, _ = held(desk)
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "vcache", "jobs", "watch", job_id], cwd=desk.root,
        env={**desk.environ, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    desk.begun.append(watching)
    os.close(theirs)
    seen = b""
    while b"50% (1 of 2) half" not in seen:
        seen += os.read(ours, 4096)
    (desk.root / "go").touch()
    assert watching.wait(60) == 0
    while b"completed in" not in seen:
        seen += os.read(ours, 4096)
    assert b"\x1b[1F\x1b[J" in seen
    os.close(ours)


@on_every_queue
def test_cancel_of_what_runs(desk):
    """It is cancelled at once, and who watches it hears of it by the exit code"""
    job_id, _ = held(desk)
    assert desk.run("jobs", "cancel", job_id, "--why", "enough").split() == [job_id]
    assert "cancelled: enough" in desk.run("jobs", "watch", job_id, status=1)


@on_every_queue
def test_stats_limits_and_doctor_from_outside(desk):
    """Who works is seen while they do"""
    desk.run("jobs", "limit", "add", "--running", "2")
    _, _ = held(desk)
    found = json.loads(desk.run("jobs", "stats", "--json"))
    assert found["limits"]["add"]["running"] == 2
    assert [each["n_held"] for each in found["sessions"]] == [1]
    assert " answers in " in desk.run("doctor", status=None)
    (desk.root / "go").touch()


def test_a_batch_is_taken_whole(desk):
    """A pipe of JSON lines"""
    process = desk.start("jobs", "submit", "add", "--batch", "-", stdin=subprocess.PIPE)
    out, _ = process.communicate(b"".join(b'{"a": %d}\n' % n for n in range(500)), timeout=60)
    assert len(out.split()) == 500
    desk.burst()
    with desk.jobs() as jobs:
        assert jobs.stats().totals["add"].completed == 500


def test_a_worker_begins_anew_after_so_many_jobs(desk):
    """In its place, until nothing is left; every job is run once"""
    with desk.jobs() as jobs:
        ids = [jobs.submit("who") for _ in range(7)]
        desk.run("-q", "worker", "-m", "handlers", "--burst", "--max-jobs", "3", "--concurrency", "1")
        found = [jobs.get(each) for each in ids]
    assert all(job is not None and (job.state, job.attempts) == ("completed", 1) for job in found)
    assert len({job.result for job in found if job is not None}) == 3


@pytest.mark.parametrize("words", [(), ("--processes", "2")], ids=["one", "two"])
def test_a_crashed_process_is_replaced(desk, words):
    """At once, and its job comes back without waiting for the lease; SIGTERM ends all with exit code 0"""
    process = desk.start("worker", "-m", "handlers", *words, "--lease", "5m")
    with desk.jobs() as jobs:
        job_id = jobs.submit("kill", {"at": str(desk.root)})
        jobs.wait(job_id, 60)
        job = jobs.get(job_id)
    assert job is not None and job.kills == 1
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert b"ended with status 9; another is started" in err
    assert b"has died: its 1 jobs go to others" in err


def test_a_worker_that_is_killed_is_replaced(desk):
    """As one that crashed. It says who it is by its name and its machine's, and does not outlive its supervisor"""
    process = desk.start("worker", "-m", "handlers", "--name", "shop", "--lease", "5m")
    with desk.jobs() as jobs:
        job_id = jobs.submit("hold", {"at": str(desk.root)})
        until((desk.root / "begun").exists)
        (first,) = jobs.queue.sessions()
        name, _, pid = first.worker.rpartition("/")
        assert name == f"shop@{socket.gethostname()}"
        os.kill(int(pid), signal.SIGKILL)
        (desk.root / "go").touch()
        assert jobs.wait(job_id, 60) == "held"
        (second,) = jobs.queue.sessions()
    assert first.id != second.id
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not Path("/proc", second.worker.rpartition("/")[2], "fd").exists())


@on_every_queue
def test_a_schedule_fires(desk):
    """`schedule run` submits, and says so; SIGTERM ends it with exit code 0"""
    desk.run("schedule", "add", "tick", "every 1s", "add", "a:=1")
    process = desk.start("schedule", "run")
    with desk.jobs() as jobs:
        until(lambda: "add" in jobs.stats().totals)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    at, name, job_id = out.decode().splitlines()[0].split()
    assert (datetime.fromisoformat(at).microsecond, name, desk.show(job_id)["kind"]) == (0, "tick", "add")
    assert "schedule/tick" in desk.run("jobs", "log", job_id)
    desk.burst()
    assert json.loads(desk.run("schedule", "show", "tick", "--json"))["n_fired"] >= 1


def test_a_worker_fires_schedules(desk):
    """Where it is asked to; it runs what it fired, and says what it was"""
    desk.run("schedule", "add", "tick", "every 1s", "add", "a:=1")
    process = desk.start("worker", "-m", "handlers", "--schedules")
    with desk.jobs() as jobs:
        until(lambda: "add" in jobs.stats().totals and jobs.stats().totals["add"].completed)
        (done, *_) = jobs.list("completed", kind="add").jobs
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f" tick {done.id}\n" in err.decode()


def test_metrics(desk):
    """Prometheus fetches what became of jobs"""
    place = f"127.0.0.1:{free_port()}"
    desk.submit("add", "a=1")
    desk.start("worker", "-m", "handlers", "--metrics", place)

    def text() -> str:
        try:
            with urllib.request.urlopen(f"http://{place}/metrics", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    until(lambda: 'vcache_jobs_completed_total{kind="add"} 1.0' in text())


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_a_handler_asks_for_another_job(desk, mode):
    """In the queue that it came from, also from a process of its own"""
    job_id = desk.submit("asks")
    desk.run("-q", "worker", "-m", "handlers", "--burst", "--mode", mode)
    assert desk.show(desk.show(job_id)["result"])["parent"] == job_id


def test_spans(desk):
    """One for each attempt, in the trace of who asked"""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with desk.jobs() as jobs:
        job_id = jobs.submit("add", {"a": 1}, trace=f"00-{trace}-00f067aa0ba902b7-01")
    desk.run("worker", "-m", "handlers", "--burst", "--spans", str(desk.root / "spans"))
    (span,) = map(json.loads, (desk.root / "spans").read_text().splitlines())
    assert (span["name"], span["trace_id"], span["parent_id"]) == ("job add", trace, "00f067aa0ba902b7")
    assert span["attributes"]["vcache.job.id"] == job_id


def test_the_doctor_knows_a_server_that_loses_jobs(redis: RedisServer, tmp_path: Path):
    """One that keeps nothing on a disk, or throws away what it has no room for"""
    desk = Desk(tmp_path, f"redis://127.0.0.1:{redis.port}/0")
    assert "loses at a restart what came since" in desk.run("doctor", status=None)
    settings = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"]
    with redis_server(tmp_path / "other", *settings, "--appendfsync", "no") as other:
        desk = Desk(tmp_path, f"redis://127.0.0.1:{other.port}/0")
        text = desk.run("doctor", status=None)
    assert "set maxmemory-policy noeviction (it is allkeys-lru)" in text
    assert "set appendfsync everysec" in text


def test_a_module_that_is_not_there(desk):
    """A usage error that names the nearest"""
    assert "'handlers'" in desk.run("worker", "-m", "handler", status=2)
    assert "--module" in desk.run("worker", "--no-plugins", status=2)


def test_a_redis_that_does_not_answer(tmp_path: Path):
    """One line with the address, without the password, within seconds; exit code 1"""
    desk = Desk(tmp_path, f"redis://:secret@127.0.0.1:{free_port()}/0")
    text = desk.run("jobs", "submit", "add", status=1)
    assert text.count("\n") == 1 and text.startswith("vcache: error: ")
    assert "127.0.0.1" in text and "secret" not in text
    assert "who named this one: VCACHE_QUEUE" in text
    assert "who named this one: --queue" in desk.run("jobs", "list", "--queue", desk.queue, status=1)
