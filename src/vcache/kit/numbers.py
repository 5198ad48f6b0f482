"""Medians and percentiles of measurements. `statistics` costs 8 ms to import and sorts each time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vcache.errors import UsageError
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Quantiles", "median", "percentile", "percentile_linear", "quantiles"]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """What a report says of a sample: never the mean alone."""

    count: int
    total: float
    p50: float
    p90: float
    p99: float
    maximum: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values in rising order: always one of them.

    Raises:
        UsageError: no values, or a percentage outside 0 to 100.
    """
    _check(ordered, percent)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def percentile_linear(ordered: Sequence[float], percent: float) -> float:
    """The percentile of values in rising order, interpolated between ranks.

    Hyndman & Fan's type 7 (1996), as NumPy's default: the right one for small samples.

    Raises:
        UsageError: no values, or a percentage outside 0 to 100.
    """
    _check(ordered, percent)
    rank = (len(ordered) - 1) * percent / 100
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the middle two.

    Raises:
        UsageError: no values.
    """
    return percentile_linear(sorted(values), 50)


def quantiles(values: Iterable[float]) -> Quantiles:
    """The nearest-rank quantiles of values in any order.

    Raises:
        UsageError: no values.
    """
    ordered = sorted(values)
    return Quantiles(
        count=len(ordered),
        total=math.fsum(ordered),
        p50=percentile(ordered, 50),
        p90=percentile(ordered, 90),
        p99=percentile(ordered, 99),
        maximum=ordered[-1],
    )


def _check(ordered: Sequence[float], percent: float) -> None:
    if not ordered:
        raise UsageError("a percentile of no values: measure at least one")
    if not 0 <= percent <= 100:
        raise UsageError(f"percentile {percent!r} is outside 0 to 100")
