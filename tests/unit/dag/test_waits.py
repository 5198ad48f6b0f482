from __future__ import annotations

from tests.unit.dag import runs as some
from tests.unit.dag.runs import node, ran
from vcache.dag.waits import Waits


def names(events) -> list[str]:
    waits = Waits()
    for event in events:
        waits.on_event(event)
    return [wait.node.name for wait in waits.path()]


def test_the_chain_that_the_end_waited_for() -> None:
    """from the last node back over the latest of its inputs' makers"""
    assert names(some.a_build()) == ["a.o", "app"]
    assert names([]) == []


def test_order_only_inputs_hold_up_too() -> None:
    """what a node has to come after is waited for like an input"""
    header, user = node("gen.h"), node("u.o", "u.c", after=("gen.h",))
    assert names([*ran(header, 0, 300), *ran(user, 300, 400)]) == ["gen.h", "u.o"]


def test_a_wrong_graph_ends() -> None:
    """nodes that claim to need each other do not send it in circles"""
    one, other = node("one", "other"), node("other", "one")
    assert names([*ran(one, 0, 1), *ran(other, 0, 2)]) == ["one", "other"]


def test_a_retry_is_waited_for_from_its_first_try() -> None:
    """the time of a node is from the first start to the last end"""
    _, started, finished = ran(some.A, 0, 10, status=1)
    waits = Waits()
    for event in (started, finished._replace(will_retry=True), *ran(some.A, 20, 50)[1:]):
        waits.on_event(event)
    assert [wait.took_ns for wait in waits.path()] == [some.ms(50)]
