"""What of the sealed records is to go: rules by source, and a budget for all. Pure: it plans, others act.

The unit is a block's records of one source. What is dropped of a source is always older than all that is
kept of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from vcache.errors import UsageError
from vcache.kit.data import NamedTuple, dataclass

__all__ = ["Holding", "Rule", "Rules", "cutoffs", "drop_before"]

Drop = Callable[[str, int], bool]
"""Whether records of a source, the last of which is of that time, are to go."""
_KEEP_ALL: Final = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is kept of the sources that a pattern fits, of each of them; None for no bound.

    Attributes:
        pattern: of whole names, with `*`, `?` and `[…]`.
        max_bytes: compressed, as they lie on disk.
        max_age_s: by the records' own time.
    """

    pattern: str
    max_bytes: int | None = None
    max_records: int | None = None
    max_age_s: float | None = None

    def __post_init__(self) -> None:
        for name, bound in (("max_bytes", self.max_bytes), ("max_records", self.max_records), ("max_age", self.max_age_s)):  # fmt: skip
            if bound is not None and bound < 0:
                raise UsageError(f"the rule for {self.pattern!r} has {name} {bound}: give 0 or more")


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a store: for each source the first that fits; then a budget for what is left of all.

    Attributes:
        max_bytes, max_age_s: of all sources together.
    """

    rules: Sequence[Rule] = ()
    max_bytes: int | None = None
    max_age_s: float | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether anything may ever go."""
        return bool(self.rules) or self.max_bytes is not None or self.max_age_s is not None

    def of(self, source: str) -> Rule:
        """The rule for a source."""
        for rule in self.rules:
            if fnmatchcase(source, rule.pattern):
                return rule
        return Rule("*")


class Holding(NamedTuple):
    """A block's records of one source.

    Attributes:
        records: of the source.
        size_bytes: the share that they have in the block's bytes.
        last_ns: of the block.
    """

    source: str
    records: int
    size_bytes: int
    last_ns: int


def cutoffs(holdings: Iterable[Holding], rules: Rules, *, now_ns: int) -> dict[str, int]:
    """For each source that something is to be dropped of: all blocks that end before that time go.

    Never more than the rules ask for: a block goes only when those that are younger suffice for its source.
    """
    by_source: dict[str, list[Holding]] = {}
    for holding in holdings:
        by_source.setdefault(holding.source, []).append(holding)
    found: dict[str, int] = {}
    for source, own in by_source.items():
        own.sort(key=lambda holding: -holding.last_ns)
        found[source] = _cutoff(own, rules.of(source), rules.max_age_s, now_ns)
    if rules.max_bytes is not None:
        _keep_budget(by_source, found, rules.max_bytes)
    return {source: cutoff for source, cutoff in found.items() if cutoff > _KEEP_ALL}


def _cutoff(own: Sequence[Holding], rule: Rule, age_s: float | None, now_ns: int) -> int:
    """The time before which a source's blocks go; they are given youngest first."""
    ages_s = [age for age in (rule.max_age_s, age_s) if age is not None]
    cutoff = max(_KEEP_ALL, now_ns - int(min(ages_s) * 1e9)) if ages_s else _KEEP_ALL
    size_bytes = records = 0
    for holding in own:
        size_bytes += holding.size_bytes
        records += holding.records
        is_over = rule.max_bytes is not None and size_bytes > rule.max_bytes
        # Of records so many are asked for: a block that has the last of them stays.
        is_over |= rule.max_records is not None and records - holding.records >= rule.max_records
        if is_over:
            return max(cutoff, holding.last_ns + 1)
    return cutoff


def _keep_budget(by_source: Mapping[str, Sequence[Holding]], found: dict[str, int], max_bytes: int) -> None:
    """Raise cut-offs until what is left of all fits: the oldest go first, whosesoever they are."""
    left = [
        holding for source, own in by_source.items() for holding in own if holding.last_ns >= found[source]
    ]
    left.sort(key=lambda holding: -holding.last_ns)
    size_bytes = 0
    for number, holding in enumerate(left):
        size_bytes += holding.size_bytes
        if size_bytes > max_bytes:
            for gone in left[number:]:
                found[gone.source] = max(found[gone.source], gone.last_ns + 1)
            return


def drop_before(found: Mapping[str, int]) -> Drop:
    """The test of cut-offs by source."""
    return lambda source, last_ns: last_ns < found.get(source, _KEEP_ALL)
