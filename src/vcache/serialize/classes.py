"""Values of the user's own classes: dataclasses, enums and named tuples, by name and fields.

It must not know documents, nor run code of a class it rebuilds. What an attacker who can write
to a cache could reach through this module decides its rules:

- A class is looked up among the modules that are already imported. Importing a module runs
  it, and a blob that names `setup` or a script without a main guard would run that, with
  nothing but the user's own path to choose from. So imports happen only where the caller says
  that the bytes are this user's own (`allow_imports`).
- A name is looked up in the `__dict__` of modules and classes: no `__getattr__`, no
  descriptor runs. What is found must be a class of the kind that was written, with the
  fields that were written; another version of the class is a DecodeError, hence a miss.
- No constructor, `__init__`, `__post_init__` or `__setattr__` runs. A dataclass is rebuilt from
  all its fields and what else its instance held, so that there is nothing left for them to do.
  Enum members come by name; flags by value, through their class, as combinations have no name.
"""

from __future__ import annotations

import sys
from enum import Enum, Flag
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Final, Protocol

from vcache.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["Plan", "class_named", "plan_described", "plan_of", "reference_to"]

_EXTRA_IGNORED: Final = "__orig_class__"  # what Generic[...] leaves behind on an instance


class Plan(Protocol):
    """How instances of one class are taken apart and put together."""

    @property
    def description(self) -> bytes:
        """Kind, reference and field names: what another process checks its class against."""

    def parts(self, value: object) -> list[object]:
        """What an instance consists of."""

    def build(self, parts: list[object], _: object, /) -> object:
        """The instance that consisted of these parts."""


class _EnumPlan:
    """A member, by its name."""

    def __init__(self, cls: type[Enum], reference: str) -> None:
        self._cls = cls
        self.description = _describe("enum", reference, ())

    def parts(self, value: object) -> list[object]:
        assert isinstance(value, Enum)
        return [value.name]

    def build(self, parts: list[object], _: object, /) -> object:
        (name,) = parts
        try:
            return self._cls.__members__[str(name)]
        except KeyError:
            raise DecodeError(f"{self._cls.__qualname__} has no member {name!r}") from None


class _FlagPlan:
    """A combination of flags, by its value."""

    def __init__(self, cls: type[Flag], reference: str) -> None:
        self._cls = cls
        self.description = _describe("flag", reference, ())

    def parts(self, value: object) -> list[object]:
        assert isinstance(value, Flag)
        return [value.value]

    def build(self, parts: list[object], _: object, /) -> object:
        (value,) = parts
        if type(value) is not int:
            raise DecodeError(f"{self._cls.__qualname__} has no value {value!r:.80}")
        return self._cls(value)


class _NamedTuplePlan:
    """A named tuple, by its items."""

    def __init__(self, cls: type[tuple[object, ...]], reference: str) -> None:
        self._cls = cls
        self._names: tuple[str, ...] = cls._fields  # type: ignore[attr-defined]
        self.description = _describe("namedtuple", reference, self._names)

    def parts(self, value: object) -> list[object]:
        assert isinstance(value, tuple)
        if getattr(value, "__dict__", None):
            raise EncodeError(f"a {self._cls.__qualname__} with attributes beside its items cannot be stored")
        return list(value)

    def build(self, parts: list[object], _: object, /) -> object:
        if len(parts) != len(self._names):
            raise DecodeError(f"{len(parts)} items for the {len(self._names)} of {self._cls.__qualname__}")
        return tuple.__new__(self._cls, parts)


class _DataclassPlan:
    """A dataclass instance, by its fields and, if there are any, its further attributes."""

    def __init__(self, cls: type, reference: str) -> None:
        try:
            object.__new__(cls)
        except TypeError:
            raise EncodeError(
                f"a {cls.__qualname__} cannot be stored: it is a dataclass and a built-in type (or abstract) at once"
            ) from None
        self._cls = cls
        from dataclasses import fields  # loaded by who made the class

        self._names = tuple(field.name for field in fields(cls))
        if hidden := _slots_of(cls).difference(self._names):
            raise EncodeError(
                f"a {cls.__qualname__} cannot be stored: its slots {', '.join(sorted(hidden))} are no fields"
            )
        self._slots = tuple(name for name in self._names if name in _slots_of(cls))
        self._plain = tuple(name for name in self._names if name not in self._slots)
        self._has_dict = cls.__dictoffset__ != 0
        self.description = _describe("dataclass", reference, self._names)

    def parts(self, value: object) -> list[object]:
        attributes: dict[str, object] = vars(value) if self._has_dict else {}
        if tuple(attributes) == self._names:
            return list(attributes.values())  # set in order and nothing else: nearly always
        try:
            if not self._slots:
                found = [attributes[name] for name in self._names]
            else:
                found = [getattr(value, n) if n in self._slots else attributes[n] for n in self._names]
        except (AttributeError, KeyError) as error:
            name = error.name if isinstance(error, AttributeError) else error.args[0]
            raise EncodeError(
                f"a {self._cls.__qualname__} without a value in its field {name!r} cannot be stored"
            ) from None
        if len(attributes) != len(self._plain):
            extra = {n: v for n, v in attributes.items() if n not in self._plain and n != _EXTRA_IGNORED}
            if extra:
                found.append(extra)
        return found

    def build(self, parts: list[object], _: object, /) -> object:
        instance: object = object.__new__(self._cls)
        extra = parts.pop() if len(parts) == len(self._names) + 1 else None
        if len(parts) != len(self._names):
            raise DecodeError(
                f"{len(parts)} values for the {len(self._names)} fields of {self._cls.__qualname__}"
            )
        if not self._slots:
            instance.__dict__.update(zip(self._names, parts))  # noqa: B905  # compared just above
        else:
            for name, part in zip(self._names, parts, strict=True):
                if name in self._slots:
                    object.__setattr__(instance, name, part)
                else:
                    vars(instance)[name] = part
        if extra is not None:
            self._add(instance, extra)
        return instance

    def _add(self, instance: object, extra: object) -> None:
        """Give an instance the attributes that are no fields."""
        if (
            not isinstance(extra, dict)
            or not self._has_dict
            or any(type(name) is not str or name in self._names for name in extra)
        ):
            raise DecodeError(f"attributes that a {self._cls.__qualname__} cannot have")
        vars(instance).update(extra)


