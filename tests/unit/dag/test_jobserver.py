"""Slots shared with make and ninja, above us and below: as many jobs at once as there are tokens."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import pytest

from vcache.dag.executor import Ended, Job
from vcache.dag.jobserver import JobServer, Tokens, inherited
from vcache.dag.local import LocalExecutor
from vcache.dag.node import Command, Node
from vcache.errors import UsageError

RECIPE = "echo + >> {log}; sleep 0.1; echo - >> {log}"


@pytest.fixture
def server():
    made = JobServer(3, {})
    yield made
    made.close()


def free(tokens: Tokens) -> int:
    """How many tokens there are to be had, all of them given back."""
    count = 0
    while tokens.acquire():
        count += 1
    for _ in range(count):
        tokens.release()
    return count


def most_at_once(log: Path) -> int:
    return max(accumulate(1 if line == "+" else -1 for line in log.read_text().split()))


def start(executor: LocalExecutor, base: Path, shell: str) -> queue.SimpleQueue[Ended]:
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    command = Command(shell=shell)
    executor.start(Job(node=Node(name=shell, work=command), command=command, base=str(base)), ends.put)
    return ends


def makefile(base: Path, targets: int) -> Path:
    names = " ".join(f"t{n}" for n in range(targets))
    base.mkdir(exist_ok=True)
    (base / "Makefile").write_text(f"all: {names}\n{names}:\n\t@{RECIPE.format(log='../log')}\n")
    return base


def test_one_slot_less_than_tokens(server):
    """The first job of a process needs no token"""
    assert [server.acquire() for _ in range(4)] == [True, True, False, False]
    server.release()
    assert server.acquire()


def test_one_slot_has_no_tokens():
    """With -j1 there is nothing to be had"""
    server = JobServer(1, {})
    assert not server.acquire()
    server.close()


def test_a_token_can_be_waited_for(server):
    """The descriptor is readable exactly while there is a token"""
    fd = server.fileno()
    assert select.select([fd], [], [], 0)[0]
    assert server.acquire()
    assert server.acquire()
    assert not select.select([fd], [], [], 0)[0]
    server.release()
    assert select.select([fd], [], [], 0)[0]


def test_what_was_not_taken_cannot_be_given_back(server):
    """A slot too many would be made: that is a mistake of the caller's"""
    with pytest.raises(UsageError, match="never taken"):
        server.release()


@pytest.mark.parametrize("slots", [0, -1, 5000])
def test_slots_that_cannot_be(slots):
    """The value is named"""
    with pytest.raises(UsageError, match=str(slots)):
        JobServer(slots, {})


def test_closing_twice(server):
    """It is of no effect, and nothing is to be had"""
    server.close()
    server.close()
    server.settle()
    assert not server.acquire()
    assert server.fileno() is None


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ("", ""),
        ("ks", "ks"),
        (" -j8 --jobserver-auth=3,4", ""),
        ("k -j --jobserver-fds=3,4 -Otarget", "k -Otarget"),
        ("-j 8", ""),
        ("s -j3 -- CC=clang J=-j9", "s"),
        ("--no-print-directory --jobs=3", "--no-print-directory"),
    ],
)
def test_other_flags_are_passed_on(given, flags):
    """Only what concerns jobs is replaced, and variables stay at the end"""
    server = JobServer(3, {"MAKEFLAGS": given})
    reads, writes = server.pass_fds
    variables = " -- CC=clang J=-j9" if "--" in given and "CC" in given else ""
    pair = f"{reads},{writes}"
    assert server.environment() == {
        "MAKEFLAGS": f"{flags} -j3 --jobserver-fds={pair} --jobserver-auth={pair}{variables}"
    }
    server.close()


@pytest.mark.parametrize("words", ["make", "ninja -C sub"])
def test_a_child_shares_the_pool(server, words):
    """What we take is not there for a client, and the other way round"""
    client = inherited(server.environment(words))
    assert client is not None
    assert client.acquire()
    assert server.acquire()
    assert not client.acquire()
    assert not server.acquire()
    client.close()  # gives back what it holds
    assert server.acquire()


def test_a_client_passes_on_what_it_got(server):
    """Children of ours find the jobserver as we did"""
    client = inherited(server.environment())
    assert client is not None
    assert client.pass_fds == server.pass_fds
    assert client.environment() == {}
    client.settle()
    client.close()


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "ks -j3",
        " --jobserver-auth=-2,-2",
        " --jobserver-auth=998,999",
        " --jobserver-auth=fifo:/no/such/file",
        " --jobserver-auth=fifo:/dev/null",
        " --jobserver-auth=0x",
        "k -- X=--jobserver-auth=3,4",
    ],
)
def test_no_jobserver_to_be_used(flags):
    """What is switched off, closed or no pipe is none, without an error"""
    assert inherited({"MAKEFLAGS": flags}) is None
    assert inherited({}) is None


