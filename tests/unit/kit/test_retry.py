from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import StoreBusy, StoreFull, UsageError
from vcache.kit.clock import Deadline
from vcache.kit.random import Seeded
from vcache.kit.retry import Backoff, is_retryable, retrying


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.now_s += wait_s
        self.waits.append(wait_s)


class Flaky:
    """Fails so many times, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


def test_waits_double_up_to_a_bound() -> None:
    """without jitter waits are base, twice base and so on, then the longest"""
    assert list(Backoff(5, 1, 6, jitter=0).waits()) == [1, 2, 4, 6, 6]
    assert list(Backoff(0).waits()) == []
    assert Backoff(2).wait_s(3) is None
    assert Backoff(2).wait_s(0) is None


@given(
    st.builds(
        Backoff,
        st.integers(0, 30),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
        st.floats(1, 1e300),
        st.floats(0, 1),
    ),
    st.integers(),
)
def test_a_wait_stays_in_its_range(backoff: Backoff, seed: int) -> None:
    """every wait is between its undrawn part and all of it, never above the longest; a seed fixes it"""
    full = list(Backoff(backoff.times, backoff.base_s, backoff.most_s, backoff.factor, jitter=0).waits())
    waits = list(backoff.waits(Seeded(seed).share))
    assert len(waits) == backoff.times
    for wait_s, longest in zip(waits, full, strict=True):
        assert longest * (1 - backoff.jitter) * (1 - 1e-9) <= wait_s <= longest <= backoff.most_s
    assert waits == list(backoff.waits(Seeded(seed).share))


def test_jitter_keeps_half_by_default() -> None:
    """the smallest draw gives half of a wait, the largest nearly all"""
    assert Backoff(1, 8).wait_s(1, lambda: 0.0) == 4
    assert Backoff(1, 8).wait_s(1, lambda: 0.75) == 7


@pytest.mark.parametrize(
    ("name", "value"), [("times", -1), ("base_s", -0.1), ("most_s", -1), ("factor", 0.5), ("jitter", 1.5)]
)
def test_numbers_without_a_meaning(name, value) -> None:
    """the error names the number, its value and what to give"""
    with pytest.raises(UsageError, match=f"{name}={value}: give"):
        Backoff(**{name: value})


def test_a_try_that_succeeds_ends_it() -> None:
    """failures worth it are tried again after their waits, and each is told of"""
    clock, work, told = Clock(), Flaky(2, StoreBusy("locked")), []
    given_back = retrying(
        work,
        Backoff(5, 1, jitter=0),
        sleep=clock.sleep,
        on_retry=lambda number, wait_s, error: told.append((number, wait_s, str(error))),
    )
    assert (given_back, work.calls, clock.waits) == ("done", 3, [1, 2])
    assert told == [(1, 1, "locked"), (2, 2, "locked")]


def test_the_last_failure_is_raised() -> None:
    """when no try is left what it raised comes out"""
    clock, work = Clock(), Flaky(9, StoreBusy("locked"))
    with pytest.raises(StoreBusy, match="locked"):
        retrying(work, Backoff(2, 1), sleep=clock.sleep)
    assert work.calls == 3


def test_a_failure_that_is_not_worth_it() -> None:
    """what will fail again is not tried again; the caller may say what is worth it"""
    clock, work = Clock(), Flaky(1, StoreFull("no room"))
    with pytest.raises(StoreFull):
        retrying(work, sleep=clock.sleep)
    assert (work.calls, clock.waits) == (1, [])
    again = Flaky(1, StoreFull("no room"))
    assert retrying(again, sleep=clock.sleep, is_worth=lambda error: True) == "done"
    assert is_retryable(StoreBusy()) and not is_retryable(ValueError())


def test_no_wait_beyond_the_deadline() -> None:
    """a wait that would end after the deadline is not begun"""
    clock, work = Clock(), Flaky(9, StoreBusy("locked"))
    with pytest.raises(StoreBusy):
        retrying(
            work,
            Backoff(9, 2, jitter=0),
            sleep=clock.sleep,
            deadline=Deadline(7, monotonic=clock),
        )
    assert clock.waits == [2, 4]
    assert work.calls == 3


def test_children_of_a_fork_wait_differently() -> None:
    """a forked process draws other waits than its parent"""
    waits = []
    for _ in range(2):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, repr(next(Backoff(1).waits())).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            waits.append(stream.read())
        os.waitpid(child, 0)
    assert waits[0] != waits[1]
