"""The janitor: rounds of plan and act on any collectable store, and the thread that repeats them."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vcache.entry import make_key
from vcache.errors import StoreBusy, StoreError, StoreUnavailable
from vcache.janitor import GcReport, Janitor, collect
from vcache.policy import Limits
from vcache.store.base import Collectable, Survey
from vcache.store.disk import DiskStore
from vcache.testing import FakeClock, make_record
from vcache.testing.records import body_of

NS = 1_000_000_000
WAIT_S = 20.0


class Shelf:
    """A collectable store of numbered rows; a dropped row takes its place until `reclaim`.

    A row is (seconds since use, bytes, letters: b for a blob, p for a pin, u for one that is in use).
    """

    def __init__(self, clock: FakeClock, rows: Iterable[tuple[int, int, str]], dead_bytes: int = 0) -> None:
        self.clock = clock
        self.rows = dict(enumerate(rows))
        self.dead_bytes = dead_bytes
        self.fixed_bytes = 0
        self.log: list[str] = []
        self.targets: list[int | None] = []
        self.fails_with: Exception | None = None

    def survey(self) -> Survey:
        if self.fails_with is not None:
            raise self.fails_with
        self.log.append("survey")
        rows = self.rows.values()
        return Survey(
            ids=list(self.rows),
            used_ns=[self.clock() - age_s * NS for age_s, _, _ in rows],
            expires_s=[0] * len(rows),
            size_bytes=[size for _, size, _ in rows],
            is_pinned=["p" in letters for _, _, letters in rows],
            is_entry=["b" not in letters for _, _, letters in rows],
        )

    def evict(self, survey: Survey, rows: Iterable[int]) -> int:
        dropped = 0
        for row in rows:
            number = survey.ids[row]
            if number in self.rows and "u" not in self.rows[number][2]:
                self.dead_bytes += self.rows.pop(number)[1]
                self.log.append(f"evict {number}")
                dropped += 1
        return dropped

    def reclaim(self, *, target_bytes: int | None = None) -> int:
        self.log.append("reclaim")
        self.targets.append(target_bytes)
        freed, self.dead_bytes = self.dead_bytes, 0
        return freed

    def disk_bytes(self) -> int:
        return sum(size for _, size, _ in self.rows.values()) + self.dead_bytes + self.fixed_bytes


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


# -- collect ---------------------------------------------------------------------------------


def test_the_shelf_is_collectable(clock: FakeClock) -> None:
    """What these tests collect satisfies the protocol."""
    assert isinstance(Shelf(clock, []), Collectable)


def test_it_drops_what_was_planned_and_reports(clock: FakeClock) -> None:
    """The oldest go, entries before blobs, then the space comes back; the numbers say so."""
    shelf = Shelf(clock, [(9, 10, "b"), (8, 10, ""), (7, 10, ""), (1, 10, ""), (99, 10, "p")])
    ticks = iter((100.0, 102.5))
    report = collect(shelf, Limits(max_bytes=49, max_age_s=8.5), clock=clock, monotonic=lambda: next(ticks))
    assert report == GcReport(
        dropped_entries=0,
        kept_entries=4,
        freed_bytes=10,
        expired=0,
        aged=1,
        over_budget=0,
        disk_before_bytes=50,
        disk_after_bytes=40,
        duration_s=2.5,
    )
    report = collect(shelf, Limits(max_bytes=39, low_water=0.6), clock=clock)
    assert (report.dropped_entries, report.kept_entries, report.over_budget) == (2, 2, 2)
    assert shelf.log == ["survey", "evict 0", "reclaim", "survey", "evict 1", "evict 2", "reclaim"]


def test_entries_are_dropped_before_the_blobs_they_share(clock: FakeClock) -> None:
    """Also where the blob is older: an entry never stands without its blob."""
    shelf = Shelf(clock, [(9, 10, "b"), (8, 10, "")])
    collect(shelf, Limits(max_bytes=0), clock=clock)
    assert shelf.log == ["survey", "evict 1", "evict 0", "reclaim"]


def test_dead_space_is_given_back_before_live_rows_are_dropped(clock: FakeClock) -> None:
    """A store whose live rows fit loses none of them."""
    shelf = Shelf(clock, [(1, 10, "")] * 5, dead_bytes=1000)
    report = collect(shelf, Limits(max_bytes=100), clock=clock)
    assert (report.freed_bytes, report.kept_entries, len(shelf.rows)) == (1000, 5, 5)
    assert shelf.targets == [95]


def test_it_goes_on_until_the_store_fits(clock: FakeClock) -> None:
    """What the store takes beside its rows counts from the second round on."""
    shelf = Shelf(clock, [(age, 10, "") for age in range(10)])
    shelf.fixed_bytes = 50
    report = collect(shelf, Limits(max_bytes=100), clock=clock)
    assert report.disk_after_bytes == 90
    assert report.kept_entries == len(shelf.rows) == 4
    assert report.dropped_entries == 6


def test_it_ends_where_nothing_can_be_dropped(clock: FakeClock) -> None:
    """Pins and rows in use are kept, above the budget too."""
    for letters in ("p", "u"):
        shelf = Shelf(clock, [(1, 10, letters)] * 5)
        report = collect(shelf, Limits(max_bytes=20), clock=clock)
        assert (report.dropped_entries, report.kept_entries, report.disk_after_bytes) == (0, 5, 50)
        assert shelf.log.count("survey") <= 4


def test_a_dry_run_changes_nothing(clock: FakeClock) -> None:
    """The report says what would be dropped."""
    shelf = Shelf(clock, [(5, 10, "b"), (4, 10, ""), (1, 10, "")])
    report = collect(shelf, Limits(max_age_s=2), clock=clock, dry_run=True)
    assert shelf.log == ["survey"]
    assert report.is_dry_run
    assert (report.dropped_entries, report.kept_entries, report.freed_bytes, report.aged) == (1, 1, 20, 2)
    assert (report.disk_before_bytes, report.disk_after_bytes) == (30, 10)


def test_progress_is_told(clock: FakeClock) -> None:
    """Each phase from its begin to its end; the rows that are dropped in steps."""
    shelf = Shelf(clock, [(5, 1, "")] * 5000)
    told: list[tuple[str, int, int]] = []
    collect(shelf, Limits(max_bytes=0), clock=clock, progress=lambda *step: told.append(step))
    assert told[:2] == [("survey", 0, 1), ("survey", 1, 1)]
    assert told[-2:] == [("reclaim", 0, 1), ("reclaim", 1, 1)]
    evicted = [done for phase, done, total in told if phase == "evict" and total == 5000]
    assert evicted[0] == 0
    assert evicted[-1] == 5000
    assert evicted == sorted(evicted)
    assert len(evicted) > 3


def test_what_progress_raises_ends_the_collection(clock: FakeClock) -> None:
    """So that a user's interrupt does: what was dropped stays dropped."""
    shelf = Shelf(clock, [(5, 1, "")] * 5000)

    def stop(phase: str, done: int, total: int) -> None:
        if done > 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(shelf, Limits(max_bytes=0), clock=clock, progress=stop)
    assert 0 < len(shelf.rows) < 3000


