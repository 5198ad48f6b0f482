"""What conditions mean for a row."""

from __future__ import annotations

import pytest

from vcache.query.parser import parse_condition
from vcache.query.rows import SEARCHED_CHARS, compiled, fields_of, predicate, test_of, words_in
from vcache.query.syntax import Compare, Contains, Everything, Has, In, Regex, Value, Words

test_of.__test__ = False  # type: ignore[attr-defined]  # pytest goes by the name

ROW: dict[str, Value] = {
    "n": 404, "f": 2.5, "s": "404", "t": "Connection Refused: x_1", "yes": True, "no": False, "empty": "", "zero": 0,
    "word": "True", "level": 14, "nan": float("nan"), "neg": "-1.5e3", "hash": "12e4567", "huge": "1e999",
}  # fmt: skip

TRUE = [
    "n = 404", "n = '404'", "s = 404", "s = '404'", "s = 404.0", "n > 403", "s > 403", "s < '5'", "n >= '403.5'",
    "f = 2.5", "f < 3", "neg < -1499", "neg = -1500", "n != 405", "gone != 1", "not gone = 1", "not gone > 1",
    "yes = true", "yes = 'true'", "word = true", "no = false", "yes != false", "no < true", "yes != 1",
    "n in (1, 404)", "n in ('404')", "s in (404)", "yes in (true)", "n not in (1, 2)", "gone not in (1)",
    "t contains 'Refused'", "n contains 40", "yes contains ru", "t not contains refused", "gone not contains x",
    "t ~ '^Conn.*x_1$'", "n ~ '^4'", "t !~ foo", "gone !~ x",
    "t : 'connection refused'", "t : REFUSED", "t : 'x_1'", "t : ':'", "n : 404", "t : 'refused:'",
    "n", "f", "t", "yes", "not no", "not empty", "not zero", "not gone",
    "level = warning", "level >= warning", "level < error", "level in (warning, error)", "level = 14",
    "nan != 1", "hash = 12e4567", "hash != 12", "huge != 1", "not huge > 1",
    "n = 1 or n = 404", "n = 404 and s = 404 and f", "*",
]  # fmt: skip
FALSE = [
    "n = 405", "n = 'x'", "s = 405", "t = 404", "t > 1", "t < 1", "gone = 1", "gone < 1", "gone = ''", "gone in ('')",
    "yes = 1", "n = true", "zero = false", "no = 0", "t = true", "gone contains x", "t contains refused",
    "t : refuse", "t : 'x_'", "t : 'connection  refused'", "gone : x", "gone ~ '.*'", "empty", "zero", "no", "gone",
    "level > warning", "level = 13", "nan = 1", "nan > 1", "nan < 1", "huge > 1", "n in (yes)", "n and gone", "not *",
]  # fmt: skip


@pytest.mark.parametrize("text", TRUE)
def test_it_holds(text: str):
    """Whatever is asked of numbers, texts, truth values and what is not there."""
    assert predicate(parse_condition(text), dict.get)(ROW) is True


@pytest.mark.parametrize("text", FALSE)
def test_it_does_not_hold(text: str):
    """And so for what is not so."""
    assert predicate(parse_condition(text), dict.get)(ROW) is False


def test_words_are_whole():
    """At both ends, in any case, also beyond ASCII."""
    holds = test_of(Words("m", "time out"))
    assert [holds(text) for text in ("Time Out", "a time out.", "(time out)", "time-out")] == [True] * 3 + [
        False
    ]
    assert [holds(text) for text in ("overtime out", "time outs", "time out_", "time outs, time out")] == [
        False, False, False, True,
    ]  # fmt: skip
    assert test_of(Words("m", "größe"))("Die GRÖSSE, GRÖßE")
    assert not test_of(Words("m", "größe"))("Übergröße")
    assert words_in("Größe x_1=2.5") == ["größe", "x_1", "2", "5"]


def test_a_level_may_be_a_word():
    """In rows of any source."""
    at_least = test_of(Compare("level", ">=", 13))
    assert at_least("WARN")
    assert at_least(13)
    assert not at_least("info")
    assert not at_least("nonsense")
    assert test_of(In("level", (17, 18)))("error")


def test_a_search_is_bounded():
    """Of a longer value the beginning is seen, whatever is found there."""
    holds = test_of(Regex("m", "x$"))
    assert holds("a" * (SEARCHED_CHARS - 1) + "x")
    assert holds("a" * (SEARCHED_CHARS - 1) + "xy")
    assert not holds("a" * SEARCHED_CHARS + "x")
    assert test_of(Contains("m", "x"))("a" * SEARCHED_CHARS + "x")


def test_a_condition_says_what_it_asks_for():
    """The names of all its fields."""
    assert fields_of(parse_condition("a = 1 and (not b or 'x') c in (1)")) == {"a", "b", "message", "c"}
    assert fields_of(Everything()) == frozenset()


def test_rows_may_be_of_any_kind():
    """Getters are made once for a condition."""
    asked: list[str] = []

    def getter_of(name: str):
        asked.append(name)
        return lambda row: getattr(row, name, None)

    holds = compiled(parse_condition("real > 2 or imag or gone"), getter_of)
    assert [holds(row) for row in (3.0, 1.0, 1 + 1j)] == [True, False, True]
    assert asked == ["real", "imag", "gone"]
    assert test_of(Has("x"))("a")
