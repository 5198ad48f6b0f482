"""Lines for people and for programs."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import threading

import pytest

from tests.patience import until
from tests.unit.logs.front.keeping import Kept
from vcache.errors import UsageError
from vcache.logs import CallSink, JsonSink, Logger, Record, TextSink, configure, flush
from vcache.logs.front.lanes import Lane
from vcache.logs.front.process import PROCESS
from vcache.logs.front.sinks import json_line, text_line

AT_NS = 1_700_000_000_123_456_789


def record(**changes) -> Record:
    return Record(AT_NS, 13, "gcc", "unused variable")._replace(**changes)


def test_a_line_of_text():
    """Time, level, source, message, fields: those with blanks in quotes."""
    line = text_line(record(fields={"file": "a.c", "line": 3, "said": 'a "b"', "none": ""}, repeats=4))
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.123 warning  gcc: unused variable \(4 times\)  "
        r'file=a\.c line=3 said="a \\"b\\"" none=""\n',
        line,
    )


def test_lines_within():
    """Further lines of a message, and the stack of an error, are indented, so that no text makes a record."""
    line = text_line(record(message="a\nb", fields={"error.type": "E", "error.stack": "Traceback\n  x\n"}))
    assert line.splitlines()[1:] == ["    b  error.type=E", "    Traceback", "      x"]


def test_escapes_are_shown():
    """No text moves the cursor of who reads it."""
    line = text_line(record(source="\x07", message="\x1b[2J\r\x9b\u202e", fields={"\x1b": "\x00"}))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", line)
    assert "\\x1b[2J\\x0d\\x9b\\u202e" in line


def test_a_line_of_json():
    """It is an object that says everything, in ASCII; a field's name hides none of a record's own."""
    fields = {"level": "x", "n": 1, "f": float("inf"), "b": True, "s": "é\udc80"}
    line = json_line(record(fields=fields, marks=4, repeats=2))
    assert line.isascii() and line.endswith("}\n") and "\n" not in line[:-1]
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.123456789Z", "level": "warning", "source": "gcc", "message": "unused variable",
        "repeats": 2, "marks": 4, "fields.level": "x", "n": 1, "f": "inf", "b": True, "s": "é\udc80",
    }  # fmt: skip
    assert json.loads(json_line(Record(-(2**63))))["message"] == ""


@pytest.mark.parametrize("kind", [TextSink, JsonSink])
def test_files_and_streams(tmp_path, kind):
    """A file is appended to and has no colours; a stream stays open; what cannot be encoded is escaped."""
    path = tmp_path / "log"
    for _ in range(2):
        sink = kind(path)
        sink.write(record(message="m\udc80"))
        sink.close()
        sink.close()
        sink.write(record())
    text = path.read_text()
    assert text.count("\n") == 2 and "\x1b" not in text and "\\udc80" in text
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    sink = kind(stream)
    sink.write(record(message="é"))
    sink.close()
    assert not stream.closed and raw.getvalue().isascii() and b"e9" in raw.getvalue()


@pytest.mark.parametrize(("variable", "has_colours"), [(None, True), ("NO_COLOR", False)])
def test_colours_are_for_terminals(monkeypatch, variable, has_colours):
    """A terminal has them, unless NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if variable:
        monkeypatch.setenv(variable, "1")
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:
        TextSink(stream).write(record())
        assert (b"\x1b[33mwarning" in os.read(ours, 1000)) is has_colours
    os.close(ours)


def test_stderr_is_asked_for_late(capsys):
    """The sink of a program that says nothing else writes to the stderr of the moment."""
    Logger("x", sinks=[TextSink()]).warning("m")
    assert capsys.readouterr().err.endswith("warning  x: m\n")


def test_a_function():
    """It is called with each record from its level on."""
    found: list[Record] = []
    logger = Logger("x", sinks=[CallSink(found.append, level="warning")])
    logger.info("a")
    logger.error("b")
    assert [each.message for each in found] == ["b"]
    with pytest.raises(UsageError, match="level 'loud'"):
        CallSink(print, level="loud")


def test_folding():
    """The first of a run is written at once, the others as one when another line comes, or by `flush`."""
    sink = Kept(folds=True)
    logger = Logger("x", sinks=[sink])
    for _ in range(5):
        logger.info("again")
    assert [each.repeats for each in sink.records] == [1]
    logger.info("other")
    assert [(each.message, each.repeats) for each in sink.records] == [
        ("again", 1),
        ("again", 4),
        ("other", 1),
    ]
    logger.info("other")
    flush()
    assert [each.repeats for each in sink.records] == [1, 4, 1, 1]


def test_what_is_held_comes_by_itself():
    """Without another line, after a second."""
    sink = Kept(folds=True)
    logger = Logger("x", sinks=[sink])
    logger.info("again")
    logger.info("again")
    until(lambda: len(sink.records) == 2)


def test_the_default_is_stderr(capsys):
    """A program that configures nothing sees what is said from info on."""
    before = PROCESS.lanes
    PROCESS.lanes = None
    PROCESS.changed()
    try:
        logger = Logger("plain")
        logger.debug("no")
        logger.info("yes")
        assert capsys.readouterr().err.endswith("info     plain: yes\n")
    finally:
        PROCESS.lanes = before
        configure()


def test_no_thread_can_be_started(monkeypatch):
    """At the end of the interpreter, or beyond the limit of threads: lines come one by one, and nothing raises."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    kept = Kept(folds=True)
    lane = Lane(kept)
    for _ in range(3):
        lane.write(record())
    assert [each.repeats for each in kept.records] == [1, 1, 1]