def test_a_real_store_is_brought_within_its_budget(tmp_path: Path) -> None:
    """Bytes, entries and age on a disk store: within the limits afterwards, the youngest still there."""
    clock = FakeClock()
    store = DiskStore(tmp_path, max_bytes=1_000_000, clock=clock)
    keys = [make_key(str(number)) for number in range(60)]
    for seed, key in enumerate(keys):
        store.put(key, make_record(key, body_of((3000, 60_000, 300_000)[seed % 3], seed=seed)))
        clock.advance(1)
    assert store.disk_bytes() > 5_000_000
    report = collect(store, Limits(max_bytes=1_000_000), clock=clock)
    assert store.disk_bytes() <= 1_000_000
    assert report.disk_after_bytes == store.disk_bytes()
    assert report.freed_bytes > 4_000_000
    left = [key for key in keys if store.entry(key) is not None]
    assert len(left) == report.kept_entries == 60 - report.dropped_entries
    assert left == keys[-len(left) :]
    collect(store, Limits(max_entries=3, low_water=1), clock=clock)
    assert [key for key in keys if store.get(key) is not None] == keys[-3:]
    assert store.disk_bytes() <= 1_000_000
    clock.advance("2h")
    collect(store, Limits(max_age_s=3600), clock=clock)
    assert list(store.scan()) == []
    store.close()


# -- the thread ------------------------------------------------------------------------------


class Reports:
    """What a janitor reported, to be waited for."""

    def __init__(self) -> None:
        self.seen: list[GcReport] = []
        self._changed = threading.Condition()

    def __call__(self, report: GcReport) -> None:
        with self._changed:
            self.seen.append(report)
            self._changed.notify_all()

    def wait_for(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self.seen) >= count, WAIT_S)


Make = Callable[..., Janitor]


@pytest.fixture
def make(clock: FakeClock) -> Iterator[Make]:
    """Makes janitors that are closed afterwards."""
    made: list[Janitor] = []

    def build(store: Shelf, limits: Limits | None = None, **options: object) -> Janitor:
        janitor = Janitor(store, limits or Limits(max_bytes=0), **{"clock": clock, "pause_s": 0.0, **options})  # type: ignore[arg-type]
        made.append(janitor)
        return janitor

    yield build
    for janitor in made:
        janitor.close(WAIT_S)


def test_a_nudge_collects_soon(clock: FakeClock, make: Make) -> None:
    """Each nudge that finds the janitor at rest is followed by a collection."""
    reports, shelf = Reports(), Shelf(clock, [(1, 10, "")])
    janitor = make(shelf, on_report=reports)
    janitor.nudge()
    assert reports.wait_for(1)
    assert shelf.rows == {}
    shelf.rows[7] = (1, 10, "")
    janitor.nudge()
    assert reports.wait_for(2)
    assert reports.seen[1].dropped_entries == 1


