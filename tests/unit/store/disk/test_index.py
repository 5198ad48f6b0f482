"""The index: a table of rows in a mapped file."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from tests.faults.crew import deadline
from vcache.store.disk import index
from vcache.store.disk.index import (
    BLOB,
    ENTRY,
    FILE,
    HEADER_WORDS,
    HOME_SHIFT,
    LIVE,
    REF,
    ROW_WORDS,
    TOMB,
    DamagedIndex,
    Table,
    Word,
    location,
    offset_of,
    row_size,
    segment_of,
)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return fresh(tmp_path / "index")


def fresh(path: Path, source: Table | None = None) -> Table:
    Table.write_new(path, source=source)
    return Table.open(path, read_only=False)


def tag_of(number: int) -> int:
    return random.Random(number).getrandbits(64) | LIVE


def row(table: Table, slot: int) -> list[int]:
    return list(table.words[slot : slot + ROW_WORDS])


def test_a_location_gives_its_parts_back() -> None:
    """Segment and offset of a location are those it was made of, whatever its kind."""
    for segment, offset, kind in [(0, 0, 0), (1, 8, ENTRY), ((1 << 32) - 2, (64 << 20) - 8, ENTRY | REF)]:
        place = location(segment, offset, kind)
        assert (segment_of(place), offset_of(place)) == (segment, offset)
        assert place & kind == kind
        assert place < 1 << 64


def test_a_row_is_found_until_it_is_removed(table: Table) -> None:
    """A row is found under its tag; moved, it says the newer place; removed, it is dead."""
    tag = tag_of(1)
    slot = table.insert(tag, location(1, 8, ENTRY), 11, 100, 7)
    assert table.slots(tag) == [slot]
    assert row(table, slot) == [tag, location(1, 8, ENTRY), 11, 100 << 32 | 7]
    table.move(slot, location(2, 16, ENTRY), 12, 300, 8)
    assert row(table, slot) == [tag, location(2, 16, ENTRY), 12, 300 << 32 | 8]
    table.remove(slot)
    assert table.slots(tag) == []
    assert table.words[slot] == TOMB


def test_counters_follow_every_change(table: Table) -> None:
    """The header counts rows, entries and bytes as they come and go; a recount finds the same."""
    slots = [
        table.insert(tag_of(n), location(1, n * 8, ENTRY if n % 3 else BLOB), 1, 100 + n, 0)
        for n in range(30)
    ]
    for slot in slots[:10]:
        table.remove(slot)
    for slot in slots[10:15]:
        table.move(slot, location(3, 8, ENTRY), 2, 1000, 0)
    counts = table.words[Word.FILLED : Word.LIVE_BYTES + 1]
    is_entry = [bool(table.words[slot + 1] & ENTRY) for slot in slots[10:]]
    sizes = 5 * 1000 + sum(100 + n for n in range(15, 30))
    assert list(counts) == [30, 14, 20, sizes]  # a moved row counts as what it was first
    counts[:] = memoryview(bytes(32)).cast("Q")
    table.recount()
    assert list(counts) == [30, sum(is_entry), 20, sizes]


def test_sizes_beyond_two_gigabytes_are_counted_in_kilobytes(table: Table) -> None:
    """A row's size is exact up to 2 GiB and rounded up to KiB beyond."""
    for size, said in [
        (0, 0),
        ((1 << 31) - 1, (1 << 31) - 1),
        (1 << 31, 1 << 31),
        (5 << 40, 1 << 41),
        ((3 << 30) + 1, (3 << 30) + 1024),
    ]:
        slot = table.insert(tag_of(size), location(1, 8, FILE), 1, size, 0)
        assert row_size(table.words[slot + 3] >> 32) == min(said, ((1 << 31) - 1) << 10)


