"""The columns of a block by the names of the query language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vcache.logs.fields import marks_text
from vcache.logs.segment.reading import OpenBlock
from vcache.logs.segment.values import Coded, Constant, Mixed, Numbers, Values
from vcache.query.shapes import shape

__all__ = ["CORE", "column_of"]

CORE: Final = {
    "@time": "@time", "@seen": "@seen", "@repeats": "@repeats", "level": "@level", "source": "@source",
    "message": "@message",
}  # fmt: skip


def column_of(block: OpenBlock, name: str) -> Values:
    """The values of all rows of a block.

    Raises:
        DecodeError: they are damaged.
    """
    core = CORE.get(name)
    if core is not None:
        return block.core(core)
    made = _MADE.get(name)
    return block.field(name) if made is None else made(block)


def _ids(block: OpenBlock) -> Values:
    import numpy as np

    return Mixed(block.ids(np.arange(block.about.rows)))


def _marks(block: OpenBlock) -> Values:
    if not block.about.marks:
        return Constant("")
    marks = block.core("@marks")
    assert isinstance(marks, Numbers)
    numbers, values = marks.groups()
    return Coded(numbers, [marks_text(int(str(value))) for value in values])


def _templates(block: OpenBlock) -> Values:
    import numpy as np

    messages = block.core("@message").take(np.arange(block.about.rows))
    return Mixed([shape(str(message)) for message in messages])


_MADE: Final[dict[str, Callable[[OpenBlock], Values]]] = {
    "@id": _ids, "@marks": _marks, "@template": _templates,
}  # fmt: skip
