"""The handler of `logging`: existing programs need no change."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.logs.front.keeping import Kept
from vcache.logs import Handler, context
from vcache.logs.front.handler import level_of_stdlib
from vcache.logs.record import Mark


@pytest.fixture
def sink() -> Kept:
    return Kept()


@pytest.fixture
def logger(sink: Kept) -> Iterator[logging.Logger]:
    logger = logging.getLogger("prog.part")
    handler = Handler(sinks=[sink], run="r1")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)


def test_a_record(logger, sink):
    """Message and arguments, level, name of the logger, place, extra, bound fields and context arrive."""
    with context(node="a.o"):
        logger.warning("%d of %s", 3, "x", extra={"target": "t", "nested": {"a": 1}})
    (record,) = sink.records
    assert (record.level, record.source, record.message) == (13, "prog", "3 of x")
    line = record.fields["code.line"]
    assert type(line) is int and record.at_ns > 10**18
    assert record.fields == {
        "run": "r1", "node": "a.o", "logger": "prog.part", "code.file": __file__, "code.line": line,
        "code.function": "test_a_record", "target": "t", "nested.a": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "level"),
    [(5, 1), (10, 5), (19, 5), (20, 9), (25, 10), (30, 13), (40, 17), (50, 21), (70, 21), (0, 0)],
)
def test_levels(number, level):
    """The numbers of `logging`, and those between them."""
    assert level_of_stdlib(number) == level


def test_exceptions(logger, sink):
    """Type, message and stack; of `exception`, of exc_info, and the stack of stack_info."""
    try:
        raise OSError(2, "gone")
    except OSError as error:
        logger.exception("failed")
        logger.info("with", exc_info=error)
        logger.info("stack", stack_info=True)
    logger.info("none", exc_info=True)  # noqa: LOG014 - nothing is being handled
    first, second, third, fourth = (each.fields for each in sink.records)
    assert (first["error.type"], first["error.message"]) == ("FileNotFoundError", "[Errno 2] gone")
    assert first["error.stack"] == second["error.stack"]
    assert str(first["error.stack"]).startswith("Traceback")
    assert "test_exceptions" in str(third["code.stack"])
    assert "error.type" not in fourth


def test_arguments_that_do_not_fit(logger, sink):
    """The record arrives all the same, with its arguments and what is wrong."""
    # Straight to the handler: that of pytest raises for such.
    for message, arguments in (("%d %d", ("x",)), ("100%", ("y",))):
        logger.handlers[0].handle(logging.makeLogRecord({"msg": message, "args": arguments, "levelno": 20}))
    assert [each.message for each in sink.records] == ["%d %d ('x',)", "100% ('y',)"]
    assert all("Error" in str(each.fields["vcache.odd"]) for each in sink.records)


def test_secrets(logger, sink):
    """They are taken out of messages and extra."""
    logger.info("login with password=%s", "hunter2", extra={"token": "abc"})
    (record,) = sink.records
    assert record.message == "login with password=[REDACTED]"
    assert record.fields["token"] == "[REDACTED]" and record.marks == Mark.REDACTED


def test_levels_and_filters_of_logging(logger, sink):
    """They hold: of the logger, the handler and the sink."""
    sink.level = 17
    logger.handlers[0].addFilter(lambda record: "not" not in record.getMessage())
    logger.warning("below the sink")
    logger.error("heard")
    logger.error("not heard")
    assert sink.messages == ["heard"]


def test_a_sink_that_fails(logger, sink, capsys):
    """It raises nothing into the program."""
    sink.write = None
    logger.error("m")
    assert "the log sink Kept failed" in capsys.readouterr().err


_AT_THE_END = """
import atexit, logging, sys
from vcache.logs import Handler, JsonSink, StoreSink

class Store:
    def append(self, records, *, sync=True):
        with open(sys.argv[1], "a") as file:
            file.writelines(f"{each.message} x{each.repeats}\\n" for each in records)

logging.basicConfig(level="INFO", handlers=[Handler(sinks=[StoreSink(Store(), rings=sys.argv[2])]),
                                            Handler(sinks=[JsonSink(sys.argv[3])])])
atexit.register(lambda: logging.info("from atexit"))

class Late:
    def __del__(self):
        logging.info("from a finalizer")

late = Late()
for _ in range(3):
    logging.info("again")
"""


def test_the_end_of_a_program(tmp_path: Path):
    """What is said before the end arrives, what folding held back too; what is said after it raises nothing."""
    lines, rings, json_lines = tmp_path / "lines", tmp_path / "rings", tmp_path / "json"
    done = subprocess.run(
        [sys.executable, "-c", _AT_THE_END, lines, rings, json_lines],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert list(rings.iterdir()) == []
    said = lines.read_text().splitlines()
    assert sum(int(each.rpartition("x")[2]) for each in said if each.startswith("again")) == 3
    assert "from atexit x1" in said
    assert json_lines.read_text().count('"again"') == 2
    assert '"repeats":2' in json_lines.read_text()
