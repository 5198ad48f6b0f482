"""Who fires schedules, with clocks that tests set."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from tests.patience import until
from tests.unit.jobs.schedules.clockwork import nanos
from vcache.errors import StoreUnavailable
from vcache.jobs import MemoryQueue
from vcache.jobs.base import Finished
from vcache.jobs.schedules import Fired, Scheduler, Schedules, make_schedule
from vcache.jobs.states import Event, State
from vcache.kit.ids import inspect_uuid

NS = 1_000_000_000
MINUTE, HOUR, DAY = 60 * NS, 3600 * NS, 86_400 * NS
NOON = nanos(datetime(2025, 6, 1, 12, tzinfo=UTC))


@dataclass
class Bench:
    """A queue, its schedules, and a wall clock that is set by hand."""

    now_ns: int = NOON
    queue_ns: int = NOON
    queue: MemoryQueue = field(init=False)
    book: Schedules = field(init=False)

    def __post_init__(self) -> None:
        self.queue = MemoryQueue(namespace="ns", clock=lambda: self.queue_ns)
        self.book = Schedules(self.queue, clock=lambda: self.now_ns)

    def scheduler(self) -> Scheduler:
        return Scheduler(self.queue, clock=lambda: self.now_ns)

    def put(self, name: str = "s", when: str = "every 1h", **options: object) -> None:
        self.book.put(make_schedule(name, "work", {"n": 1}, when=when, **options))  # type: ignore[arg-type]

    def go(self, length_ns: int) -> None:
        """Let time pass, by both clocks."""
        self.now_ns += length_ns
        self.queue_ns += length_ns

    def finish(self) -> None:
        """Let a worker end all that is queued."""
        session = self.queue.open_session("w", kinds=["work"], lease_s=10)
        claimed = self.queue.exchange(session, kinds=["work"], want=250).claimed
        self.queue.exchange(session, [Finished(each, Event.COMPLETE) for each in claimed])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def fired(scheduler: Scheduler) -> list[int]:
    """Ticks that fire, in hours behind noon."""
    return [(each.tick_ns - NOON) // HOUR for each in scheduler.tick().fired]


def test_a_tick_is_fired_once(bench: Bench) -> None:
    """When it comes, not before, by one of many schedulers; its job is what the schedule says"""
    bench.put(priority="high", timeout="30s", retries=2, tags=["t"])
    first, second = bench.scheduler(), bench.scheduler()
    assert first.tick().next_ns == second.tick().next_ns == NOON + HOUR
    bench.go(HOUR)
    (one,) = first.tick().fired
    assert (one.name, one.tick_ns) == ("s", NOON + HOUR)
    assert second.tick() == ([], NOON + 2 * HOUR)
    (job,) = bench.queue.get([one.job_id])
    assert job is not None
    spec = job.spec
    assert (spec.kind, spec.payload, spec.priority, spec.timeout_s, spec.retries) == (
        "work",
        {"n": 1},
        1,
        30.0,
        2,
    )
    assert (list(spec.tags), spec.parent, spec.namespace, spec.not_before_ns) == (
        ["t"],
        "schedule/s",
        "ns",
        0,
    )
    assert inspect_uuid(one.job_id).created_ns == one.tick_ns
    kept = bench.book.get("s")
    assert kept is not None
    assert (kept.last_job, kept.done_ns, kept.n_fired) == (one.job_id, NOON + HOUR, 1)


@pytest.mark.parametrize(
    ("misfire", "expected", "n_missed"),
    [("skip", [], 5), ("once", [5], 4), ("all", [1, 2, 3, 4, 5], 0)],
)
def test_ticks_that_nobody_saw_follow_the_policy(
    bench: Bench, caplog: pytest.LogCaptureFixture, misfire: str, expected: list[int], n_missed: int
) -> None:
    """Nothing, one job for all, or one for each; how many is said, and the next one comes as always"""
    bench.put(misfire=misfire, overlap="allow")
    bench.go(5 * HOUR + 30 * MINUTE)
    scheduler = bench.scheduler()
    assert fired(scheduler) == expected
    assert f"nobody was there for 5 of its ticks: {len(expected) or 'none'} fired late" in caplog.text
    assert fired(scheduler) == []
    kept = bench.book.get("s")
    assert kept is not None
    assert (kept.n_fired, kept.n_missed) == (len(expected), n_missed)
    bench.go(30 * MINUTE)
    assert fired(scheduler) == [6]


def test_no_more_than_a_hundred_are_made_up_for(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """After years the last ones are, and that there were more is said"""
    bench.put(misfire="all", overlap="allow")
    bench.go(1000 * DAY)
    assert fired(bench.scheduler()) == list(range(24_000 - 99, 24_001))
    assert "100 or more of its ticks: 100 fired late" in caplog.text


def test_a_little_late_is_no_misfire(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """What is seen within a minute fires under any policy, and nothing is said of it"""
    bench.put(misfire="skip")
    bench.go(HOUR + 59 * NS)
    assert fired(bench.scheduler()) == [1]
    assert not caplog.text


def test_a_tick_is_skipped_while_the_last_job_lives(bench: Bench) -> None:
    """One that has not ended holds the next ones up; they are counted"""
    bench.put()
    scheduler = bench.scheduler()
    bench.go(HOUR)
    assert fired(scheduler) == [1]
    bench.go(HOUR)
    assert fired(scheduler) == []
    bench.finish()
    bench.go(HOUR)
    assert fired(scheduler) == [3]
    kept = bench.book.get("s")
    assert kept is not None
    assert (kept.n_fired, kept.n_skipped, kept.n_missed) == (2, 1, 0)


def test_overlapping_is_allowed_where_it_is_wanted(bench: Bench) -> None:
    """Then each tick has its job, whatever became of the last one"""
    bench.put(overlap="allow")
    scheduler = bench.scheduler()
    seen = []
    for _ in range(3):
        bench.go(HOUR)
        seen += fired(scheduler)
    assert seen == [1, 2, 3]


def test_a_clock_that_is_set_back_fires_nothing_twice(bench: Bench) -> None:
    """What it shows again was fired; it goes on behind the last tick"""
    bench.put(overlap="allow")
    scheduler = bench.scheduler()
    bench.go(2 * HOUR)
    assert fired(scheduler) == [2]
    bench.now_ns -= HOUR
    seen = []
    for _ in range(8):
        seen += fired(scheduler)
        bench.go(30 * MINUTE)
    assert seen == [3, 4]


def test_a_clock_that_is_set_forward_is_a_misfire(bench: Bench) -> None:
    """The ticks that it leaps over follow the policy, and those behind come once the clock shows them"""
    bench.put(when="every 10m", misfire="all", overlap="allow")
    bench.now_ns += HOUR
    assert len(bench.scheduler().tick().fired) == 6
    bench.now_ns -= HOUR
    bench.go(50 * MINUTE)
    assert fired(bench.scheduler()) == []
    bench.go(20 * MINUTE)
    assert fired(bench.scheduler()) == [1]


def test_a_clock_that_was_wrong_by_years_is_left_behind(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """When both clocks say that a tick was fired hours ahead of time, it goes on from now"""
    bench.put(overlap="allow")
    bench.now_ns += 1000 * DAY
    scheduler = bench.scheduler()
    assert fired(scheduler) == [24_000]
    bench.now_ns -= 1000 * DAY
    assert fired(scheduler) == []
    assert "2y" in caplog.text or "1000d" in caplog.text
    bench.go(HOUR)
    assert fired(scheduler) == [1]


def test_one_machine_whose_clock_is_slow_moves_nothing(bench: Bench) -> None:
    """Its own clock alone is not believed, so nothing fires again for the others"""
    bench.put(overlap="allow")
    good = bench.scheduler()
    bench.go(10 * HOUR)
    assert fired(good) == [10]
    slow = Scheduler(bench.queue, clock=lambda: bench.now_ns - 5 * HOUR)
    assert fired(slow) == []
    assert fired(good) == []


def test_a_tick_that_comes_again_is_the_same_job(bench: Bench) -> None:
    """Also one of a schedule that was removed and made anew: the queue knows the job"""
    bench.put(overlap="allow")
    bench.go(HOUR)
    (first,) = bench.scheduler().tick().fired
    bench.book.remove("s")
    bench.now_ns -= HOUR
    bench.put(overlap="allow")
    bench.now_ns += HOUR
    assert bench.scheduler().tick().fired == [first]
    assert len(bench.queue.list(State.QUEUED).jobs) == 1


def test_jobs_are_spread(bench: Bench) -> None:
    """Each starts up to so much later, by the queue's clock, and a late one the less so"""
    for number in range(20):
        bench.put(f"s{number}", spread="10m")
    bench.queue_ns += DAY  # another clock altogether
    bench.go(HOUR)
    bench.scheduler().tick()
    jobs = bench.queue.list(State.QUEUED).jobs
    delays = sorted((job.spec.not_before_ns - bench.queue_ns) / MINUTE for job in jobs)
    assert len(delays) == 20
    assert 0 < delays[0] < 3
    assert 7 < delays[-1] < 10
    bench.go(HOUR + 10 * MINUTE)
    bench.finish()
    bench.scheduler().tick()
    assert all(job.spec.not_before_ns == 0 for job in bench.queue.list(State.QUEUED).jobs)


