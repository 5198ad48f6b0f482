"""What of the sealed records is to go: rules by source, and a budget for all. Pure: it plans, others act.

The unit of a plan is a block's records of one source, a *holding*. Of a source nothing goes that is younger than
what stays, but for what lies in the same block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from vcache.errors import UsageError
from vcache.kit.data import NamedTuple, dataclass

__all__ = ["Cut", "Holding", "Rule", "Rules", "plan"]

_KEEP_ALL: Final = -(1 << 63)
_SLACK_PART: Final = 8
_MOST_SLACK_NS: Final = 86_400 * 10**9


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
    size_bytes: float
    last_ns: int


class Cut(NamedTuple):
    """What stays of a holding.

    Attributes:
        records: so many, the youngest.
        before_ns: of them, those of that time and later.
        slack_ns: so much older they may be where they are few.
    """

    records: int
    before_ns: int = _KEEP_ALL
    slack_ns: int = 0


def plan(holdings: Iterable[Holding], rules: Rules, *, now_ns: int) -> list[Cut]:
    """What stays of each holding. Never less than the rules ask for."""
    held = list(holdings)
    by_source: dict[str, list[int]] = {}
    for number in sorted(range(len(held)), key=lambda number: -held[number].last_ns):
        by_source.setdefault(held[number].source, []).append(number)
    cuts = [Cut(0)] * len(held)
    for source, numbers in by_source.items():
        rule = rules.of(source)
        before_ns, slack_ns = _oldest(rule, rules, now_ns)
        room = _Room(rule.max_bytes, rule.max_records)
        for number in numbers:
            is_old = held[number].last_ns < before_ns
            cuts[number] = Cut(0 if is_old else room.taken(held[number]), before_ns, slack_ns)
    if rules.max_bytes is not None:
        _keep_budget(held, cuts, rules.max_bytes)
    return cuts


def _oldest(rule: Rule, rules: Rules, now_ns: int) -> tuple[int, int]:
    """The time before which records of a source go, and by how much they may be late."""
    ages_s = [age for age in (rule.max_age_s, rules.max_age_s) if age is not None]
    if not ages_s:
        return _KEEP_ALL, 0
    age_ns = int(min(ages_s) * 1e9)
    return max(_KEEP_ALL, now_ns - age_ns), min(_MOST_SLACK_NS, age_ns // _SLACK_PART)


class _Room:
    """What bounds leave for the next holding, the youngest first."""

    def __init__(self, max_bytes: int | None, max_records: int | None = None) -> None:
        self._bytes: float | None = max_bytes
        self._records = max_records

    def taken(self, holding: Holding) -> int:
        """How many records of it fit. Behind one that does not fit as a whole, nothing does."""
        records = holding.records
        if self._bytes is not None:
            if holding.size_bytes > self._bytes:
                records = int(records * self._bytes / holding.size_bytes)
                self._bytes = 0
            else:
                self._bytes -= holding.size_bytes
        if self._records is not None:
            records = min(records, self._records)
            self._records -= records
        if records < holding.records:
            self._bytes = self._records = 0
        return records


def _keep_budget(held: Sequence[Holding], cuts: list[Cut], max_bytes: int) -> None:
    """Lower what stays until it fits: the oldest go first, whosesoever they are."""
    room = _Room(max_bytes)
    for number in sorted(range(len(held)), key=lambda number: -held[number].last_ns):
        cut, holding = cuts[number], held[number]
        if cut.records:
            size_bytes = holding.size_bytes * cut.records / holding.records
            left = holding._replace(records=cut.records, size_bytes=size_bytes)
            cuts[number] = cut._replace(records=room.taken(left))
