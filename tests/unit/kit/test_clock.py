from __future__ import annotations

import time

from vcache.kit.clock import Deadline, system_clock
from vcache.testing.clock import FakeClock


def test_a_deadline_comes_after_its_seconds() -> None:
    """a deadline is past from its moment on, and what remains never falls below zero"""
    clock = FakeClock()
    deadline = Deadline(10, monotonic=clock.monotonic)
    clock.advance(9)
    assert not deadline.is_past
    assert deadline.remaining_s() == 1
    assert deadline.remaining_s(0.5) == 0.5
    clock.advance(5)
    assert deadline.is_past
    assert deadline.remaining_s() == 0


def test_never_does_not_come() -> None:
    """no timeout means no deadline"""
    clock = FakeClock()
    deadline = Deadline(None, monotonic=clock.monotonic)
    clock.advance("50 weeks")
    assert deadline.is_never
    assert not deadline.is_past
    assert deadline.remaining_s(3) == 3


def test_the_system_clock_is_the_epoch_in_nanoseconds() -> None:
    """the system clock agrees with time.time"""
    assert abs(system_clock() / 1e9 - time.time()) < 5
