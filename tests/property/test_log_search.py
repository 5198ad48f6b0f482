"""Columns answer as rows do: whatever records hold, and however they are spread over segments and the tail."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.logs.ids import id_of, new_stream
from vcache.logs.record import Mark, Record
from vcache.logs.scan import scan
from vcache.logs.search import search
from vcache.logs.segment import Segment, SegmentWriter, merge, open_segment, window, writing
from vcache.query.parser import parse
from vcache.query.syntax import Value
from vcache.serialize.plain import pack_plain, unpack_plain

START_NS = 1_760_000_000 * 10**9

WORDS = (
    "timeout",
    "Timeout",
    "time",
    "lock",
    "a a",
    "aaa",
    "ünï",
    "K",
    "\u212a",
    "x_1",
    "12",
    "1234",
    "\n",
    "\udcff",
    "-",
    "“in”",
)

values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.integers(-(2**63), 2**63 - 1), st.sampled_from((0.0, -0.0, 0.5, 1e300, float("inf"))),
    st.sampled_from(("a", "b", "", "1", "1.0", "true", "é", "0" * 32, "ab" * 16, "x" * 300)), st.text(max_size=5),
)  # fmt: skip
texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join) | st.text(max_size=12)


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Records of a few shapes, as programs write them."""
    shapes = draw(
        st.lists(
            st.dictionaries(st.sampled_from(("a", "b", "trace", "@x", "level")), values, max_size=4),
            min_size=1,
            max_size=4,
        )
    )
    made = []
    for at in range(draw(st.integers(1, 60))):
        shape = shapes[draw(st.integers(0, len(shapes) - 1))]
        fields = {name: value for name, value in shape.items() if value is not None}
        if "trace" in fields and draw(st.booleans()):
            fields["trace"] = f"{draw(st.integers(0, 5)):032x}"
        made.append(
            Record(
                START_NS + draw(st.sampled_from((0, 1, 999, 60 * 10**9, -(10**15), 2**62))) + at * 10**6,
                draw(st.sampled_from((0, 5, 9, 13, 14, 17, 24))),
                draw(st.sampled_from(("gcc", "ld", "", "é"))),
                draw(texts),
                fields,
                draw(st.sampled_from((0, 0, 0, int(Mark.FUTURE), 3))),
                draw(st.sampled_from((1, 1, 7))),
                START_NS + at,
            )
        )
    return made


literals = st.sampled_from(
    ('"a"', '"1"', "1", "1.0", "0", "300", "true", '"é"', '""', '"' + "0" * 32 + '"', "0.5")
)
fields = st.sampled_from(
    (
        "a",
        "b",
        "trace",
        "nowhere",
        "message",
        "source",
        "level",
        "@time",
        "@seen",
        "@repeats",
        "@marks",
        "@template",
    )
)
needles = st.sampled_from(
    ("time", "a", "aa", "a a", "TIMEOUT", "k", "in", "12", "é", "lock a", "1234", "x_1", "“", " ")
)


@st.composite
def leaves(draw: st.DrawFn) -> str:
    field = draw(fields)
    if field == "level":
        return draw(
            st.sampled_from(
                (
                    "level >= warning",
                    "level = error",
                    "level != info",
                    "level in (debug, critical)",
                    "level < 14",
                )
            )
        )
    if field in ("@time", "@seen"):
        return f"{field} {draw(st.sampled_from(('<', '>', '<=', '>=')))} {draw(st.sampled_from(('2025-10-09T08:53:20Z', '2025-10-09T08:53:21Z', '2025-10-09', '2030-01-01')))}"
    kind = draw(st.integers(0, 5))
    needle = draw(needles)
    if kind == 0:
        return f'{field} contains "{needle}"'
    if kind == 1:
        return f'{field} : "{needle}"'
    if kind == 2:
        return f'{field} ~ "{draw(st.sampled_from(("^a", "t.m", "[0-9]+$", "(?i)LOCK", "a|b")))}"'
    if kind == 3:
        return f"{field} in ({draw(literals)}, {draw(literals)})"
    if kind == 4:
        return field
    return f"{field} {draw(st.sampled_from(('=', '!=', '<', '>=')))} {draw(literals)}"


