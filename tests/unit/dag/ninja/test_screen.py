"""Lines on a terminal that is written over, and on plain streams."""

from __future__ import annotations

import io
import os

import pytest

from vcache.dag.ninja.screen import Screen, Terminal, elide, strip_ansi


def smart(columns: int = 0) -> tuple[Screen, io.BytesIO]:
    sink = io.BytesIO()
    return Screen(sink, Terminal(is_smart=True, has_colour=True, columns=lambda: columns)), sink


def plain() -> tuple[Screen, io.BytesIO]:
    sink = io.BytesIO()
    return Screen(sink, Terminal()), sink


def test_status_lines_are_written_over_on_a_terminal():
    """A status line replaces the last one; what stays begins a line of its own."""
    screen, sink = smart()
    screen.status("one")
    screen.status("two")
    screen.output(b"kept\n")
    assert sink.getvalue() == b"\rone\x1b[K\rtwo\x1b[K\nkept\n"


def test_unfinished_output_is_not_written_over():
    """Output without an end of line keeps its line, on a terminal and on a plain stream."""
    screen, sink = smart()
    screen.output(b"half")
    screen.status("next")
    assert sink.getvalue() == b"half\n\rnext\x1b[K"
    screen, sink = plain()
    screen.output(b"half")
    screen.status("next")
    screen.output(b"")
    assert sink.getvalue() == b"half\nnext\n"


def test_a_lent_terminal_is_not_written_to():
    """While a command has the terminal, lines and output wait; then they come in their order."""
    screen, sink = plain()
    screen.status("[0/2] console")
    screen.lend()
    before = sink.getvalue()
    screen.status("[1/2] a")
    screen.output(b"of a")
    screen.status("[2/2] b")
    assert sink.getvalue() == before == b"[0/2] console\n"
    screen.take_back()
    assert sink.getvalue() == b"[0/2] console\n[1/2] a\nof a\n[2/2] b\n"


def test_a_lent_terminal_shows_only_the_last_line_afterwards():
    """On a terminal, lines that would have been written over meanwhile are not shown."""
    screen, sink = smart()
    screen.lend()
    screen.status("one")
    screen.status("two")
    screen.take_back()
    assert sink.getvalue() == b"\rtwo\x1b[K"


def test_a_reader_that_went_away_stops_nothing():
    """A closed stream is written to no more, without an error."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as sink:
        screen = Screen(sink, Terminal())
        screen.status("nobody reads this")
        screen.output(b"nor this")
        screen.flush()


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("short", 10, "short"),
        ("exactly ten", 11, "exactly ten"),
        ("0123456789", 9, "012...789"),
        ("0123456789", 8, "01...789"),
        ("0123456789", 3, "..."),
        ("0123456789", 2, ".."),
        ("0123456789", 0, ""),
        ("\x1b[31m0123456789\x1b[0m", 10, "\x1b[31m0123456789\x1b[0m"),
        ("\x1b[31m0123456789\x1b[0m", 8, "\x1b[31m01...789\x1b[0m"),
        ("01\x1b[31m2345\x1b[0m6789", 7, "01...\x1b[31m\x1b[0m89"),
        ("0123\x1b[32m45\x1b[31m6789", 5, "0...\x1b[32m\x1b[31m9"),
    ],
)
def test_long_lines_lose_their_middle(text: str, columns: int, shown: str):
    """A line wider than the terminal keeps both ends, and every colour code."""
    assert elide(text, columns) == shown


def test_stripping_leaves_text():
    """Escape sequences go, half of one at the end too."""
    assert strip_ansi(b"a\x1b[1;31mred\x1b[0m b\x1b[Kc\x1b]d\x1b") == b"ared bc]d"


@pytest.mark.parametrize(
    ("environ", "has_colour"),
    [({}, False), ({"CLICOLOR_FORCE": "0"}, False), ({"CLICOLOR_FORCE": "1"}, True)],
)
def test_a_stream_that_is_no_terminal(environ: dict[str, str], has_colour: bool):
    """A pipe is not smart, and has colours only by CLICOLOR_FORCE."""
    reader, writer = os.pipe()
    try:
        found = Terminal.of(writer, environ | {"TERM": "xterm"})
        assert (found.is_smart, found.has_colour, found.columns()) == (False, has_colour, 0)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(("term", "is_smart"), [("xterm", True), ("dumb", False), (None, False)])
def test_a_terminal_is_smart_unless_it_is_called_dumb(term: str | None, is_smart: bool):
    """A terminal whose TERM is dumb or not set is not written over."""
    main, side = os.openpty()
    try:
        assert Terminal.of(side, {} if term is None else {"TERM": term}).is_smart is is_smart
    finally:
        os.close(main)
        os.close(side)
