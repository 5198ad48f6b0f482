"""Pipes and files as records: passed on at once, kept at the end, whatever ends it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.patience import NEVER_S, no_hang, until
from tests.unit.logs.collect.listed import ListedLogs
from vcache.errors import StoreError, StoreFull
from vcache.logs.collect import Collector, Limits
from vcache.logs.collect.pipes import Ingested, ingest_stream


@pytest.fixture
def store():
    return ListedLogs()


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                pass  # the test did


def test_a_pipe_is_kept_when_its_end_was_reached(store):
    """Every line, the last of which has no end, with the source that was given."""
    with Collector(store) as collector, pipe() as (read, write):
        os.write(write, b"cc main.c\nmain.c:1: warning: unused\nlast")
        os.close(write)
        found = ingest_stream(collector, read, format="lines", source="make", fields={"run": "r1"})
        assert store.messages == ["cc main.c", "main.c:1: warning: unused", "last"]
    assert found == Ingested(3, 40, is_whole=True)
    assert {(record.source, record.fields["run"]) for record in store.records} == {("make", "r1")}


def test_lines_are_kept_while_the_pipe_is_open(store):
    """Who follows a build sees a line when it was written, not when the build ends."""
    with Collector(store) as collector, pipe() as (read, write):
        thread = threading.Thread(target=ingest_stream, args=(collector, read), kwargs={"format": "lines"})
        thread.start()
        os.write(write, b"first\nsec")
        until(lambda: store.messages == ["first"])
        os.write(write, b"ond\n")
        until(lambda: store.messages == ["first", "second"])
        os.close(write)
        with no_hang():
            thread.join(NEVER_S)


def test_everything_is_passed_on_unchanged(store):
    """As `tee` does, also what is no text."""
    data = bytes(range(256)) * 1_000
    passed: list[bytes] = []
    with Collector(store) as collector, pipe() as (read, write):

        def fill() -> None:
            os.write(write, data)
            os.close(write)

        writer = threading.Thread(target=fill)
        writer.start()
        ingest_stream(collector, read, format="lines", pass_on=passed.append)
        writer.join()
    assert b"".join(passed) == data
    assert len(store.messages) == data.count(b"\n") + 1


def test_a_reader_that_goes_away_ends_it(store):
    """`… | head`: what was read is kept, and it is said that this is not all."""

    def broken(_: bytes) -> None:
        raise BrokenPipeError

    with Collector(store) as collector, pipe() as (read, write):
        os.write(write, b"a line\n")
        found = ingest_stream(collector, read, format="lines", pass_on=broken)
    assert found == Ingested(1, 7, is_whole=False) and store.messages == ["a line"]


def test_ctrl_c_keeps_what_was_read(store):
    """And is passed on to who called."""

    def interrupted(_: bytes) -> None:
        raise KeyboardInterrupt

    with Collector(store) as collector, pipe() as (read, write):
        os.write(write, b"a line\n")
        calls = iter((False, False, True))
        assert not ingest_stream(collector, read, format="lines", is_stopped=lambda: next(calls)).is_whole
        os.write(write, b"another\n")
        with pytest.raises(KeyboardInterrupt):
            ingest_stream(collector, read, format="lines", pass_on=interrupted)
    assert store.messages == ["a line", "another"]


def test_a_file_is_followed(store, tmp_path):
    """Beyond its end, and from its beginning when it was cut."""
    path = tmp_path / "log"
    path.write_text("one\n")
    is_stopped = threading.Event()
    with Collector(store) as collector, open(path, "rb") as file:
        thread = threading.Thread(
            target=ingest_stream,
            args=(collector, file.fileno()),
            kwargs={"format": "lines", "is_followed": True, "is_stopped": is_stopped.is_set},
        )
        thread.start()
        until(lambda: store.messages == ["one"])
        with open(path, "ab") as more:
            more.write(b"two\n")
        until(lambda: store.messages == ["one", "two"])
        os.truncate(path, 0)
        path.write_text("new\n")
        until(lambda: store.messages == ["one", "two", "new"])
        is_stopped.set()
        with no_hang():
            thread.join(NEVER_S)


def test_a_whole_file(store, tmp_path):
    """Of some megabytes, in order."""
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    with Collector(store, limits=Limits(queue_bytes=1 << 20)) as collector, open(path, "rb") as file:
        found = ingest_stream(collector, file.fileno(), format="lines", source="big")
    assert found.records == 100_000 and found.is_whole
    assert store.messages == [f"line {number}" for number in range(100_000)]


def test_what_is_not_kept_is_an_error():
    """A store that fails until the collector gives up: who ingests learns of it."""

    def fail(_: object) -> None:
        raise StoreFull("no space left")

    collector = Collector(ListedLogs(fail), limits=Limits(retry_most_s=0.01))
    with pipe() as (read, write):
        os.write(write, b"a line\n")
        os.close(write)

        def close() -> None:
            until(lambda: collector.queue.waiting[0])
            collector.close(0.05)

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(StoreError), no_hang():
            ingest_stream(collector, read, format="lines")
        closer.join()


def test_a_store_that_takes_nothing_holds_no_build_up(store):
    """What does not fit is passed on, dropped and counted; what comes when it takes some again is kept."""
    store.gate.clear()
    passed: list[bytes] = []
    lines = [b"line %d\n" % number for number in range(50)]
    with pipe() as (read, write), Collector(store, limits=Limits(queue_records=2)) as collector:
        thread = threading.Thread(
            target=ingest_stream,
            args=(collector, read),
            kwargs={"format": "lines", "pass_on": passed.append, "patience_s": 0.05},
        )
        thread.start()
        for number, line in enumerate(lines):
            os.write(write, line)
            until(lambda: len(b"".join(passed)) >= len(b"".join(lines[: number + 1])))  # noqa: B023 - waited for at once
        until(lambda: collector.counters().dropped_total >= 40)
        store.gate.set()
        until(lambda: not collector.queue.waiting[0])
        os.write(write, b"again\n")
        until(lambda: "again" in store.messages)
        os.close(write)
        with no_hang():
            thread.join(NEVER_S)
        counters = collector.counters()
    assert b"".join(passed) == b"".join(lines) + b"again\n"
    assert len(store.messages) + counters.dropped_total >= 51
    assert any("took nothing" in what.reason for what in counters.dropped)
