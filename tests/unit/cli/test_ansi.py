from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.cli.ansi import Paint, is_live, safe_text, terminal_size, wants_colour, write


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "at_terminal", "in_pipe"),
    [
        ({"TERM": "xterm"}, True, False),
        ({}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_who_wants_colours(environ, at_terminal, in_pipe) -> None:
    """NO_COLOR decides first, then FORCE_COLOR, then TERM, then whether it is a terminal"""
    assert wants_colour(Terminal(), environ) == at_terminal
    assert wants_colour(io.StringIO(), environ) == in_pipe


@pytest.mark.parametrize(
    ("environ", "live"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "xterm", "CI": "false"}, True),
        ({"TERM": "xterm", "CI": "true"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_who_watches(environ, live) -> None:
    """a display is for a terminal that is not dumb and not a CI's; never for a file"""
    assert is_live(Terminal(), environ) == live
    assert not is_live(io.StringIO(), {**environ, "FORCE_COLOR": "1"})


def test_a_closed_stream_is_no_terminal() -> None:
    """who closed the stream is not asked"""
    stream = io.StringIO()
    stream.close()
    assert not wants_colour(stream, {})
    assert terminal_size(stream) == (80, 24)


@pytest.mark.parametrize(
    ("data", "coloured", "plain"),
    [
        (b"a line\n\tand\n", "a line\n\tand\n", "a line\n\tand\n"),
        (b"\x1b[1;31mred\x1b[0m.\n", "\x1b[1;31mred\x1b[0m.\n", "red.\n"),
        (b"\x1b[38:2:1:2:3mx\x1b[m", "\x1b[38:2:1:2:3mx\x1b[m", "x"),
        (b"\x1b[31mleft on\n", "\x1b[31mleft on\x1b[0m\n", "left on\n"),
        (b"\x1b[01m\x1b[Kgcc\x1b[m\x1b[K", "\x1b[01mgcc\x1b[m", "gcc"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link", "link"),
        (b"\x1b[2J\x1b[H", "␛[2J␛[H", "␛[2J␛[H"),
        (b"\x1b]0;title\x07", "␛]0;title␇", "␛]0;title␇"),
        (b"\x1b[31mx\x1b[6n", "\x1b[31mx␛[6n\x1b[0m", "x␛[6n"),
        ("\x9b2J".encode(), "\\x9b2J", "\\x9b2J"),
        (b"\x9b2J\xff", "\\x9b2J\\xff", "\\x9b2J\\xff"),
        (b"10%\r20%\r\n", "10%\n20%\n", "10%\n20%\n"),
        (b"ab\b\b\x7f", "ab␈␈␡", "ab␈␈␡"),
        ("if \u202e admin".encode(), "if \\u202e admin", "if \\u202e admin"),
        ("é ☃ 漢".encode(), "é ☃ 漢", "é ☃ 漢"),
        (b"", "", ""),
    ],
)
def test_output_is_text_and_colour(data, coloured, plain) -> None:
    """colours stay where they are wanted, all other controls are shown and do nothing"""
    assert safe_text(data, keeps_colour=True) == coloured
    assert safe_text(data, keeps_colour=False) == plain


@given(
    st.lists(
        st.one_of(st.binary(max_size=6), st.sampled_from([b"\x1b[", b"1;3", b"m", b"\x1b]8;", b"\x1b\\"]))
    )
)
def test_no_control_gets_through(parts) -> None:
    """whatever bytes there are, nothing but text, tabs, line breaks and colours comes out"""
    import re

    shown = safe_text(b"".join(parts), keeps_colour=True)
    rest = re.sub(r"\x1b\[[0-9;:]*m", "", shown)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", rest)
    assert "\x1b" not in safe_text(b"".join(parts), keeps_colour=False)


def test_a_narrow_encoding_shows_escapes() -> None:
    """what a stream's encoding has no letter for is written as an escape"""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    write(stream, "é\n")
    assert raw.getvalue() == b"\\xe9\n"


def test_paint() -> None:
    """a style is put around text, and nothing around none"""
    assert Paint(is_on=True)("31", "x") == "\x1b[31mx\x1b[0m"
    assert Paint(is_on=True)("31", "") == Paint(is_on=True)("", "") == ""
    assert Paint(is_on=False)("31", "x") == Paint(is_on=True)("", "x") == "x"
