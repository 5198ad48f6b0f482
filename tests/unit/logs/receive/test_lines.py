"""Plain lines and logfmt as records."""

from __future__ import annotations

import pytest

from vcache.logs.receive import by_name
from vcache.logs.record import Mark, Record
from vcache.query.levels import CRITICAL, ERROR, INFO, WARNING

NOW = 1_795_296_000 * 10**9


def _records(text: str, name: str = "lines") -> list[Record]:
    return by_name(name).parse(text.encode("utf-8", "surrogateescape"), now_ns=NOW, source="make").records


def _only(text: str) -> Record:
    (record,) = _records("before\n" + text + "\nafter\n")[1:-1]
    assert record.message == text
    return record


def test_a_line_is_a_record() -> None:
    """With the time at which it was seen, its colours, and no line break; empty lines say nothing."""
    found = _records("[1/2] gcc\r\n\n\x1b[31mx\x1b[m\n10%\r99%\nlast")
    assert [record.message for record in found] == ["[1/2] gcc", "\x1b[31mx\x1b[m", "10%\r99%", "last"]
    assert all(record[:3] == (NOW, 0, "make") and record.marks == Mark.NO_TIME for record in found)


def test_a_diagnostic_is_one_record_with_its_place() -> None:
    """From what leads to it to the end of its excerpt; gcc's."""
    record = _only(
        "In file included from a.c:1:\na.h: In function 'f':\n"
        "a.h:3:9: warning: unused variable 'x' [-Wunused-variable]\n    3 |     int x;\n      |         ^"
    )
    assert record.level == WARNING
    assert record.fields == {
        "file": "a.h", "line": 3, "column": 9, "option": "-Wunused-variable", "within": "a.c:1",
    }  # fmt: skip


def test_diagnostics_in_a_row_are_several() -> None:
    """And what stands between them is not lost."""
    found = _records("a.c:1:1: error: x\nnext\na.c:2:1: note: y\n  | z\nmake: *** [all] Error 1\n")
    assert [(record.level, record.fields.get("line")) for record in found] == [
        (ERROR, 1), (0, None), (10, 2), (ERROR, None),
    ]  # fmt: skip


def test_an_excerpt_of_clang_belongs_to_its_message() -> None:
    """It has no line number, and is known by the caret below it."""
    assert _only("a.c:1:2: error: expected\nint x\n     ^").fields == {"file": "a.c", "line": 1, "column": 2}


def test_colours_hide_no_place() -> None:
    """They stay in the message."""
    record = _only("\x1b[1ma.c:1:2:\x1b[m \x1b[31merror:\x1b[m expected")
    assert (record.level, record.fields) == (ERROR, {"file": "a.c", "line": 1, "column": 2})


def test_rust_says_the_place_below() -> None:
    """And a code behind the level."""
    record = _only("error[E0308]: mismatched types\n --> src/main.rs:2:5\n  |\n2 |     1\n  |     ^ expected")
    assert (record.level, record.fields) == (ERROR, {"file": "src/main.rs", "line": 2, "column": 5})


@pytest.mark.parametrize(
    "text",
    [
        'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    1/0\nZeroDivisionError: by zero',
        ("Traceback (most recent call last):\n  File 'x'\nValueError\n\nDuring handling of the above exception, another "
         "exception occurred:\n\nTraceback (most recent call last):\n  File 'x'\nKeyError: 'a'"),
        ("java.lang.IllegalStateException: boom\n\tat a.b.C.d(C.java:1)\n\t... 3 more\n"
         "Caused by: java.io.IOException: x\n\tat a.b.C.d(C.java:1)"),
        "TypeError: x is not a function\n    at f (/a/b.js:1:2)\n    at node:internal/main:1:2",
        "panic: oh\n\ngoroutine 1 [running]:\nmain.main()\n\t/x/main.go:4 +0x1",
    ],
)  # fmt: skip
def test_a_trace_is_one_record(text: str) -> None:
    """Of Python, Java, JavaScript and Go."""
    assert _only(text).level >= ERROR


