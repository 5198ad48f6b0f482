"""Walks over a directed graph without cycles: orders, cycles, longest paths, reach. Pure.

A graph is a function from a node to those it leads to; a node is anything hashable. It knows nothing
of builds. Nothing here recurses: a chain may be as long as memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from vcache.errors import GraphError

__all__ = ["critical", "critical_path", "find_cycle", "levels", "reach", "topological"]

T = TypeVar("T", bound=Hashable)


def find_cycle(starts: Iterable[T], successors: Callable[[T], Iterable[T]]) -> list[T] | None:
    """The first cycle that a walk from some nodes meets, its first node once more at the end.

    Args:
        starts: where walks begin. It may grow while it is walked, as a list that `successors` adds to.
    """
    done: set[T] = set()
    for start in starts:
        if start not in done and (cycle := _walk(start, successors, done, [])):
            return cycle
    return None


def topological(starts: Iterable[T], successors: Callable[[T], Iterable[T]]) -> list[T]:
    """All nodes that are reached, each behind all those it leads to; otherwise in order of meeting.

    Raises:
        GraphError: a cycle.
    """
    done: set[T] = set()
    order: list[T] = []
    for start in starts:
        if start not in done and (cycle := _walk(start, successors, done, order)):
            raise GraphError("dependency cycle: " + " -> ".join(map(str, cycle)))
    return order


def _walk(start: T, successors: Callable[[T], Iterable[T]], done: set[T], order: list[T]) -> list[T] | None:
    """Go on from a node that is not done, depth first. Gives the first cycle."""
    path: dict[T, Iterator[T]] = {start: iter(successors(start))}
    node = start
    while True:
        for follower in path[node]:
            if follower in path:
                trail = list(path)
                return [*trail[trail.index(follower) :], follower]
            if follower not in done:
                path[follower] = iter(successors(follower))
                node = follower
                break
        else:
            done.add(node)
            order.append(node)
            path.popitem()
            if not path:
                return None
            node = next(reversed(path))


def reach(starts: Iterable[T], successors: Callable[[T], Iterable[T]]) -> set[T]:
    """The nodes themselves and all that they lead to. Cycles do no harm."""
    seen = set(starts)
    waiting = list(seen)
    while waiting:
        for follower in successors(waiting.pop()):
            if follower not in seen:
                seen.add(follower)
                waiting.append(follower)
    return seen


def levels(starts: Iterable[T], successors: Callable[[T], Iterable[T]]) -> dict[T, int]:
    """How many steps the longest way from each reached node takes; 0 where it ends.

    Raises:
        GraphError: a cycle.
    """
    level: dict[T, int] = {}
    for node in topological(starts, successors):
        level[node] = 1 + max((level[follower] for follower in successors(node)), default=-1)
    return level


def critical(
    starts: Iterable[T], successors: Callable[[T], Iterable[T]], cost: Callable[[T], float]
) -> dict[T, float]:
    """What the dearest way from each reached node costs, itself included.

    With `successors` from a step to those that wait for it, this is how urgent the step is.

    Args:
        cost: what one node costs; not negative.

    Raises:
        GraphError: a cycle.
    """
    dearest: dict[T, float] = {}
    for node in topological(starts, successors):
        dearest[node] = cost(node) + max((dearest[follower] for follower in successors(node)), default=0)
    return dearest


def critical_path(
    starts: Sequence[T], successors: Callable[[T], Iterable[T]], cost: Callable[[T], float]
) -> list[T]:
    """The dearest way from any of some nodes to an end; [] for no nodes.

    Raises:
        GraphError: a cycle.
    """
    dearest = critical(starts, successors, cost)
    path: list[T] = []
    choices: Iterable[T] = starts
    while (node := max(choices, key=dearest.__getitem__, default=None)) is not None:
        path.append(node)
        choices = successors(node)
    return path
