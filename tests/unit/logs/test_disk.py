"""The log store of a directory: what it adds to the contract."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.crew import Child
from tests.patience import until
from vcache import Cache
from vcache.errors import StoreClosed, UsageError
from vcache.logs.base import Result
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.logs.retention import Rule, Rules
from vcache.logs.sealing import merge_plan
from vcache.logs.segment import SegmentInfo
from vcache.query.syntax import Aggregate, And, Call, Compare, Contains, Everything, Group, Query
from vcache.store.memory import MemoryStore
from vcache.testing import FakeClock
from vcache.testing.logs import heard, numbered, searched

DAY_NS = 86_400 * 10**9


def counts(result: Result) -> dict[object, object]:
    return {row[0]: row[1] for row in result.rows if isinstance(row, tuple)}


def by_source(logs: DiskLogs) -> dict[str, int]:
    return {name: stats.records for name, stats in logs.stats().sources.items()}


def test_what_is_sealed_is_the_same(tmp_path: Path) -> None:
    """Records, ids, times and stats do not change by sealing; the tail is gone."""
    with DiskLogs(tmp_path) as logs:
        logs.append(numbered(50))
        logs.append(numbered(30, source="gcc"))
        before, stats = searched(logs), logs.stats()
        report = logs.seal()
        assert (report.tails, report.records, report.segments) == (1, 80, 1)
        assert searched(logs) == before
        assert logs.find(before[7].id) == before[7]
        after = logs.stats()
        assert (after.tail_records, after.segments) == (0, 1)
        assert (after.records, after.first_ns, after.last_ns) == (
            stats.records,
            stats.first_ns,
            stats.last_ns,
        )
        # Times of a source are those of the blocks that have it.
        assert [(name, of.records, of.by_level) for name, of in after.sources.items()] == [
            (name, of.records, of.by_level) for name, of in stats.sources.items()
        ]
        assert os.listdir(tmp_path / "tail") == []
        assert logs.seal() == (0, 0, 0, 0)


def test_another_process_sees_and_follows(tmp_path: Path) -> None:
    """What one process appends another one finds and hears, also what is sealed or written directly."""
    with DiskLogs(tmp_path) as logs:
        follower = logs.follow()

        def work(_fd: int) -> None:
            with DiskLogs(tmp_path) as other:
                other.append(numbered(5))
                other.append(numbered(5, first=5), sync=False)
                other.seal()
                other.append_bulk(numbered(17_000, first=10))
                other.append(numbered(1, first=17_010))

        Child(work).finish(60)
        found = heard(follower, 17_011)
        assert [record.fields["line"] for record in found] == list(range(17_011))
        assert len({record.id for record in found}) == 17_011
        assert logs.stats().records == 17_011


def test_a_fork_goes_on_with_a_tail_of_its_own(tmp_path: Path) -> None:
    """Parent and child append to one store object, and lose nothing; nobody follows in the child."""
    with DiskLogs(tmp_path) as logs:
        logs.append(numbered(3, source="parent"))
        follower = logs.follow()

        def work(_fd: int) -> None:
            with pytest.raises(StoreClosed):
                follower.wait(0)
            logs.append(numbered(3, source="child"))
            assert by_source(logs) == {"child": 3, "parent": 3}
            assert len(os.listdir(tmp_path / "tail")) == 2
            logs.follow().close()
            logs.close()

        Child(work).finish(60)
        logs.append(numbered(3, first=3, source="parent"))
        assert {record.source for record in heard(follower, 6)} == {"parent", "child"}
        assert by_source(logs) == {"child": 3, "parent": 6}


def test_what_others_write_is_not_sealed(tmp_path: Path) -> None:
    """A tail that is held stays; once its writer is gone it may be sealed by anybody."""
    with DiskLogs(tmp_path) as logs, DiskLogs(tmp_path) as other:
        other.append(numbered(5))
        assert logs.seal().records == 0
        other.close()
        assert logs.seal().records == 5
        assert len(searched(logs)) == 5


def test_what_is_sealed_while_it_is_looked_for_is_seen_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at tails and the look at segments records may move: tails are looked at first."""
    with DiskLogs(tmp_path) as first:
        first.append(numbered(5))
    with DiskLogs(tmp_path) as logs, DiskLogs(tmp_path) as other:
        for part, look in ((logs._tails, logs._tails.current), (logs._sealed, logs._sealed.current)):

            def moved(look: Callable[[], object] = look) -> object:
                found = look()
                other.seal()
                return found

            monkeypatch.setattr(part, "current", moved)
        assert len(searched(logs)) == 5
        assert len({record.id for record in searched(logs)}) == 5


