"""Priority queues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.kit.prioq import PriorityQueue


@given(st.lists(st.integers(-3, 3)))
def test_the_greatest_comes_first_and_equals_in_their_order(priorities: list[int]):
    """As a stable sort would have it."""
    queue: PriorityQueue[tuple[int, int]] = PriorityQueue()
    items = [(priority, number) for number, priority in enumerate(priorities)]
    for item in items:
        queue.push(item, priority=item[0])
    assert len(queue) == len(items)
    assert [queue.pop() for _ in items] == sorted(items, key=lambda item: -item[0])


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
