"""Walks over graphs made up at random, against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.dag.graph import critical, critical_path, find_cycle, levels, reach, topological
from vcache.errors import GraphError

Edges = dict[int, list[int]]

ANY = st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=4))
ACYCLIC = st.dictionaries(st.integers(0, 9), st.lists(st.integers(1, 9), max_size=4)).map(
    lambda edges: {node: [node + step for step in steps] for node, steps in edges.items()}
)
STARTS = st.lists(st.integers(0, 7), max_size=3)


def following(edges: Edges) -> Callable[[int], list[int]]:
    return lambda node: edges.get(node, [])


def ways(edges: Edges, node: int) -> list[list[int]]:
    """Every way from a node to an end."""
    further = [way for follower in edges.get(node, []) for way in ways(edges, follower)]
    return [[node, *way] for way in further] or [[node]]


@given(ANY, STARTS)
def test_a_cycle_is_found_where_there_is_one(edges: Edges, starts: list[int]) -> None:
    """It is closed, made of edges, within reach; without one no reached node leads back to itself"""
    cycle = find_cycle(starts, following(edges))
    seen = reach(starts, following(edges))
    if cycle is None:
        assert not [node for node in seen if node in reach(edges.get(node, []), following(edges))]
        return
    assert cycle[0] == cycle[-1]
    assert len(cycle) == len(set(cycle)) + 1
    assert set(cycle) <= seen
    assert all(right in edges[left] for left, right in pairwise(cycle))


@given(ANY, STARTS)
def test_reach_is_closed_and_least(edges: Edges, starts: list[int]) -> None:
    """It holds the starts and all followers, and each of its nodes is one of these"""
    seen = reach(starts, following(edges))
    followers = {follower for node in seen for follower in edges.get(node, [])}
    assert seen == set(starts) | followers


@given(ACYCLIC, STARTS)
def test_an_order_has_each_node_behind_what_it_leads_to(edges: Edges, starts: list[int]) -> None:
    """Every reached node once"""
    order = topological(starts, following(edges))
    assert sorted(order) == sorted(reach(starts, following(edges)))
    place = {node: index for index, node in enumerate(order)}
    assert all(place[follower] < place[node] for node in order for follower in edges.get(node, []))


@given(ACYCLIC, STARTS, st.lists(st.integers(0, 5), min_size=30, max_size=30))
def test_the_dearest_ways_are_the_dearest(edges: Edges, starts: list[int], costs: list[int]) -> None:
    """Costs and levels are the greatest over all ways; the critical path is one of them"""
    dearest = critical(starts, following(edges), costs.__getitem__)
    level = levels(starts, following(edges))
    for node in reach(starts, following(edges)):
        from_here = ways(edges, node)
        assert dearest[node] == max(sum(costs[step] for step in way) for way in from_here)
        assert level[node] == max(len(way) - 1 for way in from_here)
    path = critical_path(starts, following(edges), costs.__getitem__)
    assert bool(path) == bool(starts)
    if path:
        assert path in [way for start in starts for way in ways(edges, start)]
        assert sum(costs[step] for step in path) == max(dearest[start] for start in starts)


def test_a_cycle_has_no_order() -> None:
    """It is told by its whole path"""
    with pytest.raises(GraphError, match=r"^dependency cycle: 1 -> 2 -> 3 -> 1$"):
        topological([0], {0: [1], 1: [2], 2: [3], 3: [1]}.__getitem__)


def test_a_chain_may_be_long() -> None:
    """A hundred thousand steps do not exhaust a stack"""
    order = topological([0], lambda node: [node + 1] if node < 100_000 else [])
    assert order[0] == 100_000


def test_starts_may_grow() -> None:
    """What a walk adds to its starts is walked too"""
    starts = [0]

    def successors(node: int) -> list[int]:
        if node == 0:
            starts.append(5)
        return [5] if node == 5 else []

    assert find_cycle(starts, successors) == [5, 5]
