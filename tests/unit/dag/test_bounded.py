"""A door before an executor: who goes in, who waits, and who is stopped before it began."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vcache.dag.bounded import BoundedExecutor
from vcache.dag.executor import Ended, Job
from vcache.dag.node import Command, Node


class Inner:
    """Jobs that end when a test says so."""

    slots = 99

    def __init__(self) -> None:
        self.begun: dict[str, Callable[[Ended], None]] = {}
        self.killed: list[str] = []
        self.error: Exception | None = None
        self.is_closed = False

    def start(self, job: Job, on_end: Callable[[Ended], None]) -> Callable[[], None]:
        if self.error is not None:
            raise self.error
        self.begun[job.node.name] = on_end
        return lambda: self.killed.append(job.node.name)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def inner() -> Inner:
    return Inner()


def start(executor: BoundedExecutor, name: str, ends: dict[str, Ended], **more) -> Callable[[], None]:
    job = Job(node=Node(name=name), command=Command(shell=":"), base="/", **more)
    return executor.start(job, lambda ended: ends.update({name: ended}))


def test_so_many_run_at_once_and_each_end_lets_one_more_begin(inner: Inner):
    """Jobs begin in the order in which they came."""
    executor = BoundedExecutor(inner, slots=2)
    ends: dict[str, Ended] = {}
    for name in "abcd":
        start(executor, name, ends)
    assert list(inner.begun) == ["a", "b"]
    inner.begun["b"](Ended(status=0))
    assert list(inner.begun) == ["a", "b", "c"]
    inner.begun["a"](Ended(status=1))
    assert list(inner.begun) == ["a", "b", "c", "d"]
    assert {name: ended.status for name, ended in ends.items()} == {"b": 0, "a": 1}
    for name in "cd":
        inner.begun[name](Ended(status=0))
    start(executor, "e", ends)
    assert "e" in inner.begun


def test_who_has_the_terminal_does_not_wait(inner: Inner):
    """There is one of it at a time in any case, and others may wait for it."""
    executor = BoundedExecutor(inner, slots=1)
    ends: dict[str, Ended] = {}
    start(executor, "a", ends)
    start(executor, "console", ends, has_terminal=True)
    start(executor, "b", ends)
    assert list(inner.begun) == ["a", "console"]


def test_who_waits_is_stopped_without_having_begun(inner: Inner):
    """Its end is told at once, and once; who runs is stopped by the executor that runs it."""
    executor = BoundedExecutor(inner, slots=1)
    ends: dict[str, Ended] = {}
    stop_a, stop_b = start(executor, "a", ends), start(executor, "b", ends)
    stop_b()
    stop_b()
    assert ends["b"].is_killed
    stop_a()
    assert inner.killed == ["a"]
    inner.begun["a"](Ended(status=143, is_killed=True))
    assert list(inner.begun) == ["a"]


def test_what_cannot_begin_ends_in_words(inner: Inner):
    """An executor that refuses a job does not keep anybody waiting."""
    executor = BoundedExecutor(inner, slots=1)
    ends: dict[str, Ended] = {}
    inner.error = OSError("no descriptors left")
    start(executor, "a", ends)
    assert (ends["a"].status, b"no descriptors left" in ends["a"].chunks[0][2]) == (126, True)
    inner.error = None
    start(executor, "b", ends)
    assert list(inner.begun) == ["b"]


def test_closing_ends_who_waits(inner: Inner):
    """Nobody waits for a door that is shut."""
    executor = BoundedExecutor(inner, slots=1)
    ends: dict[str, Ended] = {}
    start(executor, "a", ends)
    start(executor, "b", ends)
    executor.close()
    assert ends["b"].is_killed
    assert inner.is_closed
