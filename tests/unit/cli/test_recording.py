"""What a run says, in a log store, and how often it warned."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vcache.cli.recording import Recorder, Warnings
from vcache.dag import said
from vcache.dag.events import Finished, Hit, Noted, Output, RunEnded, RunStarted, UpToDate
from vcache.dag.node import Node
from vcache.dag.said import Said
from vcache.errors import StoreUnavailable
from vcache.logs.record import Mark, Record
from vcache.tracing import SpanContext

A, B, C = (Node(name=name, outs=(name,), rule="cc") for name in ("a.o", "b.o", "c.o"))
WARNING = b"a.c:1:2: warning: w [-Wx]\n"
LOG = b"\xaa"


class Store:
    """Takes records; `holds_up` is waited for first."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.is_closed = False
        self.holds_up = threading.Event()
        self.holds_up.set()

    def append(self, records: Sequence[Record]) -> None:
        assert self.holds_up.wait(30)
        self.records += records

    def close(self) -> None:
        self.is_closed = True


def output(node: Node, data: bytes, **more: Any) -> Output:
    return Output(100, node, ((2, 7, data),), more.pop("is_replayed", False), 50, **more)


def ended(status: int = 0, *, is_partial: bool = False) -> RunEnded:
    return RunEnded(200, status, 1, 0, 0, 0, 0, is_partial=is_partial)


def begun(*goals: str) -> RunStarted:
    return RunStarted("r2", 10, "/b", goals, 2)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / ".vcache").mkdir()
    return tmp_path


def told(base: Path, *events: object, opens: Callable[[], Any], **more: Any) -> Recorder:
    recorder = Recorder(str(base), "r2", opens=opens, **more)
    try:
        for event in events:
            recorder.on_event(event)  # type: ignore[arg-type]
    finally:
        recorder.close()
    return recorder


def test_what_nodes_write_is_kept_between_what_is_said_of_the_run(base: Path):
    """In order, with the node and the run; a crash of the process would lose none of it."""
    store = Store()
    told(
        base, begun(), Finished(90, A, 0, 5, "dag:a.o:ff", "", LOG),
        output(A, WARNING + b"done\n", action="ff", program="x86_64-linux-gnu-gcc-12"), ended(),
        opens=lambda: store,
    )  # fmt: skip
    assert [(each.source, each.message, each.level) for each in store.records] == [
        ("vcache", "run of the default began", 9),
        ("gcc", "w", 13),
        ("cc", "done", 9),
        ("vcache", "run ended; 1 ran, 0 from the cache, 0 up to date", 9),
    ]
    warning = store.records[1]
    assert warning.at_ns == 57
    assert dict(warning.fields) == {
        "run": "r2", "node": "a.o", "action": "ff", "stream": "stderr", "file": "a.c", "line": 1, "column": 2,
        "option": "-Wx", "text": "a.c:1:2: warning: w [-Wx]",
    }  # fmt: skip
    assert store.records[3].fields["warnings"] == 1
    assert store.is_closed


def test_what_comes_from_the_cache_is_marked_with_its_run(base: Path):
    """And counts as a warning all the same."""
    store = Store()
    recorder = told(
        base, begun(), Hit(90, A, "dag:a.o:ff", 5, 1, LOG, "r1"),
        output(A, WARNING, is_replayed=True, origin="r1"), ended(),
        opens=lambda: store,
    )  # fmt: skip
    (warning,) = (each for each in store.records if each.level == 13)
    assert warning.marks == Mark.REPLAYED
    assert (warning.fields["run"], warning.fields["origin"]) == ("r2", "r1")
    assert recorder.warnings == Warnings(cached=1)
    assert said.load(str(base)) == {"a.o": Said(1, LOG.hex(), "r1")}


def test_warnings_stand_until_their_node_is_made_anew(base: Path):
    """Of what was up to date they count; what warns no more is forgotten, and what was taken out of the build."""
    said.save(
        str(base), {"a.o": Said(2, "a1", "r0"), "b.o": Said(3, "b1", "r1"), "gone.o": Said(4, "c1", "r1")}
    )
    events = [Finished(90, A, 0, 5, "x", "", b""), UpToDate(91, B)]
    partial = told(base, begun("b.o"), *events, ended(), opens=Store)
    assert partial.warnings == Warnings(standing=7)
    assert told(base, begun(), *events, ended(is_partial=True), opens=Store).warnings.total == 7
    assert told(base, begun(), *events, ended(1), opens=Store).warnings.total == 7
    whole = told(base, begun(), *events, ended(), opens=Store)
    assert whole.warnings == Warnings(standing=3)
    assert said.load(str(base)) == whole.standing == {"b.o": Said(3, "b1", "r1")}