def test_what_others_change_is_noticed(bench: Bench) -> None:
    """A scheduler looks at what is kept: added, redefined, paused, resumed, removed and made anew"""
    scheduler = bench.scheduler()
    assert scheduler.tick() == ([], None)
    bench.put()
    assert scheduler.tick().next_ns == NOON + HOUR
    bench.put(when="every 2h")
    assert scheduler.tick().next_ns == NOON + 2 * HOUR
    bench.book.pause("s")
    bench.go(4 * HOUR)
    assert scheduler.tick() == ([], None)
    bench.book.resume("s")
    assert scheduler.tick() == ([], NOON + 6 * HOUR)
    bench.book.remove("s")
    assert scheduler.tick() == ([], None)
    bench.put(when="every 3h")
    assert scheduler.tick() == ([], NOON + 6 * HOUR)


def test_who_loses_the_race_looks_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule that changed between look and swap fires nothing by what it was, and is looked at at once"""
    bench.put()
    bench.go(HOUR)
    scheduler = bench.scheduler()
    real = bench.queue.swap
    monkeypatch.setattr(bench.queue, "swap", lambda name, version, value, specs=(): False)
    assert scheduler.tick() == ([], bench.now_ns)
    monkeypatch.setattr(bench.queue, "swap", real)
    assert fired(scheduler) == [1]


def test_what_cannot_be_read_is_said_once_and_holds_nobody_up(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Damage, a newer format, a zone that this machine lacks: the others fire"""
    from vcache.serialize.plain import pack_plain

    bench.put()
    bench.queue.swap("schedule/damaged", 0, b"\xc1")
    bench.queue.swap("schedule/newer", 0, pack_plain({"format": 2, "kind": "k", "when": "@daily"}))
    far = {"format": 1, "kind": "k", "when": "@daily", "zone": "Mars/Olympus"}
    bench.queue.swap("schedule/far", 0, pack_plain(far))
    scheduler = bench.scheduler()
    bench.go(HOUR)
    assert fired(scheduler) == [1]
    scheduler.tick()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert all(f"schedule {name!r} does not fire" in "".join(said) for name in ("damaged", "newer", "far"))


