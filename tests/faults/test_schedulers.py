"""Eight schedulers of one queue, in processes that are killed, under a clock that is set forward and back."""

from __future__ import annotations

import mmap
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.faults.crew import Child, note, notes
from tests.patience import until
from tests.servers import redis_server
from vcache.jobs import open_queue
from vcache.jobs.schedules import Scheduler, Schedules, Ticked, make_schedule
from vcache.jobs.states import State
from vcache.kit.ids import inspect_uuid
from vcache.kit.random import Seeded

NS = 1_000_000_000
MINUTE, HOUR = 60 * NS, 3600 * NS
NAMES = ("a", "b", "c")
N_SCHEDULERS = 8


class Noting(Scheduler):
    """Notes what it fires, for others to read: of one that is killed the last may lack, but none is there twice."""

    notes: Path

    def tick(self, now_ns: int | None = None) -> Ticked:
        ticked = super().tick(now_ns)
        for each in ticked.fired:
            note(self.notes, f"{each.name} {each.tick_ns // MINUTE}")
        return ticked


class Yard:
    """Schedulers that see a clock which is set here, and end when this process does.

    The queue is open here for moments only: a process that is forked while SQLite is open must not use it.
    """

    def __init__(self, address: str, notes: Path) -> None:
        self.address, self.notes = address, notes
        self._clock = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")
        # In the middle of a minute, so that what is set up takes no tick along.
        self.now_ns = self.latest_ns = self.start_ns = time.time_ns() // MINUTE * MINUTE + MINUTE // 2
        self._reads, self._writes = os.pipe()
        self.crew: list[Child] = []

    def set(self, now_ns: int) -> None:
        """Set the wall clock of all."""
        self.now_ns = self._clock[0] = now_ns
        self.latest_ns = max(self.latest_ns, now_ns)

    def hire(self) -> None:
        """One more scheduler."""
        self.crew.append(Child(self._watch))

    def kill(self, number: int) -> None:
        """kill -9."""
        child = self.crew.pop(number)
        child.kill()
        os.close(child.reports)

    def close(self) -> None:
        """End them all."""
        while self.crew:
            self.kill(0)
        for fd in (self._reads, self._writes):
            os.close(fd)

    def done(self) -> list[int]:
        """Up to which tick each schedule is decided."""
        with closing(open_queue(self.address)) as queue:
            return [schedule.done_ns for schedule in Schedules(queue).list()]

    def settle(self) -> None:
        """Wait until all that the clock ever showed is decided."""
        last = self.latest_ns // MINUTE * MINUTE
        until(lambda: last <= self.start_ns or self.done() == [last] * len(NAMES))

    def _watch(self, _fd: int) -> None:
        os.close(self._writes)
        with closing(open_queue(self.address)) as queue:
            scheduler = Noting(queue, clock=lambda: self._clock[0], look_s=0.005)
            scheduler.notes = self.notes
            with scheduler:
                os.read(self._reads, 1)


@pytest.fixture(params=["sqlite", "redis"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    with ExitStack() as stack:
        address = f"sqlite:{tmp_path / 'jobs'}"
        if request.param == "redis":
            address = f"redis://127.0.0.1:{stack.enter_context(redis_server(tmp_path / 'redis')).port}/0"
        made = Yard(address, tmp_path / "fired")
        stack.callback(made.close)
        made.set(made.start_ns)
        with closing(open_queue(address)) as queue:
            book = Schedules(queue, clock=lambda: made.now_ns)
            for name in NAMES:
                book.put(make_schedule(name, "work", when="every 1m", misfire="all", overlap="allow"))
        yield made


def campaign(yard: Yard, n_rounds: int, seed: int) -> None:
    """Let time pass, jump, and kill; then look at what was fired."""
    draws = Seeded(seed)
    for _ in range(N_SCHEDULERS):
        yard.hire()
    for number in range(n_rounds):
        jump_ns = HOUR if number % 6 == 2 else -HOUR if number % 6 == 4 else (1 + draws.below(3)) * MINUTE
        yard.set(yard.now_ns + jump_ns)
        time.sleep(draws.share() * 0.01)  # somewhere in what the others do
        yard.kill(draws.below(N_SCHEDULERS))
        yard.hire()
        yard.settle()
    expected = list(range(yard.start_ns // MINUTE + 1, yard.latest_ns // MINUTE + 1))
    with closing(open_queue(yard.address)) as queue:
        schedules = Schedules(queue).list()
        jobs = list(queue.list(State.QUEUED, limit=100_000).jobs)
    # The job of a tick is one whoever makes it, so what fired is counted besides.
    assert [schedule.n_fired for schedule in schedules] == [len(expected)] * len(NAMES)
    said = Counter(notes(yard.notes))
    assert max(said.values()) == 1
    assert len(expected) < len(said) <= len(expected) * len(NAMES)
    fired = Counter((job.spec.parent, (inspect_uuid(job.id).created_ns or 0) // MINUTE) for job in jobs)
    assert fired == Counter((f"schedule/{name}", minute) for name in NAMES for minute in expected)


def test_each_tick_fires_once_whoever_is_killed(yard: Yard) -> None:
    """One job for each tick of each schedule, though schedulers die and the clock jumps by an hour both ways"""
    campaign(yard, 30, seed=1)


@pytest.mark.slow
def test_each_tick_fires_once_for_a_long_time(yard: Yard) -> None:
    """The same, two hundred kills long"""
    campaign(yard, 200, seed=2)
