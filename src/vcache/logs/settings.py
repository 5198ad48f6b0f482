"""Rules of retention as people write them: `gcc=30d`, `nginx*=7d,2GB,1000000`. Pure.

It must not know where they are written: a settings file, a command line.
"""

from __future__ import annotations

from collections.abc import Mapping

from vcache.errors import UsageError
from vcache.kit.units import seconds, size_bytes
from vcache.logs.retention import Rule, Rules

__all__ = ["rule_of", "rules_of"]

_FORM = "an age, a size, a number of records, or several of them: 30d, 2GB, 1000000"


def rule_of(text: str) -> Rule:
    """The rule of "PATTERN=BOUNDS".

    Raises:
        UsageError: it is none.
    """
    pattern, equals, bounds = text.rpartition("=")
    if not equals or not pattern.strip():
        raise UsageError(f"no rule of retention: {text!r:.80}; give SOURCE=BOUNDS, such as 'gcc=30d,100MB'")
    return bounded(pattern.strip(), bounds)


def rules_of(
    keep: Mapping[str, str], *, max_bytes: int | None = None, max_age_s: float | None = None
) -> Rules:
    """The rules of a table, from patterns of sources to bounds, in its order; and the budgets of all.

    Raises:
        UsageError: one of them is none.
    """
    rules = [bounded(pattern, bounds) for pattern, bounds in keep.items()]
    return Rules(tuple(rules), max_bytes=max_bytes, max_age_s=max_age_s)


def bounded(pattern: str, bounds: str) -> Rule:
    """The rule of a pattern, and of bounds with commas or spaces between, in any order.

    Raises:
        UsageError: they are none, or one of a kind comes twice.
    """
    found: dict[str, float] = {}
    for word in bounds.replace(",", " ").split():
        kind, bound = _bound(pattern, word)
        if kind in found:
            raise UsageError(f"the rule for {pattern!r} has two bounds of a kind: {bounds!r:.80}")
        found[kind] = bound
    if not found:
        raise UsageError(f"the rule for {pattern!r} has no bounds: give {_FORM}")
    most_bytes, records = found.get("bytes"), found.get("records")
    return Rule(
        pattern,
        max_bytes=None if most_bytes is None else int(most_bytes),
        max_records=None if records is None else int(records),
        max_age_s=found.get("age"),
    )


def _bound(pattern: str, word: str) -> tuple[str, float]:
    if word.isdecimal():
        return "records", int(word)
    try:
        return ("bytes", size_bytes(word)) if word[-1:] in "bB" else ("age", seconds(word))
    except UsageError:
        raise UsageError(f"the rule for {pattern!r}: no bound: {word!r:.40}; give {_FORM}") from None
