"""What a class of the user's consists of, as parts to be encoded one by one.

Leaves out what Python or a class factory derived from the rest: generated methods, caches,
the places where things were written.
"""

from __future__ import annotations

import sys
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from vcache.fingerprint.data import is_frozen, wrapped_by

__all__ = ["class_parts", "is_fixed"]

_DERIVED: Final = frozenset(
    "__module__ __doc__ __dict__ __weakref__ __qualname__ __firstlineno__ __static_attributes__ __annotations__ "
    "__annotate__ __annotate_func__ __annotations_cache__ __abstractmethods__ _abc_impl __dataclass_fields__ "
    "__dataclass_params__ __parameters__ __orig_bases__ __classdictcell__".split()
)
_ENUM: Final = frozenset(
    "_generate_next_value_ _member_names_ _member_map_ _value2member_map_ _hashable_values_ _unhashable_values_ "
    "_unhashable_values_map_ _new_member_ _use_args_ _member_type_ _value_repr_ _boundary_ _flag_mask_ "
    "_singles_mask_ _all_bits_ _inverted_ __new__".split()
)


def class_parts(cls: type) -> dict[str, object]:
    """Everything written in a class's body that decides what it does: methods, values, fields, members."""
    own = vars(cls)
    members = own.get("_member_map_")
    hidden = _DERIVED | (_ENUM | set(members) if isinstance(members, dict) else set())
    parts: dict[str, object] = {
        name: value
        for name, value in list(own.items())
        if name not in hidden
        and not isinstance(value, GetSetDescriptorType | MemberDescriptorType)
        and not _is_generated(value)
    }
    if isinstance(members, dict):
        parts["members"] = [(name, each._value_) for name, each in members.items()]
    if "__dataclass_fields__" in own:
        parts["dataclass"] = (repr(own.get("__dataclass_params__")), _fields(own["__dataclass_fields__"]))
    parts["annotations"] = [
        (name, _annotation(value)) for name, value in own.get("__annotations__", {}).items()
    ]
    return parts


def is_fixed(parts: dict[str, object]) -> bool:
    """Can the parts of a class only change by being bound anew?"""
    return all(
        is_frozen(value) for name, value in parts.items() if not name.isidentifier() or name not in _LISTED
    )


_LISTED: Final = frozenset({"members", "dataclass", "annotations"})


def _is_generated(value: object) -> bool:
    """A method that a class factory compiled from text, or took from the library."""
    inner = value
    while isinstance(inner, FunctionType) and wrapped_by(inner) is not None:
        inner = wrapped_by(inner)
    return isinstance(inner, FunctionType) and inner.__code__.co_filename.startswith("<string>")


def _fields(fields: dict[str, Any]) -> list[tuple[object, ...]]:
    import dataclasses  # loaded by who made the class

    def given(value: object) -> object:
        return None if value is dataclasses.MISSING else (value,)

    return [
        (f.name, _annotation(f.type), given(f.default), given(f.default_factory), f.init, f.repr, f.hash, f.compare,
         bool(f.kw_only is True), str(f._field_type))
        for f in fields.values()
    ]  # fmt: skip


def _annotation(value: object) -> object:
    """A class as it is, everything else by its text, unless that shows where it lies in memory."""
    if isinstance(value, type | str):
        return value
    module = type(value).__module__
    return (
        repr(value) if module in ("typing", "types", "builtins") or module not in sys.modules else type(value)
    )
