"""Priority queues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.kit.prioq import PriorityQueue


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-2, 2))))
def test_the_greatest_comes_first_and_equals_in_their_order(wishes: list[tuple[int, int]]):
    """As a stable sort by priority and order would have it."""
    queue: PriorityQueue[tuple[int, int, int]] = PriorityQueue()
    items = [(priority, order, number) for number, (priority, order) in enumerate(wishes)]
    for item in items:
        queue.push(item, priority=item[0], order=item[1])
    assert len(queue) == len(items)
    assert [queue.pop() for _ in items] == sorted(items, key=lambda item: (-item[0], item[1]))


def test_items_are_never_compared():
    """Things without an order can be queued."""
    queue: PriorityQueue[object] = PriorityQueue()
    first, second = object(), object()
    queue.push(first)
    queue.push(second)
    assert queue.clear() == [first, second]
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()
