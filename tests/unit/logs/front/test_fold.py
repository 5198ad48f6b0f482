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
    """A run becomes its first with the count of all; a second later it is another one."""
    records = made(steps)
    runs: list[list[Record]] = []
    for record in records:
        if runs and runs[-1][0].message == record.message and record.at_ns - runs[-1][0].at_ns < HELD_NS:
            runs[-1].append(record)
        else:
            runs.append([record])
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


def test_values_that_python_finds_equal():
    """1, 1.0 and true are three values."""
    records = [Record(1, 9, "s", "m", {"n": value}) for value in (1, 1.0, True)]
    assert folded(records) == records
    folder = Folder()
    assert [folder.add(each) for each in records] == [(each,) for each in records]