def test_only_what_may_go_on_is_held_back() -> None:
    """A line passes at once; what a trace has so far comes with a flush."""
    stream = by_name("lines").stream()
    assert [record.message for record in stream.feed(b"a\nb\nc", now_ns=NOW)] == ["a", "b"]
    assert stream.feed(b"\nTraceback (most recent call last):\n  File\n", now_ns=NOW)[0].message == "c"
    assert stream.feed(b"", now_ns=NOW) == []
    assert stream.flush(now_ns=NOW)[0].message == "Traceback (most recent call last):\n  File"
    assert stream.end(now_ns=NOW) == []


def test_a_time_with_a_zone_is_the_lines() -> None:
    """One without may be of any zone, and is not believed."""
    first, second = _records("2026-11-21T21:14:33.5Z INFO x\n2026-11-21 21:14:33,5 INFO x")
    assert (first.at_ns, first.marks, first.level) == (1_795_295_673_500_000_000, 0, INFO)
    assert (second.at_ns, second.marks) == (NOW, Mark.NO_TIME)


def test_logfmt_among_lines_is_read() -> None:
    """It is known by how it begins."""
    (record,) = _records('level=warn msg="a b" took=3ms')
    assert (record.level, record.message, record.fields) == (WARNING, "a b", {"took": "3ms"})


@pytest.mark.parametrize("long", [10 << 20, 33 << 20])
def test_a_line_of_megabytes_is_stored_as_it_came(long: int) -> None:
    """In parts, if it is beyond the bound; each is marked."""
    found = _records("error: " + "x" * (long - 7) + "\nnext")
    assert sum(len(record.message) for record in found[:-1]) == long
    assert found[-1].message == "next"
    assert len(found) == (2 if long < 32 << 20 else 3)
    assert bool(found[0].marks & Mark.CUT) == (len(found) == 3)


def test_bytes_that_are_no_utf8_are_kept() -> None:
    """As lone surrogates."""
    (record,) = by_name("lines").parse(b"a\xff\xfeb", now_ns=NOW).records
    assert record.message.encode("utf-8", "surrogateescape") == b"a\xff\xfeb"


@pytest.mark.parametrize(
    ("line", "level", "message", "fields"),
    [
        ('level=info msg="it \\"went\\" well\\n" took=3ms', INFO, 'it "went" well\n', {"took": "3ms"}),
        ("lvl=crit flag err= k=v=w", CRITICAL, "", {"flag": True, "err": "", "k": "v=w"}),
        ("msg=x\tlevel=warn", 0, "x\tlevel=warn", {}),
    ],
)
def test_logfmt_is_names_and_values(line: str, level: int, message: str, fields: dict[str, object]) -> None:
    """Quoted or bare, or a name alone."""
    (record,) = _records(line, "logfmt")
    assert (record.level, record.message, record.fields) == (level, message, fields)


@pytest.mark.parametrize("line", ["hello world", 'a="b', 'a="b"c', "=x", '"a"=b'])
def test_what_is_no_logfmt_is_kept(line: str) -> None:
    """As it came, and marked."""
    (record,) = _records(line, "logfmt")
    assert (record.message, record.marks) == (line, Mark.UNPARSED | Mark.NO_TIME)


def test_what_was_held_back_has_the_time_at_which_it_came() -> None:
    """Not that of the line or the pause which showed that it was whole."""
    stream = by_name("lines").stream()
    assert stream.feed(b"a.c:1:1: warning: x\n", now_ns=1) == []
    assert stream.feed(b"  1 | int x;\n", now_ns=2) == []
    found = stream.feed(b"\nok\nb.c:1:1: error: y\n", now_ns=3) + stream.flush(now_ns=9)
    assert [(record.message[:3], record.at_ns) for record in found] == [("a.c", 1), ("ok", 3), ("b.c", 3)]
