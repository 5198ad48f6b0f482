"""What a search reads, keeps and tells, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.logs.segment.yard import START_NS, STREAM, ask, make_records, named, parse, plain, sealed
from vcache.cache import Cache
from vcache.logs.record import Record
from vcache.logs.scan import scan
from vcache.logs.search import search
from vcache.logs.segment import OpenBlock, Segment, merge, open_segment, window, writing
from vcache.logs.shipping import Answers
from vcache.query.parser import parse as parse_query

ASKED = (
    "* | count", "* | count by source, level", "* | count by @time(1m)", "* | stats sum(pid), p90(took_s), uniq(path) by target",
    'message contains "file1" | count by mixed', "* | stats first(message), last(message)", "nowhere = 1 | count",
)  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 10 rows."""
    monkeypatch.setattr(writing, "WINDOW_ROWS", 40)
    monkeypatch.setattr(window, "BLOCK_ROWS", 10)
    monkeypatch.setattr(window, "_OWN_ROWS", 10)


def at(when: int, text: str = "x", **fields: Any) -> Record:
    return Record(START_NS + when, 9, "s", text, fields, seen_ns=1)


# --- order, and how much is read -------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_ties_of_time_go_by_id(tmp_path: Path) -> None:
    """Records of one time come in the order of their ids, of whatever segment or tail they are."""
    parts = [[at(number // 7 % 3) for number in range(50)] for _ in range(3)]
    streams = [STREAM + (order << 32) for order in (2, 0, 1)]
    segments = [
        sealed(tmp_path / str(stream), part, stream)
        for stream, part in zip(streams[:2], parts[:2], strict=True)
    ]
    everything = [
        record for stream, part in zip(streams, parts, strict=True) for record in named(part, stream)
    ]
    tail = named(parts[2], streams[2])
    wanted = sorted(everything, key=lambda record: (record.at_ns, record.id))
    assert ask("*", segments, tail)[0] == wanted
    assert ask("* | last 70", segments, tail)[0] == wanted[-70:]
    assert ask("* | limit 70", segments, tail)[0] == wanted[:70]


@pytest.mark.usefixtures("small")
def test_who_wants_few_has_few_blocks_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`limit` and `last` read the blocks that may have what is wanted; a bound of time leaves the others alone."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    segment = sealed(tmp_path / "a", [at(number) for number in range(400)])
    assert len(segment.blocks) == 40
    rows, result = ask("* | last 10", [segment])
    assert ([row.at_ns - START_NS for row in rows], result.seen.blocks_read) == (list(range(390, 400)), 1)
    result = search(parse_query("* | limit 5", now_ns=START_NS), [segment], [])
    assert len(list(result.rows)) == 5
    assert result.seen.blocks_read <= 2
    result = search(parse_query("*", now_ns=START_NS), [segment], [])
    next(result.rows)
    assert result.seen.blocks_read <= 2
    _, result = ask("* | count", [segment])
    assert result.seen.blocks_read == 0


@pytest.mark.usefixtures("small")
def test_blocks_that_overlap_come_in_order(tmp_path: Path) -> None:
    """One block that spans all times does not disturb the order of the others."""
    spread = sealed(tmp_path / "a", [at(number * 100) for number in range(10)], STREAM)
    dense = sealed(tmp_path / "b", [at(number) for number in range(300)], STREAM + (1 << 32))
    times = [row.at_ns for row in ask("*", [spread, dense])[0]]
    assert times == sorted(times)
    assert len(times) == 310


def test_groups_of_many_columns_are_told_apart(tmp_path: Path) -> None:
    """More combinations than 64 bits have numbers for do not fall together."""
    names = ("a", "b", "c", "d", "e", "f")
    records = [
        at(
            row,
            "x",
            **{name: (row * (3 + 2 * place)) % 4_099 * 1_000_003 for place, name in enumerate(names)},
        )
        for row in range(4_099)
    ]
    records += records[:50]
    query = parse_query(f"* | count by {', '.join(names)}", now_ns=START_NS)
    found = list(search(query, [sealed(tmp_path / "a", records)], []).rows)
    assert sorted(map(repr, found)) == sorted(map(repr, scan(query, named(records)).rows))


# --- kept answers ----------------------------------------------------------------------------


class Remembered:
    """Answers in a dict."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, bytes], object] = {}

    def get(self, query: str, digest: bytes) -> object | None:
        return self.answers.get((query, digest))

    def put(self, query: str, digest: bytes, plain: object) -> None:
        self.answers[query, digest] = plain


def rows_of(text: str, segments: list[Segment], kept: Any) -> tuple[list[str], int]:
    result = search(parse_query(text, now_ns=START_NS), segments, [], kept=kept)
    return list(map(repr, result.rows)), result.seen.segments_kept


def test_kept_answers_are_the_same(tmp_path: Path) -> None:
    """With a cache, answers are those without one, the second time from the cache; each query has its own."""
    segments = [
        sealed(tmp_path / "a", make_records(90)),
        sealed(tmp_path / "b", make_records(70)[20:], STREAM + (1 << 32)),
    ]
    with Cache(tmp_path / "cache") as cache:
        kept = Answers(cache)
        without = {query: rows_of(query, segments, None)[0] for query in ASKED}
        for _ in range(2):
            for query in ASKED:
                assert rows_of(query, segments, kept)[0] == without[query]
                assert rows_of(query, segments[1:], kept)[0] == rows_of(query, segments[1:], None)[0]
        assert rows_of(ASKED[3], segments, kept)[1] == 2


FOREIGN: list[object] = [
    5, "text", [], [[]], [5], [[1, 2]], [[["x"], [5]]], [[[], []]], {"a": 1}, [[[[1]], [[1]]]], [[None, None]], b"", 0.5, [[["a"], [None]]],
    [[["a", "b"], [[1, 2], 3]]], True, [[[1], ["x", "y"]]], [[["gcc"], [[1, "x", None], {}]]],
]  # fmt: skip


@pytest.mark.parametrize(
    "query", ["* | stats sum(pid), uniq(path) by target", "* | stats p90(took_s), last(message)"]
)
@pytest.mark.parametrize("foreign", FOREIGN, ids=repr)
def test_foreign_answers_are_ignored(query: str, foreign: object, tmp_path: Path) -> None:
    """What another program kept there costs an answer's time, never the answer."""
    segments, kept = [sealed(tmp_path / "a", make_records(30))], Remembered()
    wanted, _ = rows_of(query, segments, kept)
    for key in kept.answers:
        kept.answers[key] = foreign
    found, _ = rows_of(query, segments, kept)
    assert found == wanted or foreign == []  # nothing at all is an answer, too


ODD: tuple[Any, ...] = (None, "x", -1, [], {}, b"x", [1], 0.5, True, 1 << 70)


def leaves(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(plain, list | dict):
        for key, inner in enumerate(plain) if isinstance(plain, list) else plain.items():
            yield from leaves(inner, (*path, key))


@pytest.mark.parametrize("query", ASKED)
def test_a_kept_answer_with_a_wound_raises_nothing(query: str, tmp_path: Path) -> None:
    """Whatever stands in place of a part of a kept answer, there is an answer."""
    segments, kept = [sealed(tmp_path / "a", make_records(9))], Remembered()
    rows_of(query, segments, kept)
    for key, sound in list(kept.answers.items()):
        for path in leaves(sound):
            for odd in ODD:
                wounded: Any = [deepcopy(sound)]
                place = wounded
                for step in (0, *path)[:-1]:
                    place = place[step]
                place[(0, *path)[-1]] = odd
                kept.answers[key] = wounded[0]
                rows_of(query, segments, kept)


def test_segments_without_a_name_keep_nothing(tmp_path: Path) -> None:
    """Two of them would share an answer."""
    kept = Remembered()
    for name, count in (("x.seg", 5), ("y.seg", 7)):
        sealed(tmp_path / name, make_records(count))
        segment = open_segment(tmp_path / name)
        assert segment.info.digest == b""
        assert rows_of("* | stats sum(pid) as n, count() as many", [segment], kept)[0][0].endswith(
            f", {count})"
        )
    assert kept.answers == {}


# --- threads, and files that go --------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_many_threads_ask_the_same_segments(tmp_path: Path) -> None:
    """Answers are those of one thread, also while others ask and the files are removed."""
    segments = [
        sealed(tmp_path / str(number), make_records(120), STREAM + (number << 32)) for number in range(3)
    ]
    queries = (*ASKED, "*", "* | last 7", "message : step", "* | sort -pid | limit 9")
    wanted = {query: list(map(repr, ask(query, segments)[0])) for query in queries}
    barrier = threading.Barrier(8)

    def work(turn: int) -> None:
        barrier.wait()
        for step in range(len(queries)):
            query = queries[(turn + step) % len(queries)]
            rows, result = ask(query, segments)
            assert (list(map(repr, rows)), result.gaps) == (wanted[query], [])

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(work, turn) for turn in range(8)]
        for segment in segments:
            segment.path.unlink()
        for each in running:
            each.result()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "query", ["*", "* | stats sum(pid) as n", "* | last 90", "* | stats uniq(path) by @time(1m)"]
)
def test_a_segment_that_is_closed_while_it_is_searched(query: str, tmp_path: Path) -> None:
    """What was not read before is a gap, and no answer of a part is kept."""
    kept, records = Remembered(), make_records(120)
    segment = sealed(tmp_path / "a", records)
    result = search(parse_query(query, now_ns=START_NS), [segment], [], kept=kept)
    rows: Iterator[Any] = result.rows
    first = [plain(next(rows))] if query == "*" else []
    segment.close()
    segment.close()
    rest = list(rows)
    assert result.gaps
    assert kept.answers == {}
    if query == "*":
        assert set(map(repr, first + list(map(plain, rest)))) <= set(map(repr, named(records)))


@pytest.mark.usefixtures("small")
def test_a_block_is_told_once(tmp_path: Path) -> None:
    """A damaged column is one gap of the block's rows, however often they are fetched."""
    path = tmp_path / "a"
    records = [at(number, f"text {number * number}") for number in range(3_000)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "WINDOW_ROWS", 4_000)
        patch.setattr(window, "BLOCK_ROWS", 4_000)
        segment = sealed(path, records)
    message = next(each for each in parse(path.read_bytes()).groups[0][0][0][7] if each[0] == "@message")
    data = bytearray(path.read_bytes())
    data[segment.groups[0].offset + message[3][1][0] + 9] ^= 1
    (tmp_path / "b").write_bytes(data)
    rows, result = ask("level = info", [open_segment(tmp_path / "b", digest=b"b" * 32)])
    assert (rows, [gap.records for gap in result.gaps]) == ([], [3_000])


# --- merging ---------------------------------------------------------------------------------


def rows_of_block(block: OpenBlock) -> Any:
    return np.arange(block.about.rows)


def test_merging_drops_what_may_go(tmp_path: Path) -> None:
    """Blocks of a source that may go are gone, those of others are the same; nothing left is no file."""
    records = make_records(9_000)
    segment = sealed(tmp_path / "a", records)
    other = sealed(tmp_path / "b", make_records(100, sources=("other",)), STREAM + (1 << 32))
    going = {
        block: np.array([source == "gcc" for source in block.core("@source").take(rows_of_block(block))])
        for block in segment.blocks
        if "gcc" in block.about.levels
    }
    info = merge([segment, other], tmp_path / "c", going=going)
    assert info is not None
    merged = open_segment(tmp_path / "c", digest=info.digest)
    wanted = [record for record in named(records) if record.source != "gcc"]
    wanted += named(make_records(100, sources=("other",)), STREAM + (1 << 32))
    found, result = ask("*", [merged])
    assert (result.gaps, set(info.sources)) == ([], {"ld", "make", "other"})
    assert found == sorted(wanted, key=lambda record: (record.at_ns, record.id))
    counted, _ = ask("* | count by @time(1m), source", [merged])
    assert sum(row[-1] for row in counted) == len(wanted)
    everything = {block: np.ones(block.about.rows, np.bool_) for block in segment.blocks}
    assert merge([segment], tmp_path / "d", going=everything) is None
    assert not (tmp_path / "d").exists()


@pytest.mark.usefixtures("small")
def test_streams_of_several_tails_share_a_segment(tmp_path: Path) -> None:
    """Each record is found by its id, and no other is."""
    parts = {STREAM + (number << 32): make_records(25 + number) for number in range(4)}
    with writing.SegmentWriter(tmp_path / "a") as writer:
        for step in range(0, 30, 5):
            for stream, part in parts.items():
                if part[step : step + 5]:
                    writer.add(stream, step, part[step : step + 5])
        info = writer.finish()
    segment = open_segment(tmp_path / "a", digest=info.digest)
    for stream, part in parts.items():
        found = [segment.find(stream, seq) for seq in range(len(part) + 1)]
        assert [each and plain(each) for each in found] == [*named(part, stream), None]
    assert segment.find(STREAM - (1 << 32), 0) is None
    assert {run.stream: (run.first_seq, run.last_seq) for run in info.streams} == {
        stream: (0, len(part) - 1) for stream, part in parts.items()
    }
