"""What retention and purges do to segments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vcache import Cache
from vcache.logs.disk import DiskLogs
from vcache.logs.dropping import planned
from vcache.logs.record import Record
from vcache.logs.retention import Rule, Rules
from vcache.query.syntax import Everything, Query
from vcache.store.memory import MemoryStore
from vcache.testing import FakeClock
from vcache.testing.logs import searched

DAY_NS = 86_400 * 10**9
NOW_NS = 100 * DAY_NS


def said(source: str, days: range, *, each: int = 1) -> list[Record]:
    """Records of each of so many days ago."""
    return [
        Record(NOW_NS - day * DAY_NS + number, 9, source, f"{source} {day}", {"day": day})
        for day in reversed(days)
        for number in range(each)
    ]


def store(path: Path, *appends: list[Record]) -> DiskLogs:
    logs = DiskLogs(path, clock=FakeClock(NOW_NS))
    for records in appends:
        logs.append(records)
    logs.seal()
    return logs


def days_of(logs: DiskLogs, source: str) -> list[object]:
    return [record.fields["day"] for record in searched(logs) if record.source == source]


def test_an_age_drops_records_that_share_a_block_with_others(tmp_path: Path) -> None:
    """Of a source with few records the old ones go, and all of another one stays, with their ids."""
    with store(tmp_path, said("gcc", range(10)), said("make", range(10))) as logs:
        before = {record.id: record for record in searched(logs)}
        rules = Rules((Rule("gcc", max_age_s=2.5 * 86_400),))
        _, segments, _ = logs.contents()
        assert planned(segments, rules, now_ns=NOW_NS).records == 7
        gone = logs.retain(rules)
        assert gone.records == 7
        assert days_of(logs, "gcc") == [2, 1, 0]
        assert days_of(logs, "make") == list(range(9, -1, -1))
        after = searched(logs)
        assert all(before[record.id] == record == logs.find(record.id) for record in after)
        assert len(os.listdir(tmp_path / "segments")) == 1
        assert logs.retain(rules).records == 0


def test_an_age_parts_a_block_of_one_source(tmp_path: Path) -> None:
    """Old records go though newer ones of their own are in the same block."""
    with store(tmp_path, said("gcc", range(10), each=300)) as logs:
        assert logs.retain(Rules(max_age_s=4.5 * 86_400)).records == 5 * 300
        assert logs.stats().sources["gcc"].records == 5 * 300


def test_whole_blocks_are_copied_beside_those_that_are_parted(tmp_path: Path) -> None:
    """Of a source with blocks of its own nothing is decoded; the others become one block again."""
    big = said("big", range(1), each=9_000)
    with store(tmp_path, big, big, said("gcc", range(10)), said("ld", range(10))) as logs:
        assert logs.retain(Rules((Rule("gcc", max_records=3), Rule("ld", max_records=4)))).records == 13
        (segment,) = logs.contents()[1]
        assert sorted(block.about.rows for block in segment.blocks) == [7, 9_000, 9_000]
        assert days_of(logs, "gcc") == [2, 1, 0]
        assert days_of(logs, "ld") == [3, 2, 1, 0]
        assert logs.stats().records == 18_007


@pytest.mark.parametrize(
    ("late_s", "few", "gone"), [(0.5, 2, 0), (0.5, 3, 3), (1.5, 2, 2), (1.5, 1, 1)]
)  # fmt: skip
def test_a_few_that_are_hardly_late_are_left(tmp_path: Path, late_s: float, few: int, gone: int) -> None:
    """Less than an eighth of a block's rows, and less than an eighth of the age overdue: not worth it."""
    rules, young = Rules((Rule("gcc", max_age_s=8.0),)), said("gcc", range(1), each=20)
    late_ns = NOW_NS - int((8.0 + late_s) * 1e9)
    old = [Record(late_ns + number, 9, "gcc", "late") for number in range(few)]
    with store(tmp_path, old, young) as logs:
        assert planned(logs.contents()[1], rules, now_ns=NOW_NS).records == gone
        assert logs.retain(rules).records == gone
        assert logs.stats().records == 20 + few - gone


def test_bytes_are_a_bound_for_each_source_in_a_shared_block(tmp_path: Path) -> None:
    """By its share of the segment; nothing younger goes than what stays."""
    with store(tmp_path, said("gcc", range(50)), said("make", range(50))) as logs:
        half = logs.contents()[1][0].info.size_bytes // 4
        logs.retain(Rules((Rule("gcc", max_bytes=half),)))
        left = days_of(logs, "gcc")
        assert left == list(range(len(left) - 1, -1, -1))
        assert 23 <= len(left) <= 25
        assert len(days_of(logs, "make")) == 50


def test_what_is_damaged_does_not_stop_the_others(tmp_path: Path) -> None:
    """A flipped bit costs its block's records; the others go when they are due, and the gap stays said."""
    with store(tmp_path, said("big", range(1), each=5_000), said("gcc", range(10))) as logs:
        (segment,) = logs.contents()[1]
        (block,) = (block for block in segment.blocks if "big" in block.about.levels)
        (group,) = segment.groups
        flip(segment.path, group.offset + block.about.core["@time"].chunks[0].offset)
    with DiskLogs(tmp_path, clock=FakeClock(NOW_NS)) as logs:
        (tmp_path / "tail" / f"{'0' * 32}.damaged").write_bytes(b"?")
        assert logs.retain(Rules((Rule("gcc", max_age_s=2.5 * 86_400),))).records == 7
        assert logs.stats().records == 5_003
        result = logs.search(Query(Everything()))
        assert [record.fields["day"] for record in result.rows if isinstance(record, Record)] == [2, 1, 0]
        assert [gap.records for gap in result.gaps if gap.place.startswith(str(tmp_path / "segments"))] == [
            5_000
        ]
        assert logs.contents()[1][0].path != segment.path


def test_what_can_be_had_again_is_fetched_before(tmp_path: Path) -> None:
    """A copy of damage is another file, which no tier has: so it is mended first, and nothing is lost."""
    far = MemoryStore()
    far.info = far.info._replace(is_trusted=False)
    with Cache(far) as cache, DiskLogs(tmp_path, clock=FakeClock(NOW_NS), cache=cache) as logs:
        logs.append(said("gcc", range(10)) + said("make", range(10)))
        logs.seal()
        (segment,) = logs.contents()[1]
        flip(
            segment.path,
            segment.groups[0].offset + segment.blocks[0].about.core["@message"].chunks[-1].offset,
        )
        assert logs.retain(Rules((Rule("gcc", max_age_s=2.5 * 86_400),))).records == 7
        assert days_of(logs, "gcc") == [2, 1, 0]
        assert len(days_of(logs, "make")) == 10


def test_a_damaged_block_stays_until_all_of_it_goes(tmp_path: Path) -> None:
    """What cannot be parted is a gap as before; then it goes unread."""
    with store(tmp_path, said("gcc", range(10)), said("make", range(10))) as logs:
        (segment,) = logs.contents()[1]
        (group,) = segment.groups
        column = segment.blocks[0].about.core["@message"]
        flip(segment.path, group.offset + column.chunks[-1].offset)
    with DiskLogs(tmp_path, clock=FakeClock(NOW_NS)) as logs:
        logs.retain(Rules((Rule("gcc", max_age_s=2.5 * 86_400),)))
        assert logs.stats().records == 20
        logs.retain(Rules(max_bytes=0))
        assert logs.stats().records == 0


def flip(path: Path, at: int) -> None:
    """Turn a bit of a sealed file."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
