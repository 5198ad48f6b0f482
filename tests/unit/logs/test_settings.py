"""Rules of retention as people write them."""

from __future__ import annotations

import pytest

from vcache.config import load
from vcache.errors import ConfigError, UsageError
from vcache.logs.retention import Rule
from vcache.logs.settings import rule_of, rules_of


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("gcc=30d", Rule("gcc", max_age_s=30 * 86_400)),
        ("gcc = 2GB", Rule("gcc", max_bytes=2_000_000_000)),
        ("gcc=512MiB", Rule("gcc", max_bytes=512 << 20)),
        ("gcc=1000000", Rule("gcc", max_records=1_000_000)),
        ("nginx*=1000, 7d 2kB", Rule("nginx*", max_bytes=2_000, max_records=1_000, max_age_s=7 * 86_400)),
        ("a=b=0", Rule("a=b", max_records=0)),
    ],
)
def test_a_rule_is_a_pattern_and_bounds(text: str, rule: Rule) -> None:
    """Ages, sizes and numbers are told apart by their units."""
    assert rule_of(text) == rule


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("gcc", "SOURCE=BOUNDS"),
        ("=30d", "SOURCE=BOUNDS"),
        ("gcc=", "'gcc' has no bounds"),
        ("gcc=soon", "no bound: 'soon'"),
        ("gcc=-1d", "no bound: '-1d'"),
        ("gcc=1d,2d", "two bounds of a kind"),
    ],
)
def test_what_is_no_rule_says_why(text: str, hint: str) -> None:
    """With the rule, the word, and what to give."""
    with pytest.raises(UsageError, match=hint):
        rule_of(text)


def test_a_table_keeps_its_order() -> None:
    """The first pattern that fits counts."""
    rules = rules_of({"gcc": "1d", "*": "2d"}, max_bytes=5)
    assert (rules.of("gcc").max_age_s, rules.of("make").max_age_s, rules.max_bytes) == (86_400, 2 * 86_400, 5)


@pytest.mark.parametrize("text", ["gcc=30d debug-*=1d,100MB", {"gcc": "30d", "debug-*": "1d,100MB"}])
def test_settings_have_them(text: object) -> None:
    """As a table in a file, or as words."""
    keep = load({"logs_keep": text}).logs_keep
    assert keep == {"gcc": "30d", "debug-*": "1d,100MB"}
    assert rules_of(keep).of("debug-x") == Rule("debug-*", max_bytes=100_000_000, max_age_s=86_400)


@pytest.mark.parametrize("text", ["gcc", "=30d", {"gcc": ""}, {"gcc": 5}, 7])
def test_settings_that_are_none_say_so(text: object) -> None:
    """With the key, and what to give."""
    with pytest.raises(ConfigError, match="logs_keep"):
        load({"logs_keep": text})
