from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise

import pytest

from tests.unit.dag import runs as some
from tests.unit.dag.runs import APP, A, B, at, ended, ms, node, ran, started
from vcache.dag.events import Hit, Noted, Skipped
from vcache.dag.profile import Profile
from vcache.errors import UsageError


@pytest.fixture
def trace(tmp_path):
    """Write a profile of events; the document that is in the file, once its structure was checked."""

    def write(events):
        profile = Profile(str(tmp_path / "out.json"))
        for event in events:
            profile.on_event(event)
        profile.close()
        document = json.loads((tmp_path / "out.json").read_text())
        check(document)
        return document

    return write


def check(document) -> None:
    """What the Trace Event Format asks of each event, and viewers of the whole."""
    assert isinstance(document["traceEvents"], list)
    assert document["displayTimeUnit"] in ("ms", "ns")
    spans = defaultdict(list)
    named = set()
    for event in document["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["args"], dict)
        match event["ph"]:
            case "X":
                assert event["ts"] >= 0 and event["dur"] >= 0
                assert event["cat"]
                spans[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            case "C":
                assert event["ts"] >= 0
                assert all(isinstance(value, int) for value in event["args"].values())
            case "i":
                assert event["s"] in "gpt" and event["ts"] >= 0
            case "M":
                named.add((event["name"], event["tid"]))
            case other:
                raise AssertionError(other)
    for row, times in spans.items():
        assert ("thread_name", row) in named
        ordered = sorted(times)
        # On one row a viewer nests what overlaps, and drops what overlaps in part.
        assert all(one[1] <= next_[0] for one, next_ in pairwise(ordered)), row


def spans(document, row: str) -> list[tuple[str, float, float]]:
    rows = [
        event["tid"]
        for event in document["traceEvents"]
        if event["ph"] == "M" and event["args"].get("name") == row
    ]
    return [
        (event["name"], event["ts"], event["dur"])
        for event in document["traceEvents"]
        if event["ph"] == "X" and event["tid"] in rows
    ]


def test_lanes_are_rows(trace) -> None:
    """each node stands in its lane from start to end, in microseconds since the run's start"""
    document = trace(some.a_build())
    assert spans(document, "lane 1") == [("a.o", 1000, 499_000), ("app", 501_000, 299_000)]
    assert spans(document, "lane 2") == [("b.o", 2000, 198_000)]
    assert spans(document, "from the cache") == [("c.o", 3000, 2000)]
    assert [name for name, _, _ in spans(document, "critical path")] == ["a.o", "app"]
    (app,) = [e for e in document["traceEvents"] if e["name"] == "app" and e["tid"] == 10]
    assert app["args"] == {
        "status": 0, "reason": "changed file a.o", "command": "make app", "result": "dag:app:00",
    }  # fmt: skip
    assert document["otherData"]["from the cache"] == 1
    assert document["otherData"]["goals"] == ["app"]


def test_running_nodes_are_counted(trace) -> None:
    """the counter follows starts and ends, and ends at zero"""
    counts = [e["args"]["nodes"] for e in trace(some.a_build())["traceEvents"] if e["ph"] == "C"]
    assert counts == [1, 2, 1, 0, 1, 0, 0]


def test_failures_and_retries_have_colours(trace) -> None:
    """a try that failed, and one that is repeated, are told apart"""
    *begun, failed = ran(A, 0, 10, status=1)
    document = trace(
        [started(), *begun, failed._replace(will_retry=True), *ran(A, 20, 30, status=1)[1:], ended(40, 1)]
    )
    assert [e.get("cname") for e in document["traceEvents"] if e["ph"] == "X" and e["tid"] == 10] == [
        "bad",
        "terrible",
    ]


def test_hits_at_one_time_have_rows_of_their_own(trace) -> None:
    """what was restored side by side does not overlap"""
    hits = [Hit(at(10 + number % 3), node(f"{number}"), "r", 1, ms(2)) for number in range(30)]
    found = spans(trace([started(), *hits, ended(40)]), "from the cache")
    assert len(found) == 30


def test_what_took_no_slot_has_rows_of_its_own(trace) -> None:
    """Python functions, and failures before a start, do not stand in the lanes of commands"""
    begun, ended_ = ran(A, 0, 100)[1:]
    loose = [ran(node(str(number)), 10, 20 + number)[2] for number in range(3)]
    document = trace([started(), begun, *loose, ended_, ended(200)])
    assert len(spans(document, "lane 1")) == 1
    assert len(spans(document, "without a lane")) == 3


def test_notes_are_marks(trace) -> None:
    """what was noted or skipped is an instant on the whole trace"""
    events = [started(), Noted(at(1), "odd", A), Noted(at(2), "odder"), Skipped(at(3), APP, "a.o failed")]
    marks = [e for e in trace([*events, ended(4, 1)])["traceEvents"] if e["ph"] == "i"]
    assert [(mark["name"], mark["args"]) for mark in marks] == [
        ("odd", {"node": "a.o"}), ("odder", {}), ("skipped app", {"because": "a.o failed"}),
    ]  # fmt: skip


def test_a_run_that_is_cut_off(trace) -> None:
    """what still ran at the end stands to the end; without an end the file is written on close"""
    document = trace([started(), *ran(A, 0, 10)[:2], ended(500, 130)])
    assert spans(document, "lane 1") == [("a.o", 0, 500_000)]
    assert spans(trace([started(), *ran(B, 0, 10)]), "lane 1") == [("b.o", 0, 10_000)]


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch) -> None:
    """a directory that is not there is refused before the run; what goes wrong at its end comes out once"""
    with pytest.raises(UsageError, match=r"no/out.json: there is no such directory"):
        Profile(str(tmp_path / "no" / "out.json"))
    with pytest.raises(UsageError, match="it is a directory"):
        Profile(str(tmp_path))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    profile = Profile("out.json")
    profile.on_event(started())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        profile.on_event(ended(1))
    profile.close()