def test_full_tails_are_sealed_in_the_background(tmp_path: Path) -> None:
    """While records are appended, without being asked for."""
    with DiskLogs(tmp_path) as logs:
        logs._writer._file_records = 100
        for number in range(12):
            logs.append(numbered(50, first=50 * number))
        until(lambda: logs.stats().segments)
        assert [record.fields["line"] for record in searched(logs)] == list(range(600))


def test_small_segments_are_merged(tmp_path: Path) -> None:
    """Eight of a size become one; nothing changes but their number."""
    with DiskLogs(tmp_path) as logs:
        for number in range(9):
            logs.append(numbered(10, first=10 * number))
            logs.seal()
        assert logs.stats().segments < 4
        assert len(os.listdir(tmp_path / "segments")) == logs.stats().segments
        assert [record.fields["line"] for record in searched(logs)] == list(range(90))


def test_the_plan_of_merges() -> None:
    """Of one tier the oldest eight; large ones stay as they are."""

    def info(number: int, size_bytes: int) -> SegmentInfo:
        return SegmentInfo(bytes([number]), size_bytes, 1, number, number, {}, (), ())

    small = [info(number, 1_000) for number in range(9)]
    assert merge_plan(small) == [[bytes([number]) for number in range(8)]]
    assert merge_plan(small[:7]) == []
    assert merge_plan([*small[:7], info(99, 1 << 20)]) == []
    assert merge_plan([info(number, 200 << 20) for number in range(20)]) == []
    large = merge_plan([info(number, 100 << 20) for number in range(8)])
    assert [len(group) for group in large] == [2]


def test_answers_about_the_past_are_kept(tmp_path: Path) -> None:
    """A count over sealed records is answered from the cache, and right after new ones came."""
    query = Query(
        And((Compare("level", ">=", 13), Contains("message", "line 4"))),
        (Aggregate((Call("count", "", 0, "count"),), (Group("source", 0, "source"),)),),
    )
    with Cache(tmp_path / "cache") as cache, DiskLogs(tmp_path / "logs", cache=cache) as logs:
        logs.append(numbered(50))
        logs.seal()
        assert counts(logs.search(query)) == {"make": 5}
        again = logs.search(query)
        assert counts(again) == {"make": 5}
        assert again.seen.segments_kept == 1
        logs.append(numbered(5, source="gcc"))
        assert counts(logs.search(query)) == {"make": 5, "gcc": 1}


def test_retention_drops_the_oldest_of_each_source(tmp_path: Path) -> None:
    """By rules over sealed blocks; nothing that is younger than asked."""
    clock = FakeClock(100 * DAY_NS)
    with DiskLogs(tmp_path, clock=clock) as logs:
        for day in range(5):
            records = [
                Record((95 + day) * DAY_NS + number, 9, source, "x" * 30, {"day": day})
                for source in ("gcc", "make")
                for number in range(2_100)
            ]
            logs.append(records)
            logs.seal()
        gone = logs.retain(Rules((Rule("gcc", max_age_s=2.5 * 86_400),)))
        assert gone.records == 3 * 2_100
        assert gone.size_bytes > 0
        assert by_source(logs) == {"gcc": 2 * 2_100, "make": 5 * 2_100}
        assert logs.retain(Rules(max_bytes=0)).records == 7 * 2_100
        assert searched(logs) == []
        assert os.listdir(tmp_path / "segments") == []


