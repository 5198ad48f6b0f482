"""Which rows of a block fulfil a condition: a bit for each, column by column, the cheapest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vcache.logs.search.decided import decided
from vcache.logs.search.named import column_of
from vcache.logs.search.texts import text_mask
from vcache.logs.segment.glossary import Glossary
from vcache.logs.segment.reading import OpenBlock
from vcache.logs.segment.values import Coded, Numbers, Texts, Values
from vcache.query.literals import number_of
from vcache.query.rows import Leaf, test_of
from vcache.query.syntax import And, Compare, Contains, Everything, Expression, Not, Or, Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Mask", "count_of", "mask_of", "rows_of"]

Mask = Any
"""An array of truth values, or one that is all rows'."""

_FEW: Final = 16  # below this part of the rows, those that are left are looked at one by one
_COSTS: Final = {
    "@time": 1,
    "level": 1,
    "source": 1,
    "@repeats": 1,
    "@seen": 1,
    "@marks": 1,
    "message": 8,
    "@id": 9,
    "@template": 10,
}
_EXACT: Final = 1 << 53  # whole numbers beyond are not what floats say


def mask_of(expression: Expression, block: OpenBlock) -> Mask:
    """Which rows fulfil it.

    Raises:
        DecodeError: a column that has to be read is damaged.
    """
    known = decided(expression, block)
    if known is not None:
        return known
    match expression:
        case Everything():
            return True
        case Not():
            inner = mask_of(expression.item, block)
            return (not inner) if isinstance(inner, bool) else ~inner
        case And():
            return _both(expression, block)
        case Or():
            return _either(expression, block)
    return _leaf(expression, column_of(block, expression.field))


def rows_of(mask: Mask, n_rows: int) -> NDArray[np.int64]:
    """The rows that a mask has."""
    import numpy as np

    if isinstance(mask, bool):
        return np.arange(n_rows if mask else 0)
    return np.flatnonzero(mask)


def count_of(mask: Mask, n_rows: int) -> int:
    """How many rows a mask has."""
    import numpy as np

    if isinstance(mask, bool):
        return n_rows if mask else 0
    return int(np.count_nonzero(mask))


def _both(expression: And, block: OpenBlock) -> Mask:
    import numpy as np

    found: Mask = True
    for item in sorted(expression.items, key=_cost):
        if not isinstance(found, bool):
            left = int(np.count_nonzero(found))
            if not left:
                return False
            if left * _FEW < block.about.rows and isinstance(item, Leaf):
                found = _of_few(item, block, found)
                continue
        mask = mask_of(item, block)
        if mask is False:
            return False
        if mask is not True:
            found = mask if found is True else found & mask
    return found


def _of_few(leaf: Leaf, block: OpenBlock, found: NDArray[np.bool_]) -> Mask:
    """Of rows that passed so far, those that fulfil a leaf too."""
    import numpy as np

    known = decided(leaf, block)
    if known is not None:
        return found if known else False
    rows = np.flatnonzero(found)
    test = test_of(leaf)
    passed = [test(value) for value in column_of(block, leaf.field).take(rows)]
    found[rows] = passed
    return found


def _either(expression: Or, block: OpenBlock) -> Mask:
    found: Mask = False
    for item in sorted(expression.items, key=_cost):
        mask = mask_of(item, block)
        if mask is True:
            return True
        if mask is not False:
            found = mask if found is False else found | mask
    return found


def _leaf(leaf: Leaf, column: Values) -> Mask:
    if isinstance(leaf, Contains | Words) and isinstance(column, Texts):
        return text_mask(leaf, column)
    if isinstance(leaf, Compare) and isinstance(column, Numbers):
        found = _compared(leaf, column)
        if found is not None:
            return found
    if isinstance(leaf, Compare) and leaf.operator == "=" and isinstance(column, Coded):
        found = _coded(leaf, column)
        if found is not None:
            return found
    return column.mask(test_of(leaf))


def _coded(leaf: Compare, column: Coded) -> Mask | None:
    """Which rows of a dictionary have a text that is nothing but a text; None for what may be of several kinds."""
    import numpy as np

    wanted = leaf.value
    if isinstance(wanted, str) and isinstance(column.values, Glossary) and leaf.field != "level":
        place = column.values.place_of(wanted)  # of texts only: equal is the same
        return False if place is None else np.equal(column.codes, place)
    if not isinstance(wanted, str) or leaf.field == "level" or wanted.lower() in ("true", "false"):
        return None
    if number_of(wanted) is not None:
        return None
    try:
        code = column.values.index(wanted)
    except ValueError:
        return False
    return np.equal(column.codes, code)


def _compared(leaf: Compare, column: Numbers) -> Mask | None:
    """A comparison of numbers with a number, all at once; None where that would not be exact."""
    wanted, values = leaf.value, column.values
    if isinstance(wanted, str | bool) or (abs(wanted) >= _EXACT and isinstance(wanted, float)):
        return None
    if isinstance(wanted, int) and not -(1 << 63) <= wanted < 1 << 63:
        return None
    if (values.dtype.kind == "f") is not isinstance(wanted, float):
        # Of one kind only: NumPy compares a whole number and a float as floats.
        if values.dtype.kind == "f":
            if abs(wanted) >= _EXACT:
                return None
        elif max(-int(values.min()), int(values.max())) >= _EXACT:
            return None
    match leaf.operator:
        case "=":
            found = values == wanted
        case "!=":
            found = values != wanted
        case "<":
            found = values < wanted
        case "<=":
            found = values <= wanted
        case ">":
            found = values > wanted
        case _:
            found = values >= wanted
    if column.present is None:
        return found
    return found | ~column.present if leaf.operator == "!=" else found & column.present


def _cost(expression: Expression) -> int:
    if isinstance(expression, And | Or):
        return sum(map(_cost, expression.items))
    if isinstance(expression, Not):
        return _cost(expression.item)
    if isinstance(expression, Everything):
        return 0
    return _COSTS.get(expression.field, 2) + (
        expression.field == "message" and not isinstance(expression, Contains | Words)
    )
