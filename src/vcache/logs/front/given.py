"""What a program gives as fields, as a record has them. Nothing that it gives raises: a program does not fail for
what it logs.

It must not know where it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from vcache.logs.record import flat

if TYPE_CHECKING:
    from vcache.query.syntax import Value

__all__ = ["given", "text_of"]

_FLAT: Final = frozenset((str, bool, float))  # an int may have more than 64 bits, and None is no field


def given(fields: Mapping[str, Any]) -> tuple[Mapping[str, Value], bool]:
    """The fields, and whether some were left out."""
    kinds = {value.__class__ for value in fields.values()}
    if kinds <= _FLAT and len(fields) <= 64:
        return fields, False
    try:
        return flat({name: _plain(value) for name, value in fields.items()})
    except Exception as odd:  # somebody's __str__, or a list that holds itself
        own, is_cut = flat({name: _shown(value) for name, value in fields.items()})
        return {**own, "vcache.odd": text_of(odd, repr)}, is_cut


def text_of(value: object, shown: Callable[[object], str] = str) -> str:
    """The text that shows something."""
    try:
        return shown(value)
    except Exception:  # as above
        return f"<{type(value).__name__} that cannot be shown>"


def _plain(value: object) -> object:
    """A path, a number of another kind, a text of a subclass: as it is shown."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is float or kind is bool:
        return value
    return value if isinstance(value, (Mapping, list, tuple, set, frozenset)) else str(value)


def _shown(value: object) -> object:
    kind = type(value)
    return value if value is None or kind is str or kind is float or kind is bool else text_of(value, repr)
