"""What a server does not search for."""

from __future__ import annotations

import pytest

from vcache.query.parser import parse
from vcache.server.logs.asking import Unclear, parsed
from vcache.server.logs.bounds import held_up_by


@pytest.mark.parametrize(
    "query",
    [
        'message ~ "(?=a+b)"', 'not (level = error or message ~ "a*b(?!c)")', '"x" and source ~ "(?P<x>a+)(?P=x)"',
        '| where message ~ "a++b"', 'level = error | count by source | where source ~ "(?=a+)b"',
    ],
)  # fmt: skip
def test_what_could_hold_it_up_is_refused(query):
    """Wherever it stands, with the remedy and the place; a command takes it."""
    assert held_up_by(parse(query, now_ns=0)) is not None
    with pytest.raises(Unclear, match="search for its parts") as caught:
        parsed(query)
    position = caught.value.details["position"]
    assert isinstance(position, int)
    assert position > 0


@pytest.mark.parametrize(
    "query",
    [
        "",
        'message ~ "(gcc|clang)-?[0-9]+([.][0-9]+)?"',
        'message ~ "colou?r (?:of|in) [a-z]{3}"',
        "level = error",
        'message ~ "^unused .* [a-z]+$"',
        'message ~ "a.*b" and message ~ "b.*c"',
        'message ~ "error.*timeout.*node"',
        'message ~ "a*a*a*a*b"',
        'message ~ "(?:a?){40}b"',
        'message ~ "(?=ab)"',
    ],
)
def test_what_is_usual_is_searched_for(query):
    """Also several of them."""
    parsed(query)
