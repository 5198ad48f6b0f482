"""Jobs as processes of this machine: what they get, how they end, what is left of them."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vcache.dag.executor import Ended, Job
from vcache.dag.local import LocalExecutor, cpu_quota, default_slots
from vcache.dag.node import Command, Node
from vcache.discovery import begin
from vcache.errors import UsageError


@pytest.fixture
def executor():
    made = LocalExecutor(slots=2)
    yield made
    made.close()


def job_of(base: Path, shell: str = "", **options) -> Job:
    makes = tuple(os.path.join(base, out) for out in options.pop("outs", ()))
    has_terminal = options.pop("has_terminal", False)
    command = Command(shell=shell, **options)
    return Job(
        node=Node(name="n", work=command),
        command=command,
        base=str(base),
        makes=makes,
        has_terminal=has_terminal,
    )


def run(executor: LocalExecutor, job: Job) -> Ended:
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    executor.start(job, ends.put)
    return ends.get(timeout=20)


def written(ended: Ended, stream: int = 1) -> bytes:
    return b"".join(data for number, _, data in ended.chunks if number == stream)


def test_output_in_order_with_times(executor, tmp_path):
    """Both streams are told in the order in which they were written, each piece with its time"""
    ended = run(executor, job_of(tmp_path, "echo a; sleep 0.1; echo b >&2; sleep 0.1; echo c"))
    assert [(stream, data) for stream, _, data in ended.chunks] == [(1, b"a\n"), (2, b"b\n"), (1, b"c\n")]
    times = [at_ns for _, at_ns, _ in ended.chunks]
    assert 0 < times[0] < times[0] + 90_000_000 < times[1] < times[1] + 90_000_000 < times[2] < ended.took_ns
    assert (ended.status, ended.gap, ended.is_killed, ended.opened) == (0, "", False, None)


def test_an_argv_is_no_shell_line(executor, tmp_path):
    """Arguments reach the program as they are"""
    ended = run(executor, job_of(tmp_path, argv=("printf", "%s|", "a b", "$HOME", "*")))
    assert written(ended) == b"a b|$HOME|*|"


def test_where_it_runs(executor, tmp_path):
    """In the base, or in a directory below it"""
    (tmp_path / "sub").mkdir()
    assert written(run(executor, job_of(tmp_path, "pwd -P"))).strip() == os.fsencode(tmp_path.resolve())
    ended = run(executor, job_of(tmp_path, "pwd -P", cwd="sub"))
    assert written(ended).strip() == os.fsencode(tmp_path.resolve() / "sub")


def test_its_environment(tmp_path):
    """The caller's variables, and above them the command's"""
    executor = LocalExecutor(environ={"PATH": os.environ["PATH"], "A": "caller", "B": "caller"})
    ended = run(executor, job_of(tmp_path, "echo $A $B", env={"B": "node"}))
    assert written(ended) == b"caller node\n"
    executor.close()


def test_directories_of_outputs_are_there(executor, tmp_path):
    """A command finds the directories of what it writes, and a directory that is an output itself"""
    ended = run(
        executor,
        job_of(
            tmp_path,
            "touch a/b/out dep/d/out.d && test -d tree/all",
            outs=["a/b/out", "tree/all/"],
            depfile="dep/d/out.d",
        ),
    )
    assert (ended.status, ended.chunks) == (0, ())


def test_what_changes_meanwhile_is_known(executor, tmp_path):
    """A file that is changed while a job runs is stamped at or after its beginning, others before"""
    for name in ("still.h", "edited.h", "replaced.h", "touched.h"):
        (tmp_path / name).write_text("x")
    # What was written in the same tick of the clock of files cannot be told apart, and counts as changed.
    settled_ns = max(path.stat().st_ctime_ns for path in tmp_path.iterdir())
    until(lambda: begin(waits=False) > settled_ns)
    script = "echo y >> edited.h; cp edited.h t; mv t replaced.h; touch -d 2001-01-01 touched.h"
    ended = run(executor, job_of(tmp_path, script))
    changed = {path.name for path in tmp_path.iterdir() if path.stat().st_ctime_ns >= ended.began_ns}
    assert changed == {"edited.h", "replaced.h", "touched.h"}


@pytest.mark.parametrize(("script", "keeps", "is_left"), [("true", False, False), ("false", False, True), ("true", True, True)])  # fmt: skip
def test_a_response_file(tmp_path, script, keeps, is_left):
    """It is there for the command, removed after a success unless kept, and left after a failure"""
    executor = LocalExecutor(keeps_rsp=keeps)
    ended = run(
        executor, job_of(tmp_path, f"cat d/a.rsp; {script}", rspfile="d/a.rsp", rsp_content="one\ntwo \udcff")
    )
    assert written(ended) == b"one\ntwo \xff"
    assert (tmp_path / "d/a.rsp").exists() is is_left
    executor.close()


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("no-such-program", 127)]
)
def test_the_status_is_a_shells(executor, tmp_path, script, status):
    """As $? would say"""
    assert run(executor, job_of(tmp_path, script)).status == status


def test_what_cannot_be_run_is_said(executor, tmp_path):
    """A missing program is 127, one that may not be run 126, each with a line that names it"""
    plain = tmp_path / "plain"
    plain.touch()
    for argv, cwd, status, words in (
        (("no-such-program",), "", 127, b"cannot run 'no-such-program': no such program on PATH"),
        ((str(plain),), "", 126, b"Permission denied"),
        (("true",), "nowhere", 127, b"its working directory"),
        (("true", "a\0b"), "", 126, b"null byte"),
        (("true", *["x" * 100_000] * 100), "", 126, b"response file"),
    ):
        ended = run(executor, job_of(tmp_path, argv=argv, cwd=cwd))
        assert ended.status == status
        assert words in written(ended, 2)
        assert written(ended, 2).startswith(b"vcache: n: ")


def test_too_long_is_124(executor, tmp_path):
    """A job beyond its time limit is ended with all that it started, and says so"""
    started = time.monotonic()
    ended = run(executor, job_of(tmp_path, "echo begun; sleep 60 & echo $! > pid; sleep 60", timeout_s=0.3))
    assert ended.status == 124
    assert b"stopped after 0.3 s" in written(ended, 2)
    assert written(ended) == b"begun\n"
    assert not ended.is_killed
    assert time.monotonic() - started < 2
    assert has_ended(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "])
def test_stopping_a_job(executor, tmp_path, stubborn):
    """Whoever started a job can stop it: politely first, for good two seconds later"""
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    stop = executor.start(
        job_of(tmp_path, f"{stubborn}(sleep 60; sleep 60) & echo $! > pid; while :; do sleep 1; done"),
        ends.put,
    )
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    stop()
    ended = ends.get(timeout=10)
    assert ended.is_killed
    assert ended.status == (137 if stubborn else 143)
    assert has_ended(int((tmp_path / "pid").read_text()))
    stop()  # of no effect, and no error
    assert ends.empty()


def test_killing_us_ends_the_jobs(tmp_path):
    """After SIGKILL to the build no command goes on writing into the tree"""
    script = (
        "import os, time\n"
        "from vcache.dag.executor import Job\n"
        "from vcache.dag.local import LocalExecutor\n"
        "from vcache.dag.node import Command, Node\n"
        "command = Command(shell='sleep 0.1; echo $$ > pid.tmp; mv pid.tmp pid; sleep 60; echo late > out')\n"
        "job = Job(node=Node(name='n'), command=command, base=os.getcwd())\n"
        "LocalExecutor().start(job, print)\n"
        "time.sleep(60)\n"
    )
    build = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    until((tmp_path / "pid").exists)
    build.kill()
    build.wait()
    assert has_ended(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "out").exists()


def test_stopping_before_it_began(executor, tmp_path):
    """A stop that comes at once is not lost"""
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    executor.start(job_of(tmp_path, "sleep 60"), ends.put)()
    assert ends.get(timeout=10).is_killed


def test_close_stops_all(tmp_path):
    """Nothing runs once an executor is closed, and every job was told of"""
    executor = LocalExecutor()
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    for _ in range(5):
        executor.start(job_of(tmp_path, "sleep 60"), ends.put)
    executor.close()
    assert [ends.get(block=False).is_killed for _ in range(5)] == [True] * 5


def test_a_terminal_job_has_our_streams(tmp_path):
    """Nothing of it is captured; it reads our input, and belongs to our process group"""
    script = (
        "import queue, sys\n"
        "from vcache.dag.executor import Job\n"
        "from vcache.dag.local import LocalExecutor\n"
        "from vcache.dag.node import Command, Node\n"
        "import os\n"
        "argv = (sys.executable, '-c', 'import os, sys; print(input(), os.getpgid(0)); sys.exit(3)')\n"
        "command = Command(argv=argv)\n"
        "ends = queue.SimpleQueue()\n"
        "job = Job(node=Node(name='n'), command=command, base=os.getcwd(), has_terminal=True)\n"
        "LocalExecutor().start(job, ends.put)\n"
        "ended = ends.get()\n"
        "print(os.getpgid(0), ended.status, ended.chunks, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"hello\n", capture_output=True, cwd=tmp_path, check=True
    )
    theirs, ours = done.stdout.decode().splitlines()
    assert theirs.split()[0] == "hello"
    assert ours == f"{theirs.split()[1]} 3 ()"


def test_a_terminal_job_can_be_stopped(executor, tmp_path):
    """It alone is sent the signal: its group is ours"""
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    stop = executor.start(job_of(tmp_path, argv=("sleep", "60"), has_terminal=True), ends.put)
    stop()
    ended = ends.get(timeout=10)
    assert (ended.status, ended.is_killed) == (128 + signal.SIGTERM, True)


def test_slots_are_for_the_processors():
    """The default is what ninja takes"""
    count = min(len(os.sched_getaffinity(0)), max(1, int(cpu_quota("/") or 999)))
    assert default_slots() == LocalExecutor().slots == {1: 2, 2: 3}.get(count, count + 2)
    assert LocalExecutor(slots=7).slots == 7


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        (
            "3:memory:/x\n2:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (None, {}, None),
    ],
)
def test_a_container_has_what_it_may_use(tmp_path, groups, files, quota):
    """The quota of a control group counts, of version 1 and 2, where there is one"""
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert cpu_quota(str(tmp_path)) == quota


def test_a_closed_executor_starts_nothing(tmp_path):
    """It says so to whoever tries"""
    executor = LocalExecutor()
    executor.close()
    with pytest.raises(UsageError, match="shut down"):
        executor.start(job_of(tmp_path, "true"), print)


def until(claim) -> None:
    deadline = time.monotonic() + 10
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert claim()


def has_ended(pid: int) -> bool:
    """Within a moment; a zombie that nobody waits for has."""

    def is_gone() -> bool:
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    until(is_gone)
    return True
