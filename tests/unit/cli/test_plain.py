"""Plain words of `vcache build`: read as click reads them, or left to it."""

from __future__ import annotations

import click
import pytest

from vcache.cli import build as full
from vcache.cli.plain import Plain, read


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Plain()),
        ("a b/c.o", Plain(("a", "b/c.o"))),
        ("-C dir -f build.ninja -j4 all", Plain(("all",), "dir", "build.ninja", 4)),
        ("-Cdir -fx.py -j 0", Plain((), "dir", "x.py", 0)),
        ("-k -q", Plain(is_keeping_going=True, is_quiet=True)),
        ("-v -v", Plain(verbosity=2)),
    ],
)
def test_plain_words_are_what_click_makes_of_them(words: str, expected: Plain) -> None:
    """The values that click would give the command"""
    assert read(words.split()) == expected
    with full.build.make_context("build", words.split()) as context:
        given = context.params
    assert given["targets"] == expected.targets
    assert (given["directory"], given["file"], given["jobs"]) == expected[1:4]
    assert (given["keep_going"], given["verbose"]) == (expected.is_keeping_going, expected.verbosity)


@pytest.mark.parametrize(
    "words", ["--json", "-n", "-j", "-jx", "-j -4", "-C", "-f a -f b", "-vv", "-", "--", "--trace", "-e X"]
)
def test_all_others_are_left_to_click(words: str) -> None:
    """What is wrong, rare or written in another way is not guessed at"""
    assert read(words.split()) is None


def test_an_empty_word_is_left_to_click() -> None:
    """A target without a name is no target"""
    assert read([""]) is None


def test_every_plain_option_is_one_of_clicks() -> None:
    """No option is known here that the help does not name"""
    known = {word for option in full.build.params if isinstance(option, click.Option) for word in option.opts}
    assert {"-C", "-f", "-j", "-k", "-q", "-v"} <= known
