"""What columns that every record has must be, whoever wrote them: a segment may come from another machine.

Checks of bytes say that they are as they were written, not that a writer of ours wrote them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError
from vcache.logs.segment.glossary import Glossary
from vcache.logs.segment.values import Coded, Constant, Numbers, Texts, Values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["check_within", "checked_core", "numbers_of"]

_BOUNDS: Final = {
    "@seq": (0, 1 << 32), "@level": (0, 256), "@marks": (0, 1 << 63),
    "@repeats": (-(1 << 63), 1 << 63), "@seen": (-(1 << 63), 1 << 63), "@time": (-(1 << 63), 1 << 63),
}  # fmt: skip
_TEXTS: Final = ("@message", "@source")


def checked_core(name: str, values: Values, n_runs: int) -> Values:
    """The column, which has what a record of that place must have.

    Raises:
        DecodeError: it has not.
    """
    if name in _TEXTS:
        if not _is_text(values):
            raise DecodeError(f"column {name} has something that is no text")
        return values
    check_within(numbers_of(values), *((0, n_runs) if name == "@stream" else _BOUNDS[name]))
    return values


def numbers_of(values: Values) -> NDArray[np.int64]:
    """The whole numbers of all rows.

    Raises:
        DecodeError: they are something else, or not there.
    """
    if isinstance(values, Numbers) and values.present is None and values.values.dtype.kind == "i":
        return values.values  # type: ignore[return-value]
    raise DecodeError("a column of something else than whole numbers")


def check_within(numbers: NDArray[np.int64], low: int, end: int) -> None:
    """One or more numbers, each from `low` on and less than `end`.

    Raises:
        DecodeError: one is not.
    """
    if low == -(1 << 63) and end == 1 << 63:
        return
    if not low <= int(numbers.min()) <= int(numbers.max()) < end:
        raise DecodeError(f"a number that is not from {low} to {end - 1}")


def _is_text(values: Values) -> bool:
    if isinstance(values, Texts):
        return values.present is None
    if isinstance(values, Coded) and isinstance(values.values, Glossary):
        return int(values.codes.max()) < values.values.n_texts
    if isinstance(values, Coded):
        return all(type(value) is str for value in values.values)
    return isinstance(values, Constant) and type(values.value) is str