def test_a_failure_is_said_and_does_not_stand(base: Path):
    """Its warnings are those of this run; those of a try that is followed by another count once."""
    store = Store()
    said.save(str(base), {"a.o": Said(2, "a1")})
    recorder = told(
        base, begun(), Finished(80, A, 3, 5, will_retry=True), output(A, WARNING * 2, status=3),
        Finished(90, A, 3, 5, "", "exit status 3", LOG), output(A, WARNING, status=3), ended(1),
        opens=lambda: store,
    )  # fmt: skip
    assert recorder.warnings == Warnings(fresh=1)
    assert said.load(str(base)) == {}
    (failed,) = (each for each in store.records if each.fields.get("event") == "failed")
    assert (failed.level, failed.message, failed.fields["status"]) == (17, "a.o failed: exit status 3", 3)
    assert store.records[-1].level == 17


def test_a_run_that_had_nothing_to_do_leaves_no_records(base: Path):
    """The store is not even opened."""

    def opens() -> Store:
        raise AssertionError

    recorder = told(base, begun(), UpToDate(5, A), UpToDate(5, B), ended(), opens=opens)
    assert recorder.fault == ""
    assert not any(thread.name == "vcache-logs" for thread in threading.enumerate())


def test_a_fault_of_the_store_is_said_once(base: Path, caplog: pytest.LogCaptureFixture):
    """And warnings are counted all the same."""

    def opens() -> Store:
        raise StoreUnavailable("it is gone")

    with caplog.at_level(logging.WARNING, "vcache.logs"):
        recorder = told(
            base, begun(), output(A, WARNING), output(B, WARNING), Noted(5, "careful"), ended(), opens=opens
        )
    assert [each.getMessage() for each in caplog.records] == [
        "what this run says is not in the log store: it is gone"
    ]
    assert recorder.warnings == Warnings(fresh=2)


def test_where_logs_are_off_warnings_are_counted(base: Path):
    """And nobody complains."""
    recorder = told(base, begun(), output(A, WARNING), ended(), opens=lambda: None)
    assert recorder.warnings == Warnings(fresh=1)
    assert recorder.fault == ""


def test_a_store_that_hangs_holds_nothing_up(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The count is right when the run ends; closing gives up after a while, and says so."""
    from vcache.cli import recording

    monkeypatch.setattr(recording, "_COUNT_S", 0.01)
    monkeypatch.setattr(recording, "_CLOSE_S", 0.01)
    store = Store()
    store.holds_up.clear()
    try:
        with caplog.at_level(logging.WARNING, "vcache.logs"):
            recorder = told(
                base, begun(), output(A, WARNING), output(B, WARNING), output(C, WARNING), ended(),
                opens=lambda: store,
            )  # fmt: skip
        assert recorder.warnings == Warnings(fresh=3)
        assert len(caplog.records) == 1
    finally:
        store.holds_up.set()


def test_records_are_a_part_of_spans(base: Path):
    """Of their node's, or of the run's."""
    store = Store()
    run, node = SpanContext("t" * 32, "1" * 16), SpanContext("t" * 32, "2" * 16)
    told(
        base, begun(), output(A, WARNING), ended(), opens=lambda: store,
        spans=lambda found: node if found is A else run,
    )  # fmt: skip
    assert [each.fields.get("span_id") for each in store.records] == ["1" * 16, "2" * 16, "1" * 16]
    assert {each.fields["trace_id"] for each in store.records} == {"t" * 32}


def test_notes_are_records(base: Path):
    """Those for who wants to know all are of a lower level."""
    store = Store()
    told(
        base,
        begun(),
        Noted(5, "careful", A),
        Noted(6, "by the way", None, is_detail=True),
        opens=lambda: store,
    )
    assert [(each.message, each.level, each.fields.get("node")) for each in store.records[1:]] == [
        ("careful", 10, "a.o"), ("by the way", 5, None),
    ]  # fmt: skip
