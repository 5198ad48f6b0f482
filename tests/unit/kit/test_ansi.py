"""What may go to a terminal. `safe_text` over bytes: tests/unit/cli/test_ansi.py."""

from __future__ import annotations

import pytest

from vcache.kit.ansi import acts, cells_of, safe_string


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb\u2028c\u061cd", "a\\u202eb\\u2028c\\u061cd"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
    ],
)
def test_nothing_in_a_string_acts(text, shown):
    """Controls, marks of direction and lone surrogates are shown as what they are; colours go"""
    assert safe_string(text) == shown
    assert not acts(shown)


def test_colours_stay_where_they_are_wanted():
    """A message's own colours stay, and are switched off at its end"""
    assert safe_string("\x1b[31mred", keeps_colour=True) == "\x1b[31mred\x1b[0m"


@pytest.mark.parametrize("text", ["\x1b[31m", "\x07", "\u202e", "\x9b", "\x7f", "\u2029"])
def test_what_acts(text):
    """Whatever a terminal might obey is told"""
    assert acts(f"a{text}b")


def test_wide_letters_take_two_cells():
    """Widths are those of a terminal"""
    assert cells_of("日本e\u0301x") == 6