def test_probing_goes_on_behind_dead_rows_and_around_the_end(table: Table) -> None:
    """Rows of one home are all found, in the order of their probe, also past the last row."""
    home = table.mask  # the last row
    tags = [home << HOME_SHIFT | number << 48 | LIVE for number in range(5)]
    slots = [table.insert(tag, location(1, 8, ENTRY), 1, 1, 0) for tag in tags]
    assert slots == [table.end - ROW_WORDS, *(HEADER_WORDS + at * ROW_WORDS for at in range(4))]
    table.remove(slots[1])
    assert [table.slots(tag) for tag in tags[2:]] == [[slot] for slot in slots[2:]]
    assert table.insert(tags[1], location(1, 8, ENTRY), 1, 1, 0) == slots[1]  # dead rows are used again


def test_growth_keeps_live_rows_and_drops_dead_ones(tmp_path: Path, table: Table) -> None:
    """A table written from another has its live rows, its header's totals, and room for as many again."""
    slots = {tag_of(n): table.insert(tag_of(n), location(1, n * 8, ENTRY), n, 10, 0) for n in range(400)}
    for n in range(0, 400, 2):
        table.remove(slots[tag_of(n)])
    table.words[Word.LEDGER] = 77
    grown = fresh(tmp_path / "grown", table)
    assert grown.words[Word.LEDGER] == 77
    assert grown.words[Word.STATE] == 0
    assert grown.words[Word.LIVE] == grown.words[Word.FILLED] == 200
    for n in range(400):
        found = grown.slots(tag_of(n))
        assert [row(grown, slot)[1:3] for slot in found] == (
            [[location(1, n * 8, ENTRY), n]] if n % 2 else []
        )
    assert (grown.mask + 1) // 2 > 200


@pytest.mark.parametrize("count", [0, 1, 1 << 20, 1 << 63, (1 << 64) - 1])
def test_damaged_counters_do_not_mislead_growth(tmp_path: Path, table: Table, count: int) -> None:
    """Whatever the header counts, growth makes room for the rows there are, in bounded time."""
    for n in range(900):
        table.insert(tag_of(n), location(1, n * 8, ENTRY), n, 10, 0)
    for word in (Word.FILLED, Word.LIVE, Word.ENTRIES, Word.LIVE_BYTES):
        table.words[word] = count
    with deadline(10):
        grown = fresh(tmp_path / "grown", table)
    assert grown.words[Word.LIVE] == 900
    assert all(len(grown.slots(tag_of(n))) == 1 for n in range(900))


def test_a_full_table_refuses_a_row(table: Table) -> None:
    """Without a free row, an insertion ends with an error and changes nothing."""
    for n in range(table.mask + 1):
        table.insert(tag_of(n), location(1, n * 8, ENTRY), n, 1, 0)
    before = bytes(table.words)
    with deadline(10), pytest.raises(DamagedIndex, match="1024 rows"):
        table.insert(tag_of(5000), location(1, 8, ENTRY), 1, 1, 0)
    assert bytes(table.words) == before
    assert table.slots(tag_of(5000)) == []  # a look-up ends as well


def test_a_table_that_is_fuller_than_it_counts_asks_to_grow(table: Table) -> None:
    """A probe of a length that no half-full table has makes the table crowded."""
    for n in range(800):
        table.insert(tag_of(n), location(1, n * 8, ENTRY), n, 1, 0)
    table.words[Word.FILLED] = 3
    home = next(at for at in range(table.mask + 1) if table.words[HEADER_WORDS + at * ROW_WORDS])
    for n in range(224):
        table.insert(home << HOME_SHIFT | n << 48 | LIVE, location(1, 8, ENTRY), 1, 1, 0)
        if table.is_crowded(0):
            return
    pytest.fail("the table is full and says it has room")