conditions = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} and {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})"),
        inner.map(lambda one: f"not ({one})"),
    ),
    max_leaves=4,
)
steps = st.sampled_from((
    "", "", "", "| count", "| count by source, level", "| count by level", "| count by @time(1m), level", "| histogram 1h", "| count by a",
    "| stats count() as n, min(a), max(a), uniq(b), first(message), last(message) by source", "| stats sum(b), avg(b), p50(b) by level",
    "| last 3", "| last 1000", "| limit 4", "| sort -a, @time | limit 5", "| fields @id, message, a", "| count by @template | sort -count",
    "| count by a, b, source", "| dedup source", "| count by @marks", "| stats count(a) as n by @time(7s)",
))  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small_windows() -> Iterator[None]:
    """A window and a block of some rows, so that records meet every kind of boundary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "WINDOW_ROWS", 23)
        patch.setattr(writing, "_PART_ROWS", 5)
        patch.setattr(window, "BLOCK_ROWS", 7)
        patch.setattr(window, "_OWN_ROWS", 5)
        patch.setattr(window, "MOST_NAMES", 3)
        yield


def sealed(
    given: Sequence[Record], cuts: Sequence[int], directory: Path
) -> tuple[list[Segment], list[Record], list[Record]]:
    """Segments, the tail, and all records with their ids."""
    segments, named = [], []
    ends = [0, *sorted({min(cut, len(given)) for cut in cuts})]
    for begin, end in pairwise(ends):
        stream, part = new_stream(), list(given[begin:end])
        if not part:
            continue
        named += [record._replace(id=id_of(stream, at)) for at, record in enumerate(part)]
        path = directory / f"{begin}.seg"
        with SegmentWriter(path) as writer:
            writer.add(stream, 0, part)
            info = writer.finish()
        segments.append(open_segment(path, digest=info.digest))
        assert segments[-1].info == info
    stream = new_stream()
    tail = [record._replace(id=id_of(stream, at)) for at, record in enumerate(given[ends[-1] :])]
    return segments, tail, [*named, *tail]


class Remembered:
    """Keeps answers as a cache does: as bytes."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bytes], bytes] = {}

    def get(self, query: str, digest: bytes) -> object | None:
        found = self._kept.get((query, digest))
        return None if found is None else unpack_plain(found)

    def put(self, query: str, digest: bytes, plain: object) -> None:
        self._kept[query, digest] = pack_plain(plain)


def same(one: object, two: object) -> bool:
    """Equal, and of equal types: 1, 1.0 and true differ, as do 0.0 and -0.0; NaN is itself."""
    return repr(one) == repr(two)


@settings(max_examples=150, deadline=None)
@given(given_=records(), cuts=st.lists(st.integers(0, 60), max_size=3), where=conditions, step=steps)
def test_columns_answer_as_rows_do(given_: list[Record], cuts: list[int], where: str, step: str) -> None:
    """An answer over segments and a tail is that of a test of each record."""
    query = parse(f"{where} {step}", now_ns=START_NS)
    with tempfile.TemporaryDirectory() as directory:
        segments, tail, named = sealed(given_, cuts, Path(directory))
        ours, wanted = search(query, segments, tail), scan(query, named)
        found: list[Record | tuple[Value, ...]] = list(ours.rows)
        assert (ours.columns, ours.gaps) == (wanted.columns, [])
        kept = Remembered()
        for _ in range(2):  # the second time from what was kept
            assert same(
                [_sorted(row) for row in search(query, segments, tail, kept=kept).rows],
                [_sorted(row) for row in found],
            )
        assert same([_sorted(row) for row in found], [_sorted(row) for row in wanted.rows])


def _sorted(row: object) -> object:
    """A record with its fields in one order: a segment keeps none."""
    if isinstance(row, Record):
        return row._replace(fields=dict(sorted(row.fields.items())))
    return row


@settings(max_examples=40, deadline=None)
@given(given_=records(), cuts=st.lists(st.integers(0, 60), max_size=3))
def test_merged_segments_hold_the_same(given_: list[Record], cuts: list[int]) -> None:
    """Merging moves records, and changes none."""
    everything = parse("*", now_ns=START_NS)
    with tempfile.TemporaryDirectory() as directory:
        segments, tail, named = sealed([*given_, given_[0]], [*cuts, len(given_)], Path(directory))
        info = merge(segments, Path(directory) / "merged")
        assert info is not None
        merged = open_segment(Path(directory) / "merged", digest=info.digest)
        found = list(search(everything, [merged], tail).rows)
        assert same([_sorted(row) for row in found], [_sorted(row) for row in scan(everything, named).rows])
        assert set(info.replaces) == {segment.info.digest for segment in segments}
        for record in named[: len(named) - len(tail)]:
            stream, seq = int(record.id.replace("-", ""), 16) >> 32 << 32, int(record.id[-8:], 16)
            there = merged.find(stream, seq)
            assert there is not None
            assert same(_sorted(there), _sorted(record))
