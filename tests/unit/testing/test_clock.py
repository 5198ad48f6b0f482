from __future__ import annotations

from datetime import UTC, datetime

from vcache.testing.clock import FakeClock


def test_a_fake_clock_stands_until_it_is_moved() -> None:
    """two readings are equal, and advance moves them by seconds, text or sleep"""
    clock = FakeClock()
    assert datetime.fromtimestamp(clock() / 1e9, UTC) == datetime(2024, 1, 1, tzinfo=UTC)
    assert clock() == clock()
    before_ns = clock()
    clock.advance("1m")
    clock.sleep(0.5)
    assert clock() - before_ns == 60_500_000_000
    assert clock.monotonic() == 60.5


def test_a_jump_moves_the_wall_clock_only() -> None:
    """setting the wall clock, also back, does not touch monotonic time"""
    clock = FakeClock(1000)
    clock.jump_to(5)
    assert clock() == 5
    assert clock.monotonic() == 0
