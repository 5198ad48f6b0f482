"""One cold key, many who ask: one makes it, whatever happens to whoever does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.crew import Child, Gate, in_threads, note, notes
from vcache import Cache

PROCESSES, THREADS = 6, 8
WITHIN_S = 30.0

Ask = Callable[[Cache, Path], object]


class Refused(Exception):
    pass


def make(log: Path) -> str:
    """Note who computes; what the first one does is in the file beside the log."""
    is_first = note(log, str(os.getpid())) == 0
    fate = log.with_suffix(".fate")
    if is_first and fate.exists():
        if fate.read_text() == "raise":
            time.sleep(0.1)
            raise Refused("the first one")
        time.sleep(60)  # until it is killed
    time.sleep(0.1)  # so that all others come while it is at work
    return "made"


def by_compute(cache: Cache, log: Path) -> object:
    return cache.get_or_compute("cold", lambda: make(log))


def by_step(cache: Cache, log: Path) -> object:
    # A body of its own: what it calls would be told from its code, which is not what is tested.
    @cache.step(code="none")
    def build(path: str) -> str:
        return make(Path(path))

    return build(str(log))


def ask_from_all(directory: Path, log: Path, ask: Ask) -> list[Child]:
    """Let every thread of every process ask at once. Each reports what it got, by its first letter."""

    def work(fd: int) -> None:
        gate.wait()

        def one(_: int) -> None:
            try:
                got = str(ask(cache, log))
            except Refused:
                got = "refused"
            os.write(fd, got[:1].encode())

        with Cache(directory) as cache:
            in_threads(THREADS, one, timeout_s=WITHIN_S)

    with Gate() as gate:
        return [Child(work) for _ in range(PROCESSES)]


@pytest.mark.parametrize("ask", [by_compute, by_step])
def test_of_48_who_ask_at_once_one_computes(tmp_path: Path, ask: Ask) -> None:
    """6 processes of 8 threads ask for a cold key: it is computed once and all get it."""
    log = tmp_path / "log"
    got = [child.finish(WITHIN_S) for child in ask_from_all(tmp_path / "cache", log, ask)]
    assert got == [b"m" * THREADS] * PROCESSES
    assert len(notes(log)) == 1


@pytest.mark.parametrize("ask", [by_compute, by_step])
def test_when_the_computing_process_is_killed_another_goes_on(tmp_path: Path, ask: Ask) -> None:
    """After SIGKILL in the middle of a computation one other computes, and nobody hangs."""
    log = tmp_path / "log"
    log.with_suffix(".fate").write_text("killed")
    children = ask_from_all(tmp_path / "cache", log, ask)
    until = time.monotonic() + WITHIN_S
    while not notes(log):
        assert time.monotonic() < until
        time.sleep(0.01)
    victim = int(notes(log)[0])
    os.kill(victim, signal.SIGKILL)
    for child in children:
        if child.pid == victim:
            assert child.wait(WITHIN_S) == -signal.SIGKILL
            assert child.read() == b""
        else:
            assert child.finish(WITHIN_S) == b"m" * THREADS
    assert len(notes(log)) == 2


@pytest.mark.parametrize("ask", [by_compute, by_step])
def test_when_the_computing_one_raises_another_goes_on(tmp_path: Path, ask: Ask) -> None:
    """An exception reaches whoever computed, one other computes, and all the rest get its value."""
    log = tmp_path / "log"
    log.with_suffix(".fate").write_text("raise")
    said = b"".join(child.finish(WITHIN_S) for child in ask_from_all(tmp_path / "cache", log, ask))
    assert (said.count(b"r"), said.count(b"m")) == (1, PROCESSES * THREADS - 1)
    assert len(notes(log)) == 2


def test_a_lead_does_not_outlive_its_process_in_a_child(tmp_path: Path) -> None:
    """A process that forks while it computes and is then killed does not leave its lead to the child."""
    log = tmp_path / "log"

    def compute() -> str:
        child = os.fork()
        if child == 0:
            time.sleep(20)
            os._exit(0)
        note(log, str(child))
        time.sleep(60)
        return "never"

    def work(_: int) -> None:
        with Cache(tmp_path / "cache") as cache:
            cache.get_or_compute("cold", compute)

    leader = Child(work)
    until = time.monotonic() + WITHIN_S
    while not notes(log):
        assert time.monotonic() < until
        time.sleep(0.01)
    leader.kill()
    try:
        with Cache(tmp_path / "cache") as cache:
            started = time.monotonic()
            assert cache.get_or_compute("cold", lambda: "made") == "made"
            assert time.monotonic() - started < 10
    finally:
        os.kill(int(notes(log)[0]), signal.SIGKILL)
