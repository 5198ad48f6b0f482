"""The words of response files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.cc.responses import expand, split_response


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []), (" a\tb\nc ", ["a", "b", "c"]), ("'a b' \"c d\"", ["a b", "c d"]), ("a\\ b", ["a b"]),
        ("'a\\'b'", ["a'b"]), ('"a\\"b"', ['a"b']), ("''", [""]), ("a'b'c", ["abc"]), ("\"it's\"", ["it's"]),
        ("a\\\\b", ["a\\b"]), ("'open", ["open"]), ("end\\", ["end"]),
    ],
)  # fmt: skip
def test_words_of_response_files(text, words):
    """As libiberty's `buildargv` splits them."""
    assert split_response(text) == words


@given(st.lists(st.text(max_size=8), max_size=6))
def test_quoted_words_come_back(words):
    """Any words, with every character quoted, are split into the same words."""
    text = " ".join("".join(f"\\{char}" for char in word) or "''" for word in words)
    assert split_response(text) == words


def test_files_within_files():
    """Words of files that files name stand where they are named; a name of no file is a word."""
    files = {"a": b"1 @b 3", "b": b"2"}
    seen: list[str] = []
    assert expand(("0", "@a", "@none", "4"), files.get, seen) == ["0", "1", "2", "3", "@none", "4"]
    assert seen == ["a", "b"]


def test_a_file_that_names_itself():
    """Has no end, and so no words."""
    assert expand(("@a",), {"a": b"@a"}.get, []) is None
