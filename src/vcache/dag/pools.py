"""Slots and memory: what bounds how many nodes run at once. Pure bookkeeping, one thread.

It must not know what runs, nor where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vcache.dag.node import CONSOLE, Pool
from vcache.errors import GraphError
from vcache.kit.data import dataclass, field
from vcache.kit.names import did_you_mean
from vcache.kit.prioq import PriorityQueue

if TYPE_CHECKING:
    from vcache.dag.task import Task

__all__ = ["Pools"]


@dataclass(slots=True)
class _Account:
    """A pool, what of it is taken, and who waits for it."""

    pool: Pool
    slots_taken: int = 0
    memory_taken_bytes: int = 0
    waiting: PriorityQueue[Task] = field(default_factory=PriorityQueue)

    def has_room(self, task: Task) -> bool:
        """Whether a task fits. A task larger than the whole pool fits when it is alone."""
        if not self.slots_taken:
            return True
        node, pool = task.node, self.pool
        return (not pool.slots or self.slots_taken + node.slots <= pool.slots) and (
            not pool.memory_bytes or self.memory_taken_bytes + node.memory_bytes <= pool.memory_bytes
        )

    def take(self, task: Task, sign: int = 1) -> None:
        self.slots_taken += sign * max(task.node.slots, 1)
        self.memory_taken_bytes += sign * task.node.memory_bytes


class Pools:
    """The run's own slots, and the pools of its graph.

    Args:
        run: what all nodes together may take.
        pools: by name; a pool of the console is always there.
    """

    def __init__(self, run: Pool, pools: Mapping[str, Pool]) -> None:
        self._run = _Account(run)
        self._pools = {name: _Account(pool) for name, pool in pools.items()}
        self._pools.setdefault(CONSOLE, _Account(Pool(CONSOLE, slots=1)))
        self._lanes: list[int] = []
        self._lanes_used = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._run.waiting) + sum(len(account.waiting) for account in self._pools.values())

    def push(self, task: Task) -> None:
        """Let a task wait for its slots.

        Raises:
            GraphError: its pool is not known.
        """
        name = task.node.pool
        if name and name not in self._pools:
            place = f"{task.node.place}: " if task.node.place else ""
            raise GraphError(f"{place}unknown pool {name!r}{did_you_mean(name, self._pools)}")
        self._run.waiting.push(task, priority=task.priority, order=task.node.order)

    def pop(self) -> Task | None:
        """The most urgent task that fits now, with its slots taken; None when none does."""
        blocked: Task | None = None
        found: Task | None = None
        while self._run.waiting:
            task = self._run.waiting.pop()
            account = self._pools.get(task.node.pool)
            if account is not None and not account.has_room(task):
                account.waiting.push(
                    task, priority=task.priority, order=task.node.order
                )  # asked again when the pool has room
            elif not self._run.has_room(task):
                blocked = task  # what is less urgent must not overtake for ever
                break
            else:
                found = task
                break
        if blocked is not None:
            self._run.waiting.push(blocked, priority=blocked.priority, order=blocked.node.order)
        if found is not None:
            for account in self._accounts(found):
                account.take(found)
            found.lane = self._lane()
        return found

    def release(self, task: Task) -> None:
        """Give a task's slots back."""
        for account in self._accounts(task):
            account.take(task, -1)
        self._lanes.append(task.lane)
        self._lanes.sort(reverse=True)
        account = self._pools.get(task.node.pool)  # type: ignore[assignment]
        if account is not None:
            for waiting in account.waiting.clear():
                self._run.waiting.push(waiting, priority=waiting.priority, order=waiting.node.order)

    def clear(self) -> list[Task]:
        """Take all who wait."""
        return [task for account in (self._run, *self._pools.values()) for task in account.waiting.clear()]

    def _accounts(self, task: Task) -> list[_Account]:
        own = self._pools.get(task.node.pool)
        return [self._run] if own is None else [self._run, own]

    def _lane(self) -> int:
        if self._lanes:
            return self._lanes.pop()
        self._lanes_used += 1
        return self._lanes_used - 1
