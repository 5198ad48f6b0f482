"""Searching for strangers: bounded time, and what is found is what `re` finds."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.patience import no_hang
from vcache.errors import UsageError
from vcache.query import patterns
from vcache.query.patterns import linear_fault, searcher


@pytest.fixture(scope="module", autouse=True)
def linear():
    """As in a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_is_linear", True)
        yield


@pytest.mark.parametrize("pattern", ["a*a*a*a*b", "(?:a?){40}b", "aa*?b", "a.*a.*b", "(a|aa)*b"])
def test_no_text_holds_a_search_up(pattern):
    """What takes `re` for ever is done at once."""
    with no_hang():
        assert not searcher(pattern)("a" * 65_536)
        assert searcher(pattern)("a" * 1_000 + "b")


@pytest.mark.parametrize("pattern", ["(?=a+b)", "(a+)\\1", "a++b"])
def test_what_cannot_be_bounded_is_said(pattern):
    """With what to do."""
    fault = linear_fault(pattern)
    assert fault is not None
    assert "search for its parts" in fault.reason
    with pytest.raises(UsageError, match="bounded time"):
        searcher(pattern)


def test_text_that_is_no_utf_8_is_searched():
    """Bytes that are none are a character each."""
    assert searcher("a.*b")("\udcff" * 300 + "a\udcffb")


pieces = st.sampled_from(
    ("a", "b", ".", "[ab]", "(?:a|b)", "\\d", "\\w", "\\bx", "^", "x?", "a*", "b+", "(?i:X)", " ")
)


@given(st.lists(pieces, min_size=1, max_size=6), st.text(string.printable, max_size=40), st.booleans())
def test_it_finds_what_re_finds(parts, text, is_long):
    """Also where the text is long."""
    pattern = "".join(parts)
    if is_long:
        text = text + "-" * 300
    assert searcher(pattern)(text) == (re.search(pattern, text, re.ASCII) is not None)