def test_it_collects_at_intervals(clock: FakeClock, make: Make) -> None:
    """Once started it needs no nudge."""
    reports = Reports()
    janitor = make(Shelf(clock, []), interval_s=0.01, on_report=reports)
    janitor.start()
    janitor.start()
    assert reports.wait_for(3)


def test_a_fault_is_logged_and_tried_again(
    clock: FakeClock, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the store raises does not end the janitor, and reaches the log with its cause."""
    reports, shelf = Reports(), Shelf(clock, [])
    janitor = make(shelf, on_report=reports)
    for error in (StoreUnavailable("down"), ValueError("a bug")):
        shelf.fails_with = error
        with caplog.at_level(logging.WARNING, "vcache.janitor"):
            assert janitor.run_once() is None
        record = caplog.records[-1]
        assert record.exc_info is not None
        assert record.exc_info[1] is error
    shelf.fails_with = None
    janitor.nudge()
    assert reports.wait_for(1)


def test_a_listener_that_fails_is_logged(
    clock: FakeClock, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The janitor outlives who listens to it."""
    reports = Reports()

    def listen(report: GcReport) -> None:
        reports(report)
        raise ValueError("a bug")

    janitor = make(Shelf(clock, []), on_report=listen, interval_s=0.01)
    janitor.start()
    assert reports.wait_for(2)
    assert "a listener" in caplog.text


def test_one_process_collects_at_a_time(
    clock: FakeClock, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A collection is left to whoever holds the lock, without a word of warning; the lock spans all of it."""
    held: list[int] = []

    @contextmanager
    def exclusive() -> Iterator[None]:
        if busy:
            raise StoreBusy("another one collects")
        held.append(len(shelf.log))
        yield
        held.append(len(shelf.log))

    shelf = Shelf(clock, [(1, 10, "")])
    janitor = make(shelf, exclusive=exclusive)
    busy = True
    assert janitor.run_once() is None
    assert shelf.log == []
    busy = False
    assert janitor.run_once() is not None
    assert held == [0, len(shelf.log)]
    assert caplog.records == []


def test_close_ends_a_collection_between_two_steps(clock: FakeClock, make: Make) -> None:
    """The thread ends, though the collection was not done; nothing is logged, a nudge wakes nobody."""
    at_work, go_on = threading.Event(), threading.Event()

    class Slow(Shelf):
        def survey(self) -> Survey:
            at_work.set()
            assert go_on.wait(WAIT_S)
            return super().survey()

    shelf = Slow(clock, [(1, 10, "")])
    janitor = make(shelf)
    janitor.nudge()
    assert at_work.wait(WAIT_S)
    janitor.close(0)
    go_on.set()
    janitor.close(WAIT_S)
    assert "reclaim" not in shelf.log
    assert len(shelf.rows) == 1
    threads = threading.active_count()
    janitor.nudge()
    janitor.start()
    assert threading.active_count() == threads


def test_it_rests_after_work(clock: FakeClock, make: Make) -> None:
    """However often it is nudged, a store that cannot be helped does not keep a core busy."""
    reports = Reports()
    janitor = make(Shelf(clock, [(1, 10, "p")]), on_report=reports, pause_s=3600.0)
    janitor.nudge()
    assert reports.wait_for(1)
    for _ in range(100):
        janitor.nudge()
    janitor.close(WAIT_S)
    assert len(reports.seen) == 1


def test_the_thread_ends_with_its_janitor(clock: FakeClock) -> None:
    """A janitor that was forgotten instead of closed is not kept alive by its thread."""
    reports = Reports()
    janitor = Janitor(Shelf(clock, []), Limits(), on_report=reports, pause_s=0.0)
    janitor.nudge()
    assert reports.wait_for(1)
    thread = janitor._thread
    assert thread is not None
    del janitor
    gc.collect()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_forked_child_collects_again(clock: FakeClock, make: Make) -> None:
    """The thread is not in the child: the next nudge starts another one, also if a lock was held."""
    reports, shelf = Reports(), Shelf(clock, [])
    janitor = make(shelf, on_report=reports)
    janitor.nudge()
    assert reports.wait_for(1)
    with janitor._lock:
        child = os.fork()
        if child == 0:
            reports.seen.clear()
            janitor.nudge()
            os._exit(0 if reports.wait_for(1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_errors_of_collect_are_the_stores(clock: FakeClock) -> None:
    """Only the janitor hushes: who collects by hand hears what went wrong."""
    shelf = Shelf(clock, [])
    shelf.fails_with = StoreUnavailable("down")
    with pytest.raises(StoreError, match="down"):
        collect(shelf, Limits(), clock=clock)
