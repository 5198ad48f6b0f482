"""Groups of things."""

from __future__ import annotations

from itertools import count, islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from vcache.kit.batches import batched, batched_by_size


@given(st.lists(st.integers()), st.integers(1, 10))
def test_groups_are_full_but_for_the_last(items: list[int], most: int) -> None:
    """Together they are the items, in order."""
    groups = list(batched(items, most))
    assert [item for group in groups for item in group] == items
    assert all(len(group) == most for group in groups[:-1])
    assert all(1 <= len(group) <= most for group in groups)


def test_no_more_is_read_than_is_asked_for() -> None:
    """An endless walk has a first group."""
    assert list(islice(batched(count(), 3), 2)) == [[0, 1, 2], [3, 4, 5]]


@given(st.lists(st.integers(0, 20)), st.integers(1, 30), st.integers(1, 5))
def test_groups_fit(sizes: list[int], most_bytes: int, most: int) -> None:
    """Each but one of a single large item is within both limits, and no two in a row would fit as one."""
    groups = list(batched_by_size(sizes, int, most_bytes=most_bytes, most=most))
    assert [size for group in groups for size in group] == sizes
    assert all(len(group) == 1 or (sum(group) <= most_bytes and len(group) <= most) for group in groups)
    for one, other in pairwise(groups):
        assert len(one) == most or sum(one) + other[0] > most_bytes
