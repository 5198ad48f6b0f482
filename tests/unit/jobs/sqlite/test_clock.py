"""The queue's clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vcache.jobs.models import Spec
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.sqlite import queue as module
from vcache.jobs.sqlite.clock import boot_name, offset_for, steady_ns

HOUR_NS = 3600 * 10**9


def test_it_starts_as_the_wall_clock_does() -> None:
    """In a new boot the wall clock says where it starts."""
    assert offset_for(0, clock=lambda: 1_000_000, steady=lambda: 400) == 999_600


def test_it_does_not_go_back_behind_what_it_has_seen() -> None:
    """Where the wall clock was set back before the boot, it starts at the latest time that the file knows."""
    assert offset_for(5_000, clock=lambda: 1_000, steady=lambda: 400) == 4_600


def test_it_is_not_held_by_a_time_far_ahead() -> None:
    """A time that must have been wrong, being years ahead, holds nothing up."""
    assert offset_for(10 * 366 * 24 * HOUR_NS, clock=lambda: 1_000, steady=lambda: 400) == 600


def test_it_is_steady() -> None:
    """It is the machine's own, and of this boot."""
    before = steady_ns()
    assert before <= steady_ns()
    assert boot_name() == boot_name() != ""


@pytest.mark.parametrize("jump_ns", [HOUR_NS, -HOUR_NS])
def test_a_jump_of_the_wall_clock_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_ns: int
) -> None:
    """When the wall clock is set by an hour, delays go on as they were, for who has the queue open and who opens it."""
    with SqliteQueue(tmp_path) as queue:
        session = queue.open_session("w", kinds=["mill"], lease_s=10)
        queue.submit([Spec("a", "mill", not_before_ns=queue.now_ns() + HOUR_NS // 2)])
        wall_ns = time.time_ns()
        monkeypatch.setattr(time, "time_ns", lambda: wall_ns + jump_ns)
        with SqliteQueue(tmp_path) as other:
            for each in (queue, other):
                assert abs(each.now_ns() - wall_ns) < HOUR_NS // 4
                brought = each.exchange(session, kinds=["mill"], want=1)
                assert not brought.claimed
                assert 0 < (brought.next_due_s or 0) <= 1800


def test_another_boot_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a boot the steady clock counts from elsewhere: the offset is agreed upon again."""
    with SqliteQueue(tmp_path) as queue:
        before_ns = queue.now_ns()
    monkeypatch.setattr(module, "boot_name", lambda: "the next one")
    monkeypatch.setattr(module, "steady_ns", lambda: 77)
    with SqliteQueue(tmp_path) as queue:
        # `offset_for` reads the real steady clock, from which this boot's differs by what it counts.
        assert queue._offset_ns + steady_ns() >= before_ns
