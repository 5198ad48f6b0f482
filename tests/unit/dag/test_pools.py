"""Slots, pools, tokens and load: who may start."""

from __future__ import annotations

from typing import Any

import pytest

from vcache.dag.node import CONSOLE, Command, Node, Pool
from vcache.dag.pools import Pools
from vcache.dag.run import Options
from vcache.dag.slots import Slots
from vcache.dag.task import Task
from vcache.errors import GraphError


def task(name: str, *, priority: float = 0, **more: Any) -> Task:
    made = Task(Node(name=name, work=Command(shell="true"), **more))
    made.priority = priority
    return made


def pools(slots: int = 10, *named: Pool, memory_bytes: int = 0) -> Pools:
    return Pools(Pool("", slots, memory_bytes), {pool.name: pool for pool in named})


def taken(of: Pools) -> list[str]:
    names = []
    while (one := of.pop()) is not None:
        names.append(one.node.name)
    return names


def test_the_most_urgent_comes_first():
    """By priority, equals in their order."""
    queue = pools()
    for name, priority in (("a", 1), ("b", 3), ("c", 2), ("d", 3)):
        queue.push(task(name, priority=priority))
    assert taken(queue) == ["b", "d", "c", "a"]


def test_a_full_pool_lets_others_pass():
    """Who waits for a pool does not hold up who does not need it."""
    queue = pools(10, Pool("link", 1))
    first, second, other = task("l1", pool="link", priority=9), task("l2", pool="link", priority=8), task("c")
    for one in (first, second, other):
        queue.push(one)
    assert taken(queue) == ["l1", "c"]
    assert len(queue) == 1
    queue.release(first)
    assert taken(queue) == ["l2"]


def test_a_large_task_is_not_overtaken_for_ever():
    """What needs more slots than are free keeps its turn; larger than all, it runs alone."""
    queue = pools(2)
    small, large, later = task("s"), task("l", slots=5, priority=5), task("t")
    queue.push(small)
    assert taken(queue) == ["s"]
    queue.push(large)
    queue.push(later)
    assert taken(queue) == []
    queue.release(small)
    assert taken(queue) == ["l"]
    queue.release(large)
    assert taken(queue) == ["t"]


def test_memory_is_shared():
    """Of the run and of a pool."""
    queue = pools(10, Pool("big", memory_bytes=100), memory_bytes=1000)
    for name in ("a", "b"):
        queue.push(task(name, pool="big", memory_bytes=60))
    assert taken(queue) == ["a"]


def test_the_console_is_one():
    """Without being declared."""
    queue = pools()
    for name in ("a", "b"):
        queue.push(task(name, pool=CONSOLE))
    assert taken(queue) == ["a"]


def test_lanes_are_the_lowest_that_are_free():
    """A trace view has as few rows as there were slots."""
    queue = pools()
    tasks = [task(name) for name in "abc"]
    for one in tasks:
        queue.push(one)
    taken(queue)
    assert [one.lane for one in tasks] == [0, 1, 2]
    queue.release(tasks[0])
    queue.push(again := task("d"))
    taken(queue)
    assert again.lane == 0


def test_an_unknown_pool_is_refused_with_its_place():
    """And with what was probably meant."""
    with pytest.raises(GraphError, match=r"x\.py:3: unknown pool 'lnik'; did you mean 'link'"):
        pools(2, Pool("link", 1)).push(task("a", pool="lnik", place="x.py:3"))


class Bowl:
    """A jobserver with so many tokens."""

    def __init__(self, count: int) -> None:
        self.count = count

    def acquire(self) -> bool:
        if self.count:
            self.count -= 1
            return True
        return False

    def release(self) -> None:
        self.count += 1


def test_each_job_but_the_first_holds_a_token():
    """And gives it back when it ends."""
    bowl = Bowl(1)
    # Of all that a jobserver has, slots take and give back only.
    slots = Slots(Options(jobs=8), {}, count=2, tokens=bowl)  # type: ignore[arg-type]
    for name in "abc":
        slots.push(task(name))
    first, second = slots.pop(), slots.pop()
    assert first is not None
    assert second is not None
    assert slots.pop() is None
    assert slots.patience_s() is not None
    slots.release(first)
    assert slots.pop() is not None
    assert bowl.count == 0
    for one in tuple(slots.running):
        slots.release(one)
    assert bowl.count == 1


def test_above_the_load_only_one_runs(monkeypatch: pytest.MonkeyPatch):
    """The first always may, or nothing would ever get done."""
    monkeypatch.setattr("os.getloadavg", lambda: (5.0, 0, 0))
    slots = Slots(Options(jobs=8, load_limit=4.0), {}, count=8, tokens=None)
    for name in "ab":
        slots.push(task(name))
    assert slots.pop() is not None
    assert slots.pop() is None
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 0, 0))
    assert slots.pop() is not None