def test_a_thread_fires_and_stops(bench: Bench) -> None:
    """Between start and stop ticks are fired as the clock shows them, and a change is noticed"""
    with Scheduler(bench.queue, clock=lambda: bench.now_ns, look_s=0.01) as scheduler:
        scheduler.start()
        bench.put(overlap="allow")
        bench.go(HOUR)
        until(lambda: len(bench.queue.list(State.QUEUED).jobs) == 1)
    scheduler.stop()
    bench.go(HOUR)
    assert len(bench.queue.list(State.QUEUED).jobs) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "vcache-scheduler"]


def test_who_fires_tells(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Of each job, once, with its tick; one that cannot hear it ends nothing, and others that watch tell nothing"""
    bench.put(misfire="all", overlap="allow")
    told: list[Fired] = []

    def tell(fired: Fired) -> None:
        told.append(fired)
        raise OSError("nobody reads")

    one = Scheduler(bench.queue, clock=lambda: bench.now_ns, on_fired=tell)
    other = Scheduler(bench.queue, clock=lambda: bench.now_ns, on_fired=lambda fired: pytest.fail(str(fired)))
    bench.go(2 * HOUR)
    fired = one.tick().fired
    other.tick()
    assert len(told) == 2
    assert told == fired
    assert {each.job_id for each in told} == {job.id for job in bench.queue.list(State.QUEUED).jobs}
    assert caplog.text.count("could not be told") == 2


def test_a_queue_that_is_away_is_waited_for(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once, and once more when ticks fire again; none is lost within the policy"""
    bench.put(misfire="all", overlap="allow")
    real = bench.queue.cells
    tries: list[int] = []

    def away(prefix: str) -> object:
        tries.append(1)
        raise StoreUnavailable("gone")

    monkeypatch.setattr(bench.queue, "cells", away)
    with caplog.at_level(logging.WARNING), Scheduler(bench.queue, clock=lambda: bench.now_ns, look_s=0.01):
        until(lambda: len(tries) > 1)
        monkeypatch.setattr(bench.queue, "cells", real)
        bench.go(3 * HOUR)
        until(lambda: len(bench.queue.list(State.QUEUED).jobs) == 3)
    assert caplog.text.count("schedules do not fire, for now: gone") == 1
    assert caplog.text.count("schedules fire again") == 1


def test_many_schedulers_fire_each_tick_once(bench: Bench) -> None:
    """Eight threads, forty ticks of three schedules: no tick twice, none missing"""
    names = ("a", "b", "c")
    for name in names:
        bench.put(name, misfire="all", overlap="allow")
    seen: list[Sequence[object]] = []
    barrier = threading.Barrier(8)

    def watch() -> None:
        scheduler = bench.scheduler()
        for _ in range(40):
            if barrier.wait() == 0:
                bench.go(HOUR)
            barrier.wait()
            seen.extend(scheduler.tick().fired)

    threads = [threading.Thread(target=watch, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert sorted((each[0], each[2]) for each in seen) == [
        (name, NOON + number * HOUR) for name in names for number in range(1, 41)
    ]
    assert len(bench.queue.list(State.QUEUED, limit=1000).jobs) == 120
