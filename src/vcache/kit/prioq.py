"""A priority queue: the greatest priority first, of equals the lowest order, then the one that came first.

It must not know what it holds.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

__all__ = ["PriorityQueue"]

T = TypeVar("T")


class PriorityQueue(Generic[T]):
    """Items by priority, each taken once.

    Threads: one at a time.
    """

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: T, *, priority: float = 0, order: int = 0) -> None:
        """Add an item."""
        # The running number keeps the order of equals, and items from being compared.
        heapq.heappush(self._heap, (-priority, order, self._count, item))
        self._count += 1

    def pop(self) -> T:
        """Take the item of the greatest priority.

        Raises:
            IndexError: there is none.
        """
        return heapq.heappop(self._heap)[3]

    def clear(self) -> list[T]:
        """Take all, the greatest priority first."""
        items = [item for _, _, _, item in sorted(self._heap, key=lambda entry: entry[:3])]
        self._heap.clear()
        return items
