"""Which messages come together: shapes that are said in the same runs, jobs or nodes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final

from vcache.kit.data import NamedTuple
from vcache.query.syntax import Aggregate, Call, Expression, Group, Has, Query, Value

__all__ = ["MOST_SHAPES", "Together", "question", "together"]

MOST_SHAPES: Final = 500
"""So many shapes are compared, those that were said in the most places: their pairs are 125,000."""


class Together(NamedTuple):
    """Two shapes that are said in the same places.

    Attributes:
        both: in how many places.
        share: of the places in which one of them is said (Jaccard, 1901): 1 when neither comes alone.
    """

    one: str
    other: str
    both: int
    share: float


def question(where: Expression, within: str) -> Query:
    """The query whose answer is what `together` takes.

    Args:
        within: the field whose value is the place, such as "run".
    """
    from vcache.query.syntax import And

    by = (Group("@template", 0, "template"), Group(within, 0, within))
    return Query(And((where, Has(within))), (Aggregate((Call("count", "", 0.0, "count"),), by),))


def together(rows: Iterable[Sequence[Value]], *, least: int = 2) -> list[Together]:
    """Pairs of shapes, those that come together most surely first.

    Args:
        rows: (shape, place, …).
        least: in so many places both have to be said: what happened once says nothing.
    """
    places: defaultdict[str, set[Value]] = defaultdict(set)
    for template, place, *_ in rows:
        places[str(template or "")].add(place)
    often = sorted(
        (each for each in places.items() if len(each[1]) >= least), key=lambda each: (-len(each[1]), each[0])
    )
    found = []
    for (one, of_one), (other, of_other) in combinations(often[:MOST_SHAPES], 2):
        both = len(of_one & of_other)
        if both >= least:
            found.append(Together(one, other, both, both / len(of_one | of_other)))
    found.sort(key=lambda pair: (-pair.share, -pair.both, pair.one, pair.other))
    return found