def test_of_twins_the_later_record_stays(tmp_path: Path, table: Table) -> None:
    """Of rows with one tag, which only a power loss makes, that with the latest record survives."""
    tag = tag_of(1)
    places = [
        location(3, 8, ENTRY),
        location(7, 64, BLOB),
        location(7, 128, ENTRY),
        location(2, 1 << 20, ENTRY),
    ]
    for place in places:
        table.insert(tag, place, 1, 10, 0)
    table.drop_twins()
    assert [table.words[slot + 1] for slot in table.slots(tag)] == [location(7, 128, ENTRY)]
    table.recount()
    assert table.words[Word.LIVE] == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, path.stat().st_size - 8),
        lambda path: os.truncate(path, path.stat().st_size + 8),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
        lambda path: poke(path, Word.VERSION, 2),
        lambda path: poke(path, Word.ROWS_LOG2, 11),
        lambda path: poke(path, Word.ROWS_LOG2, 1 << 63),
    ],
)
def test_what_is_no_index_is_said_to_be_damaged(tmp_path: Path, damage: object) -> None:
    """A file that is cut, too long, zeroed, random, or of another version or size is refused."""
    Table.write_new(tmp_path / "index")
    damage(tmp_path / "index")  # type: ignore[operator]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DamagedIndex, match="index"):
        Table.open(tmp_path / "index", read_only=False)
    assert len(os.listdir("/proc/self/fd")) == before


def poke(path: Path, word: int, value: int) -> None:
    with open(path, "r+b") as file:
        file.seek(word * 8)
        file.write(value.to_bytes(8, "little"))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (Word.FILLED, 0), (Word.FILLED, 5000), (Word.LIVE, 11), (Word.ENTRIES, 11), (Word.LIVE_BYTES, 1 << 63),
        (Word.SEGMENT_BYTES, 1 << 62), (Word.FILE_BYTES, (1 << 64) - 1), (Word.TAIL, (1 << 64) - 1),
    ],
)  # fmt: skip
def test_counters_that_cannot_be_true_are_seen(table: Table, word: int, value: int) -> None:
    """A sound header is plausible; one with a count beyond reason is not."""
    for n in range(10):
        table.insert(tag_of(n), location(1, n * 8, ENTRY), n, 1, 0)
    assert table.is_plausible()
    table.words[word] = value
    assert not table.is_plausible()


def test_a_table_knows_that_its_file_was_cut(tmp_path: Path, table: Table) -> None:
    """Whether the file still has all that is mapped can be asked without touching it."""
    assert table.is_whole()
    os.truncate(tmp_path / "index", 8192)
    assert not table.is_whole()


def at_each_line(act: Callable[[], object], look: Callable[[], object]) -> None:
    """Run something, and look before each line of it and at its end."""

    def trace(frame: FrameType, _event: str, _arg: object) -> object:
        look()
        return trace if frame.f_code.co_filename == index.__file__ else None

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        act()
    finally:
        sys.settrace(None)
    look()


@pytest.mark.parametrize("was_dead", [True, False])
def test_a_reader_sees_a_row_whole_or_not_at_all(table: Table, was_dead: bool) -> None:
    """At every line of an insertion, a move and a removal, a row is absent, the older or the newer one."""
    tag, older, newer = tag_of(1), location(1, 8, ENTRY), location(2, 16, ENTRY)
    if was_dead:
        table.remove(table.insert(tag, location(9, 9, BLOB), 99, 99, 99))
    seen: list[list[int]] = []

    def look() -> None:
        trace = sys.gettrace()
        sys.settrace(None)
        seen.append([table.words[slot + 1] for slot in table.slots(tag)])
        sys.settrace(trace)

    at_each_line(lambda: table.insert(tag, older, 5, 50, 7), look)
    assert [places for places in seen if places not in ([], [older])] == []
    slot = table.slots(tag)[0]
    at_each_line(lambda: table.move(slot, newer, 6, 60, 8), look)
    at_each_line(lambda: table.remove(slot), look)
    changes = [places for places, before in zip(seen[1:], seen, strict=False) if places != before]
    assert changes == [[older], [newer], []]
