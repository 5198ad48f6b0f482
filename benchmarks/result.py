"""What a benchmark found: rows, each a figure of ours beside a peer's, kept as JSON.

It measures nothing and knows no benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from statistics import median

__all__ = ["Compare", "Figure", "Result", "Row", "Spread"]


class Compare(Enum):
    """How ours is set against the peer's: the wording, and which way is better."""

    FASTER = "{} times faster"  # peer / ours of a duration, at least the bound
    MORE = "{} times the operations"  # ours / peer of a rate, at least the bound
    WITHIN = "{} times as long"  # ours / peer of a duration, at most the bound
    SPACE = "{} times the space"  # ours / peer of a size, at most the bound
    STALL = "{} times the stall"  # ours / peer of the longest single call, at most the bound
    PLUS = "+ {}"  # ours - peer, at most the bound
    ALONE = "{}"  # ours, at most the bound

    @property
    def wants_more(self) -> bool:
        """Whether a larger outcome is the better one."""
        return self in (Compare.FASTER, Compare.MORE)

    @property
    def has_unit(self) -> bool:
        """Whether the outcome is of the row's unit, not a ratio."""
        return self in (Compare.PLUS, Compare.ALONE)

    def of(self, ours: float, peer: float) -> float:
        """The outcome of two values."""
        if self is Compare.ALONE:
            return ours
        if self is Compare.PLUS:
            return ours - peer
        return peer / ours if self is Compare.FASTER else ours / peer


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of single calls."""

    p50: float
    p90: float
    p99: float
    most: float
    calls: int

    @classmethod
    def of(cls, calls: Sequence[float]) -> Spread:
        """The percentiles of at least one call (nearest rank)."""
        ordered = sorted(calls)
        p50, p90, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.9, 0.99))
        return cls(p50, p90, p99, ordered[-1], len(ordered))


@dataclass(frozen=True, slots=True)
class Figure:
    """What one side did.

    Attributes:
        name: who.
        rounds: one value per round, such as the mean time of its calls.
        spread: of single calls, where they were timed.
    """

    name: str
    rounds: tuple[float, ...]
    spread: Spread | None = None

    @property
    def value(self) -> float:
        """The median round."""
        return median(self.rounds)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was done, with sizes.
        unit: of the figures: "µs", "ms", "MB", "op/s".
        bound: what the outcome must reach or not exceed; None for information only.
        note: how the comparison is to be read.
    """

    what: str
    compare: Compare
    unit: str
    ours: Figure
    peer: Figure | None = None
    bound: float | None = None
    note: str = ""

    @property
    def outcome(self) -> float:
        """The comparison of the median rounds."""
        return self.compare.of(self.ours.value, 1.0 if self.peer is None else self.peer.value)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest comparison of one round's values."""
        peers = (1.0,) * len(self.ours.rounds) if self.peer is None else self.peer.rounds
        each = [self.compare.of(*pair) for pair in zip(self.ours.rounds, peers, strict=True)]
        return min(each), max(each)

    @property
    def is_met(self) -> bool | None:
        """Whether the bound holds; None without one."""
        if self.bound is None:
            return None
        return self.outcome >= self.bound if self.compare.wants_more else self.outcome <= self.bound


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's run, and where it was made."""

    name: str
    title: str
    rows: tuple[Row, ...]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    date: str
    is_smoke: bool
    seconds: float
    notes: tuple[str, ...] = field(default=())

    def write(self, directory: Path) -> Path:
        """Keep it as `<name>.json`, outcomes spelled out for whoever reads the file alone."""
        data = asdict(self)
        for row, plain in zip(self.rows, data["rows"], strict=True):
            plain["compare"] = row.compare.name
            plain["outcome"], plain["range"], plain["is_met"] = row.outcome, row.range, row.is_met
        path = directory / f"{self.name}.json"
        path.write_text(json.dumps(_rounded(data), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Result:
        """What `write` kept."""
        data = json.loads(path.read_text(encoding="utf-8"))
        data["rows"] = tuple(map(_row, data["rows"]))
        data["notes"] = tuple(data["notes"])
        return cls(**data)


def _row(data: dict[str, object]) -> Row:
    for derived in ("outcome", "range", "is_met"):
        del data[derived]
    compare = Compare[str(data.pop("compare"))]
    ours, peer = _figure(data.pop("ours")), _figure(data.pop("peer"))
    assert ours is not None
    return Row(compare=compare, ours=ours, peer=peer, **data)  # type: ignore[arg-type]  # as written


def _figure(data: object) -> Figure | None:
    if not isinstance(data, dict):
        return None
    spread = data["spread"]
    return Figure(data["name"], tuple(data["rounds"]), None if spread is None else Spread(**spread))


def _rounded(value: object) -> object:
    """Floats to five significant digits: more would be noise, and noise makes diffs."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
