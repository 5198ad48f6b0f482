"""Captured output as records."""

from __future__ import annotations

from vcache.dag.capture import Record, Records, records_of
from vcache.dag.where import condition
from vcache.fingerprint.arguments import identity

GCC = b"\x1b[1ma.c:2:3:\x1b[m warning: w [-Wx]\n    2 | int\n      |   ^\nmake: done\n"


def test_a_diagnostic_is_one_record_and_every_other_line_too():
    """The text of a diagnostic has its excerpt, without colours; empty lines are none."""
    found = list(records_of("a.o", [(1, 5, b"hello\n\n"), (2, 7, GCC)]))
    assert found == [
        Record("a.o", 5, "stdout", "hello", message="hello"),
        Record(
            "a.o", 7, "stderr", "a.c:2:3: warning: w [-Wx]\n    2 | int\n      |   ^", "warning", "a.c", 2, 3, "w", "-Wx"
        ),
        Record("a.o", 7, "stderr", "make: done", message="make: done"),
    ]  # fmt: skip


def test_a_record_has_the_time_of_its_first_byte():
    """Lines may come in pieces, and the streams in turns."""
    chunks = [(1, 1, b"on"), (2, 2, b"x\n"), (1, 3, b"e\ntwo\n"), (1, 4, b"three")]
    assert [(each.text, each.at_ns) for each in records_of("n", chunks)] == [
        ("one", 1), ("two", 3), ("three", 4), ("x", 2),
    ]  # fmt: skip


def test_bytes_that_are_no_text_are_shown():
    """They are escaped, and times stay right behind them."""
    found = list(records_of("n", [(1, 1, b"\xff\xfe\n"), (1, 2, b"b\r\n")]))
    assert [(each.text, each.at_ns) for each in found] == [("\\xff\\xfe", 1), ("b", 2)]


def test_records_are_taken_by_a_condition():
    """In the order of the logs; as a sequence they are what a list would be."""
    logs = [("a", ((2, 1, GCC),)), ("b", ((1, 1, b"x\ny\n"),))]
    everything = Records(logs)
    assert [each.text.split("\n")[0] for each in everything] == [
        "a.c:2:3: warning: w [-Wx]", "make: done", "x", "y",
    ]  # fmt: skip
    assert everything[1:3] == list(everything)[1:3]
    assert len(Records(logs, where=condition("level >= warning"), text="level >= warning")) == 1


def test_records_are_identified_by_bytes_and_condition():
    """Not by what was read of them; other bytes, other names and another condition are other records."""

    def known(node: str = "a", data: bytes = b"x", text: str = "") -> bytes:
        return identity(Records([(node, ((1, 1, data),))], text=text))

    read = Records([("a", ((1, 1, b"x"),))])
    list(read)
    assert identity(read) == known()
    assert len({known(), known("b"), known(data=b"y"), known(text="line")}) == 4


def test_times_are_a_part_of_records_where_they_are_asked_for():
    """A command that says the same in other pieces, a moment later, has said the same."""

    def known(*chunks: tuple[int, int, bytes], text: str = "") -> bytes:
        return identity(Records([("a", chunks)], text=text))

    assert known((1, 1, b"xy"), (2, 2, b"z")) == known((1, 5, b"x"), (2, 7, b"z"), (1, 8, b"y"))
    assert known((1, 1, b"xy")) != known((2, 1, b"xy"))
    assert known((1, 1, b"x"), text="at_ns > 3") != known((1, 5, b"x"), text="at_ns > 3")
