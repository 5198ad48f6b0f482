"""Whether a value can be handed to several callers as it is.

It must not know formats. The answer is for exact types only and errs on the side of "no":
the caller then rebuilds the value from its bytes, which is slower and always right.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import Final

__all__ = ["is_immutable"]

_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, range})
# By name, so that asking imports nothing.
_NAMED_ATOMS: Final = {
    "date": "datetime", "datetime": "datetime", "time": "datetime", "timedelta": "datetime", "timezone": "datetime",
    "Decimal": "decimal", "Fraction": "fractions", "UUID": "uuid", "ZoneInfo": "zoneinfo",
    "PurePosixPath": "pathlib", "PureWindowsPath": "pathlib", "PosixPath": "pathlib", "WindowsPath": "pathlib",
}  # fmt: skip
# Beyond these the question costs more than what the answer saves.
_MAX_DEPTH: Final = 6
_MAX_ITEMS: Final = 4096


def is_immutable(value: object) -> bool:
    """Whether nothing that a caller does to this value can be seen by another one.

    True for numbers, text, bytes, dates, paths, enums, UUIDs, and for tuples, named tuples,
    frozen sets and frozen dataclasses of such. False for what is larger or deeper than is
    worth a look.
    """
    return type(value) in _ATOMS or _is_immutable(value, _MAX_DEPTH)


def _is_immutable(value: object, depth: int) -> bool:
    cls = type(value)
    if cls is tuple or cls is frozenset:
        return _are_immutable(value, depth)  # type: ignore[arg-type]
    if cls in _ATOMS or issubclass(cls, Enum) or _is_named_atom(cls):
        return True
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return not getattr(value, "__dict__", None) and _are_immutable(tuple(value), depth)  # type: ignore[arg-type]
    if _is_frozen_dataclass(cls):
        return _are_immutable(_contents(value), depth)
    return False


def _are_immutable(items: tuple[object, ...] | frozenset[object], depth: int) -> bool:
    if len(items) > _MAX_ITEMS:
        return False
    if _ATOMS.issuperset(map(type, items)):
        return True
    return depth > 0 and all(_is_immutable(item, depth - 1) for item in items)


def _is_named_atom(cls: type) -> bool:
    module = _NAMED_ATOMS.get(cls.__qualname__)
    return module is not None and getattr(sys.modules.get(module), cls.__qualname__, None) is cls


def _is_frozen_dataclass(cls: type) -> bool:
    # A class that inherits from one without being one may have mutable state of its own.
    parameters = vars(cls).get("__dataclass_params__")
    return parameters is not None and parameters.frozen


def _contents(value: object) -> tuple[object, ...]:
    """All that an instance holds: its declared fields, and what else was set on it."""
    declared = {name: getattr(value, name, None) for name in type(value).__dataclass_fields__}  # type: ignore[attr-defined]
    return tuple({**declared, **getattr(value, "__dict__", {})}.values())
