"""Whose lease is over."""

from __future__ import annotations

import pytest

from vcache.jobs.base import Session
from vcache.jobs.leases import LeaseWatch
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Spec
from vcache.testing import FakeClock

_HOUR_NS = 3600 * 10**9


def _at(beats: int, name: str = "a", lease_s: float = 10.0) -> Session:
    return Session(name, "worker", beats, lease_s, 0)


def test_beats_that_stand_still_are_over() -> None:
    """when the watcher has seen the same number for three quarters of a lease, and not before"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    assert watch.seen([_at(5)]) == []
    clock.advance(7.49)
    assert watch.seen([_at(5)]) == []
    clock.advance(0.01)
    assert watch.seen([_at(5)]) == [_at(5)]
    assert watch.seen([_at(5)]) == [_at(5)]


def test_each_beat_begins_a_lease() -> None:
    """a number that rose, or changed in any way, starts anew"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    for beats in (1, 2, 9, 3):
        assert watch.seen([_at(beats)]) == []
        clock.advance(7)
    clock.advance(1)
    assert watch.seen([_at(3)]) == [_at(3)]


def test_sessions_are_judged_by_themselves() -> None:
    """each by its own lease; who is gone is forgotten, and new ones have their time"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    watch.seen([_at(1, "short", 5), _at(1, "long", 50), _at(1, "alive", 5), _at(1, "gone", 5)])
    clock.advance(5)
    present = [_at(1, "short", 5), _at(1, "long", 50), _at(2, "alive", 5), _at(1, "new", 5)]
    assert [each.id for each in watch.seen(present)] == ["short"]
    clock.advance(1)
    assert watch.seen([_at(1, "gone", 5)]) == []


@pytest.mark.parametrize("jump_ns", [_HOUR_NS, -_HOUR_NS])
def test_a_wall_clock_that_is_set_changes_nothing(jump_ns: int) -> None:
    """neither ends a lease nor prolongs it"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    watch.seen([_at(1)])
    clock.advance(5)
    clock.jump_to(clock() + jump_ns)
    assert watch.seen([_at(1)]) == []
    clock.advance(4)
    assert watch.seen([_at(1)]) == [_at(1)]


def test_who_beats_meanwhile_is_spared() -> None:
    """between the look and the end a beat may come: the queue sees it"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    queue = MemoryQueue(clock=clock)
    queue.submit([Spec("1", "k")])
    session = queue.open_session("worker", kinds=["k"], lease_s=10)
    queue.exchange(session, kinds=["k"], want=1)
    watch.seen(queue.sessions())
    clock.advance(10)
    (over,) = watch.seen(queue.sessions())
    queue.exchange(session)
    assert queue.end_session(over.id, beats=over.beats) == []
    assert watch.seen(queue.sessions()) == []
    clock.advance(10)
    (over,) = watch.seen(queue.sessions())
    assert queue.end_session(over.id, beats=over.beats) == ["1"]


@pytest.mark.parametrize("lag_s", [0.0, 0.3, 1.2])
def test_what_dies_comes_back_within_its_lease(lag_s: float) -> None:
    """by who looks when it is to: whenever the last beat came between two looks; and who beats each quarter never is"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    watch.seen([_at(1), _at(1, "alive")])
    began_s = clock.monotonic()
    clock.advance(lag_s)  # the last beat
    died_s = clock.monotonic()
    clock.advance(watch.look_in_s(60) - lag_s)
    while not (over := watch.seen([_at(2), _at(int((clock.monotonic() - began_s) / 2.5), "alive")])):
        clock.advance(watch.look_in_s(60))
    assert over == [_at(2)]
    assert 7.5 <= clock.monotonic() - died_s <= 10 * 7 / 8


def test_a_time_in_which_the_watcher_was_stopped_does_not_count() -> None:
    """what could not beat meanwhile is given the rest of its time, and no more"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    watch.seen([_at(1)])
    clock.advance(2 + 60)
    watch.pause(60)
    assert watch.seen([_at(1)]) == []
    clock.advance(5.4)
    assert watch.seen([_at(1)]) == []
    clock.advance(0.1)
    assert watch.seen([_at(1)]) == [_at(1)]


def test_short_leases_are_looked_at_more_often() -> None:
    """than the watcher would look by itself; who watches nobody looks as it likes"""
    clock = FakeClock()
    watch = LeaseWatch(clock.monotonic)
    watch.seen([_at(1, "long", 40), _at(1, "short", 2)])
    assert watch.look_in_s(5) == 0.25
    watch.seen([])
    assert watch.look_in_s(5) == 5
