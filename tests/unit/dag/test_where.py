"""Conditions over records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.dag.capture import Record
from vcache.dag.where import condition
from vcache.errors import GraphError
from vcache.kit.diagnostics import LEVELS

RECORD = Record(
    "obj/a.o",
    5,
    "stderr",
    "src/a.c:3:4: warning: it's \\d [-Wx]",
    "warning",
    "src/a.c",
    3,
    4,
    "it's \\d",
    "-Wx",
)

TRUE = [
    "level == warning", "level >= note", "level > 'note'", "level < error", "level != debug",
    "level in (warning, error)", "level not in (debug, info)",
    "line == 3", "line >= 3 and column <= 4", "at_ns < 6", "line in (1, 2, 3)",
    "file == 'src/a.c'", 'file ~ "^src/"', "not file ~ 'b'", "stream == 'stderr'", "node ~ 'a'",
    r"message ~ 'it\'s'", r"message ~ '\\d'", "option == '-Wx'", "option", "file and line",
    "level == error or line == 3", "level == error and line == 1 or column == 4",
    "not (level == error or line == 1)", "not not line == 3", "  line==3  ", "(((line == 3)))", "",
    "level = warning file = src/a.c", "message contains \"it's\"", "text : SRC", "'it'", "file in (src/a.c)",
]  # fmt: skip
FALSE = [
    "level > warning", "level == error", "level in (debug)", "line > 3", "file ~ '^a'", "not option",
    "line == 3 and not column == 4", "level == error or line == 1 and column == 4",
]  # fmt: skip


@pytest.mark.parametrize("text", TRUE)
def test_it_holds(text: str):
    """The conditions of the query language, over what a record has."""
    assert condition(text)(RECORD) is True


@pytest.mark.parametrize("text", FALSE)
def test_it_does_not_hold(text: str):
    """And so for what is not so."""
    assert condition(text)(RECORD) is False


WRONG = {
    "levle == error": ("no field 'levle'; did you mean 'level'?", 0),
    "level == wrong": ("no level 'wrong'", 9),
    "level ==": (
        "a level (trace, debug, info, note, warning, error, critical) is wanted here, not the end",
        8,
    ),
    "@time > -1h": ("no field '@time'", 0),
    "file ~ 'a('": ("no regular expression: missing ), unterminated subpattern", 9),
    "line == 3 | count": ("`and`, `or` or the end is wanted here, not '|'", 10),
    "line == 3 and": ("a field (at_ns, column, file, level, line, message, node, option, stream, text)", 13),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:20])
def test_what_is_wrong_is_shown(text: str):
    """The error is one of a build file; it shows the place with a caret, and what would be right there."""
    said, at = WRONG[text]
    with pytest.raises(GraphError) as caught:
        condition(text)
    what, line, caret = str(caught.value).split("\n")
    assert what.startswith(said)
    assert line == f"    {text}"
    assert caret.index("^") - 4 == at


@given(st.sampled_from(LEVELS), st.sampled_from(LEVELS))
def test_levels_are_ordered(one: str, other: str):
    """As in `LEVELS`."""
    record = Record("n", 0, "stdout", "", one)
    assert condition(f"level >= {other}")(record) == (LEVELS.index(one) >= LEVELS.index(other))
