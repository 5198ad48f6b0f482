"""Regular expressions that are taken, and those that could run for ever."""

from __future__ import annotations

import pytest

from vcache.query.patterns import MOST_PATTERN_CHARS, regex_fault

ENDLESS = [
    r"(a+)+b", r"(a*)*b", r"(.|.)*b", r"(a|aa)*b", r"(\w+\s?)*$", r"(a?b?)*c", r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(.*)*x", r"(x+x+)+y", r"(?:a|b|ab)*c", r"(\d+|\w+)*;", r"(a{1,50})+b", r"(?=(a+)+b)", r"(\s*\w*\s*)*x",
    r"((a|b)*c?)*d", r"(?:a.|.b)*c", r"(a*?)*?b", r"(a+){10}b", r"(?i:(ab|AB)*)c", r"(a)(\1+)+b", r"(é+)+x",
    ".*" * 5 + "x", ".*a.*b.*c.*d.*e", r"\w+\w+\w+\w+\w+;", r"(?>(a+)+b)",
]  # fmt: skip
FINE = [
    "", "x", r"a+b+", r".*foo.*bar", r"(foo \d+)*", r"(\w+\s)*x", r"(bar|baz)*", r"\d{1,3}(\.\d{1,3}){3}",
    r"([0-9a-f]{2}:){5}[0-9a-f]{2}", r"([0-9a-f]{8}-)+", r"(?>a+)+b", r"(a++)+b", r'"(?:[^"\\]|\\.)*"',
    r"^\s*(#.*)?$", r"(a|b|c)+d", r"(?:/[\w.-]+)+", r"(\[\w+\])*", r"error|warning|fatal", r"(?:[a-z]+,)*[a-z]+",
    r"([0-9a-f]{32})+x", r"(?:(?:a|b)c)*", r"(?:timeout|timed out|refused)+", r"\bfoo\b", r"(a)\1", r"x{1000}",
    r"(?:ab){0,30}", r"(?:é|ü)+x", r"(?:[^\s]+\s)+", r"(a)?(?(1)b|c)", r"(?!)",
    r'^(\S+) (\S+) (\S+) \[([^\]]+)\] "(\S+) (\S+) (\S+)" (\d+) (\d+) "([^"]*)" "([^"]*)"$',
    "(?:" + "|".join(f"w{number}" for number in range(100)) + ")+",
]  # fmt: skip


@pytest.mark.parametrize("pattern", ENDLESS)
def test_what_could_run_for_ever_is_refused(pattern: str):
    """On a line that somebody else wrote."""
    fault = regex_fault(pattern)
    assert fault is not None
    assert "could run for ever" in fault.reason


@pytest.mark.parametrize("pattern", FINE, ids=lambda text: text[:30])
def test_what_people_search_for_is_taken(pattern: str):
    """Also repeats within repeats where what separates them is clear."""
    assert regex_fault(pattern) is None


@pytest.mark.parametrize("pattern", [
    "((((a{7}){7}){7}){7})*", "(" * 499 + ")" * 499, "(?:" + "|".join("abcdefgh"[: n % 8 + 1] + str(n) for n in range(120)) + ")*x",
    "x" * (MOST_PATTERN_CHARS + 1), "(?:a*b)" * 70, "[a-", "(?P<x>", "x{2,1}", "\\",
], ids=lambda text: text[:20])  # fmt: skip
def test_what_is_too_much_or_nothing_is_refused(pattern: str):
    """With what is wrong; and soon."""
    fault = regex_fault(pattern)
    assert fault is not None
    assert fault.reason.startswith(("a regular expression of more", "a regular expression too", "no regular"))
