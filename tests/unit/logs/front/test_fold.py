"""Repeated lines: said once, with a count that adds up."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from vcache.logs.front.fold import HELD_NS, Folder, folded
from vcache.logs.record import Record

STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2 * HELD_NS), st.integers(1, 3)), max_size=40
)


def made(steps: list[tuple[str, int, int]]) -> list[Record]:
    records, now = [], 0
    for message, passed, repeats in steps:
        now += passed
        records.append(Record(now, 9, "s", message, {"n": 1}, 0, repeats))
    return records


@given(STEPS)
def test_runs(steps):
    """A run becomes its first with the count of all."""
    records = made(steps)
    runs = [list(run) for _, run in groupby(records, lambda each: each.message)]
    assert folded(records) == [run[0]._replace(repeats=sum(each.repeats for each in run)) for run in runs]


@given(STEPS)
def test_one_by_one(steps):
    """The first of a run passes at once; what passes has the same lines in the same order; nothing waits longer than
    a second for the next one.
    """
    records, folder = made(steps), Folder()
    passed: list[Record] = []
    for before, record in zip([None, *records], records, strict=False):
        passed += folder.add(record)
        if before is None or before.message != record.message:
            assert passed[-1] == record and not folder.is_holding
        assert not folder.flush(record.at_ns)
    passed += folder.flush()
    assert not folder.is_holding
    said = [(each.message, sum(one.repeats for one in run)) for each, run in _runs(passed)]
    assert said == [(each.message, sum(one.repeats for one in run)) for each, run in _runs(records)]
    assert len(passed) <= len(records)


def _runs(records):
    for _, group in groupby(records, lambda each: each.message):
        run = list(group)
        yield run[0], run


def test_after_a_second():
    """What is held passes when it was for a second, and when the clock goes back."""
    folder = Folder()
    first, second = Record(5, message="m"), Record(6, message="m")
    assert folder.add(first) == (first,)
    assert folder.add(second) == ()
    assert folder.flush(6 + HELD_NS - 1) == ()
    assert folder.flush(6 + HELD_NS) == (second,)
    assert folder.add(second) == () and folder.flush(0) == (second,)


def test_what_differs_is_not_folded():
    """Another level, source, field or mark is another line."""
    base = Record(1, 9, "s", "m", {"a": 1})
    others = [
        base._replace(level=10),
        base._replace(source="t"),
        base._replace(fields={}),
        base._replace(marks=1),
    ]
    for other in others:
        assert folded([base, other]) == [base, other]
        assert Folder().add(base) + Folder().add(other) == (base, other)
