from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.kit.ratelimit import TokenBucket
from vcache.testing import FakeClock


def test_a_full_bucket_empties_and_fills_at_its_rate() -> None:
    """A burst is had at once, then what time brings, and never more than the bucket holds."""
    clock = FakeClock()
    bucket = TokenBucket(10, 5, monotonic=clock.monotonic)
    assert [bucket.try_take() for _ in range(6)] == [True] * 5 + [False]
    clock.advance(0.2)
    assert [bucket.try_take() for _ in range(3)] == [True, True, False]
    clock.advance("1h")
    assert [bucket.try_take() for _ in range(6)] == [True] * 5 + [False]


def test_a_debt_is_waited_for() -> None:
    """What was spent without being there has to come in before anybody may go on."""
    clock = FakeClock()
    bucket = TokenBucket(100, monotonic=clock.monotonic)
    assert bucket.wait_s() == 0
    bucket.spend(1100)
    assert bucket.wait_s() == 10
    assert bucket.wait_s(50) == 10.5
    clock.advance(10)
    assert bucket.wait_s() == 0
    assert not bucket.try_take()


def test_more_than_it_holds_is_had_when_it_is_full() -> None:
    """A take above the burst is let go in the end, and paid for by those that follow."""
    clock = FakeClock()
    bucket = TokenBucket(10, 10, monotonic=clock.monotonic)
    assert bucket.take(5, sleep=clock.sleep)
    assert bucket.take(30, sleep=clock.sleep)
    assert clock.monotonic() == pytest.approx(0.5)
    assert bucket.wait_s(1) == pytest.approx(2.1)


def test_what_would_come_too_late_is_not_taken() -> None:
    """A take beyond its time-out says so at once, and leaves what is there to others."""
    clock = FakeClock()
    bucket = TokenBucket(1, 3, monotonic=clock.monotonic)
    assert bucket.take(3, timeout_s=0)
    assert not bucket.take(2, timeout_s=1.9, sleep=clock.sleep)
    assert clock.monotonic() == 0
    assert bucket.take(2, timeout_s=2.1, sleep=clock.sleep)


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), max_size=30),
    st.floats(0.1, 100),
    st.floats(1, 50),
)
def test_never_more_than_rate_and_burst(steps: list[tuple[float, float]], rate: float, burst: float) -> None:
    """Whatever is asked when, what was had is at most the burst and what the time has brought."""
    clock = FakeClock()
    bucket = TokenBucket(rate, burst, monotonic=clock.monotonic)
    had = 0.0
    for pause_s, count in steps:
        clock.advance(pause_s)
        if bucket.try_take(count):
            had += count
    assert had <= (burst + rate * clock.monotonic()) * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(("rate", "burst"), [(0, None), (-1, None), (float("nan"), None), (1, 0)])
def test_a_bucket_that_gives_nothing_is_refused(rate: float, burst: float | None) -> None:
    """The message has the value."""
    with pytest.raises(UsageError, match=r"rate=|burst="):
        TokenBucket(rate, burst)


def test_threads_share_what_there_is() -> None:
    """Eight threads that grab get no more together than one."""
    clock = FakeClock()
    bucket = TokenBucket(1, 1000, monotonic=clock.monotonic)
    had: list[int] = []
    threads = [
        threading.Thread(target=lambda: had.append(sum(bucket.try_take() for _ in range(500))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(had) == 1000