def test_a_purge_is_exact(tmp_path: Path) -> None:
    """Exactly what is meant goes, also out of blocks that hold other records; ids stay."""
    with DiskLogs(tmp_path) as logs:
        logs.append(numbered(40))
        logs.append(numbered(40, source="secret-agent"))
        before = {record.id: record for record in searched(logs)}
        time_ns = numbered(21)[20].at_ns
        assert logs.purge(source="secret-*").records == 40
        assert by_source(logs) == {"make": 40}
        assert logs.purge(source="make", before_ns=time_ns).records == 20
        left = searched(logs)
        assert [record.fields["line"] for record in left] == list(range(20, 40))
        assert all(before[record.id] == record for record in left)
        assert logs.purge(before_ns=0).records == 0
        assert logs.purge(source="*").records == 20
        assert searched(logs) == []
        with pytest.raises(UsageError, match="purge of everything"):
            logs.purge()


def test_damage_in_a_segment_is_found(tmp_path: Path) -> None:
    """`verify` reads every byte, and says which file is damaged."""
    with DiskLogs(tmp_path) as logs:
        logs.append(numbered(500))
        logs.seal()
        ((place, fault),) = logs.verify()
        assert fault is None
        path = tmp_path / place
        path.chmod(0o644)
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 3] ^= 1
        path.write_bytes(damaged)
        ((place, fault),) = logs.verify(repair=True)
        assert fault == "its bytes are not what was written"


def elsewhere() -> MemoryStore:
    """A tier that says it is on another machine."""
    store = MemoryStore()
    store.info = store.info._replace(is_trusted=False)
    return store


def test_a_damaged_segment_is_fetched_from_a_network_tier(tmp_path: Path) -> None:
    """Where a tier on another machine has it: by `verify`, and by whoever opens the store and finds it damaged."""
    with Cache(elsewhere()) as cache:
        with DiskLogs(tmp_path, cache=cache) as logs:
            logs.append(numbered(500))
            logs.seal()
            before = searched(logs)
        (path,) = (tmp_path / "segments").iterdir()
        sound = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(sound[: len(sound) // 3] + b"?" + sound[len(sound) // 3 + 1 :])
        with DiskLogs(tmp_path, cache=cache) as logs:
            assert [fault for _, fault in logs.verify()] == ["its bytes are not what was written"]
            assert [fault for _, fault in logs.verify(repair=True)] == [None]
            assert searched(logs) == before
        assert path.read_bytes() == sound
        path.chmod(0o644)
        path.write_bytes(sound[:-5])
        with DiskLogs(tmp_path, cache=cache) as logs:
            assert searched(logs) == before
        assert path.read_bytes() == sound
        assert path.stat().st_mode & 0o777 == 0o444


def test_without_another_machine_nothing_is_kept_twice(tmp_path: Path) -> None:
    """A cache of this machine alone gets no copies of segments."""
    with Cache(tmp_path / "cache") as cache, DiskLogs(tmp_path / "logs", cache=cache) as logs:
        logs.append(numbered(500))
        logs.seal()
        assert len(cache) == 0


def test_concurrent_appends_share_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appends that come while a sync is under way are made durable together, by the next."""
    gate, started, syncs = threading.Event(), threading.Event(), []
    real = os.fdatasync

    def slow(fd: int) -> None:
        syncs.append(fd)
        started.set()
        gate.wait(60)
        real(fd)

    with DiskLogs(tmp_path) as logs:
        monkeypatch.setattr(os, "fdatasync", slow)
        threads = [
            threading.Thread(target=logs.append, args=(numbered(1, first=number),)) for number in range(9)
        ]
        threads[0].start()
        assert started.wait(60)
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(searched(logs)) == 9)
        gate.set()
        for thread in threads:
            thread.join(60)
        assert len(syncs) == 2


def test_everything_counts(tmp_path: Path) -> None:
    """An aggregate over tail and segments is one answer."""
    query = Query(
        Everything(), (Aggregate((Call("count", "", 0, "count"),), (Group("source", 0, "source"),)),)
    )
    with DiskLogs(tmp_path) as logs:
        logs.append(numbered(5))
        logs.seal()
        logs.append(numbered(7))
        assert counts(logs.search(query)) == {"make": 12}