def _slots_of(cls: type) -> set[str]:
    """The names that an instance keeps outside its `__dict__`."""
    found = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
    return {name for name, value in found.items() if isinstance(value, MemberDescriptorType)}


_KINDS: Final[dict[str, Callable[..., Plan]]] = {
    "enum": _EnumPlan,
    "flag": _FlagPlan,
    "namedtuple": _NamedTuplePlan,
    "dataclass": _DataclassPlan,
}
# Making a plan costs some 10 us. Only classes at the top level of a module come here, so that
# those made on the fly can go.
_plans: dict[type, Plan] = {}


def plan_of(cls: type) -> Plan | None:
    """The plan of a class, or None for a class of no known kind.

    Raises:
        EncodeError: the class is of a known kind but could not be found again by its name.
    """
    known = _plans.get(cls)
    if known is not None:
        return known
    kind = _kind_of(cls)
    if kind is None:
        return None
    plan = _KINDS[kind](cls, reference_to(cls))
    _plans[cls] = plan
    return plan


def plan_described(description: bytes, *, allow_imports: bool) -> Plan:
    """The plan of the class that a description names.

    Raises:
        DecodeError: there is no such class here, or it is not as described.
    """
    kind, _, rest = description.decode("utf-8", "surrogatepass").partition("\0")
    reference = rest.partition("\0")[0]
    cls = class_named(reference, allow_imports=allow_imports)
    if kind not in _KINDS or _kind_of(cls) != kind:
        raise DecodeError(f"{reference} is not of the kind that was stored ({kind:.20})")
    plan = plan_of(cls)
    if plan is None or plan.description != description:
        raise DecodeError(f"{reference} has other fields than what was stored")
    return plan


def _kind_of(cls: type) -> str | None:
    if issubclass(cls, Enum):
        return "flag" if issubclass(cls, Flag) else "enum"
    if issubclass(cls, tuple):
        return "namedtuple" if isinstance(getattr(cls, "_fields", None), tuple) else None
    return "dataclass" if hasattr(cls, "__dataclass_fields__") else None


def _describe(kind: str, reference: str, names: tuple[str, ...]) -> bytes:
    return "\0".join((kind, reference, *names)).encode("utf-8", "surrogatepass")


def reference_to(cls: type) -> str:
    """The `module:qualified.name` under which a class can be found again.

    Raises:
        EncodeError: it cannot: it is local to a function, or hidden by another of its name.
    """
    reference = f"{cls.__module__}:{cls.__qualname__}"
    try:
        found: type | None = class_named(reference, allow_imports=False)
    except DecodeError:
        found = None
    if found is not cls:
        raise EncodeError(
            f"a {cls.__qualname__} cannot be stored: its class is not found under {reference}; "
            "define it at the top level of a module"
        )
    return reference


def class_named(reference: str, *, allow_imports: bool) -> type:
    """The class under a `module:qualified.name`.

    Raises:
        DecodeError: there is none, or its module is not imported and may not be.
    """
    module_name, _, path = reference.partition(":")
    module = sys.modules.get(module_name)
    if module is None and allow_imports:
        module = _imported(module_name)
    if module is None:
        raise DecodeError(f"the class {reference} is in a module that is not imported here")
    found: object = module
    for name in path.split("."):
        found = vars(found).get(name) if isinstance(found, type) or found is module else None
    if not isinstance(found, type):
        raise DecodeError(f"there is no class {reference} here")
    return found


def _imported(name: str) -> ModuleType:
    from importlib import import_module  # reached only by values of modules nobody imported yet

    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # foreign code: whatever it does, the value is a miss
        raise DecodeError(
            f"the module {name:.200} of a stored class cannot be imported: {error!r}"
        ) from error