def test_files_under_the_numbers_are_no_jobserver(tmp_path):
    """A descriptor that was closed by make and opened again for something else is not read from"""
    with open(tmp_path / "a", "wb+") as file:
        assert inherited({"MAKEFLAGS": f" --jobserver-auth={file.fileno()},{file.fileno()}"}) is None


def test_the_last_one_counts(server):
    """As in make and ninja"""
    flags = f"--jobserver-auth=fifo:/nowhere{server.environment()['MAKEFLAGS']}"
    client = inherited({"MAKEFLAGS": flags})
    assert client is not None
    client.close()


@pytest.mark.parametrize("tool", ["make", "ninja"])
def test_sub_builds_share_our_slots(server, tmp_path, tool):
    """Two sub-builds below us run, with us, as many jobs as there are slots, and no more"""
    executor = LocalExecutor(slots=3, tokens=server)
    for name in ("one", "two"):
        base = makefile(tmp_path / name, 4)
        lines = "".join(f"build t{n}: r\n" for n in range(4))
        (base / "build.ninja").write_text(f"rule r\n  command = {RECIPE.format(log='../log')}\n{lines}")
    assert server.acquire()  # for the second job
    waits = [start(executor, tmp_path, f"{tool} -C {name}") for name in ("one", "two")]
    ends = [wait.get(timeout=30) for wait in waits]
    server.release()
    assert [end.status for end in ends] == [0, 0]
    said = b"".join(data for end in ends for _, _, data in end.chunks)
    assert b"warning" not in said
    assert most_at_once(tmp_path / "log") == 3
    assert free(server) == 2
    executor.close()


def test_gcc_shares_our_slots(server, tmp_path):
    """Link-time optimization finds the jobserver, and leaves it as it was"""
    executor = LocalExecutor(slots=3, tokens=server)
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    ended = start(executor, tmp_path, "gcc -O1 -flto=jobserver -Wall -Werror a.c -o a && ./a").get(timeout=30)
    assert (ended.status, ended.chunks) == (0, ())
    assert free(server) == 2
    executor.close()


def test_a_killed_sub_build_takes_no_slot_with_it(server, tmp_path):
    """Tokens that a child was killed with are back once nothing runs"""
    executor = LocalExecutor(slots=3, tokens=server)
    makefile(tmp_path / "one", 9)
    (tmp_path / "one/Makefile").write_text(
        "all: a b c\na b c:\n\t@echo x >> ../begun; while test $$(wc -l < ../begun) -lt 3; do sleep 0.01; done; "
        "kill -KILL $$PPID\n"
    )
    ended = start(executor, tmp_path, "exec make -C one").get(timeout=30)
    assert ended.status == 128 + signal.SIGKILL
    assert free(server) == 2
    executor.close()


def test_a_token_too_many_is_taken_out(server, tmp_path):
    """A child that gives back more than it took does not make us run more for ever"""
    executor = LocalExecutor(slots=3, tokens=server)
    ended = start(
        executor, tmp_path, f"{sys.executable} -c 'import os; os.write({server.pass_fds[1]}, bytes(4))'"
    ).get(timeout=30)
    assert ended.status == 0
    assert free(server) == 2
    executor.close()


BELOW_MAKE = """
import os, queue, sys
from vcache.dag.executor import Job
from vcache.dag.jobserver import inherited
from vcache.dag.local import LocalExecutor
from vcache.dag.node import Command, Node

tokens = inherited(os.environ)
executor = LocalExecutor(tokens=tokens)
ends = queue.SimpleQueue()
left, running, holds = 8, 0, 0
while left or running:
    while left and (running == 0 or tokens.acquire()):
        holds += running > 0
        command = Command(shell=sys.argv[1])
        executor.start(Job(node=Node(name="n"), command=command, base=os.getcwd()), ends.put)
        left, running = left - 1, running + 1
    assert ends.get(timeout=20).status == 0
    running -= 1
    if running:
        tokens.release()
        holds -= 1
assert holds == 0, holds
tokens.close()
executor.close()
"""


def test_we_obey_a_make_above(tmp_path):
    """Below `make -j3`, two of us run three jobs at once together, and every token returns to make"""
    (tmp_path / "below.py").write_text(BELOW_MAKE)
    recipe = RECIPE.format(log="log")
    line = f"\t+@{sys.executable} below.py '{recipe}'\n"
    (tmp_path / "Makefile").write_text(f"all: a b\na:\n{line}b:\n{line}")
    environ = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "-j3"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    # make itself counts its tokens at the end, and complains.
    assert (done.returncode, done.stderr) == (0, "")
    assert most_at_once(tmp_path / "log") == 3
