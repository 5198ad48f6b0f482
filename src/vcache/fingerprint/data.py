"""Canonical bytes of the values that code reaches: globals, closure cells, defaults, class attributes.

Unlike an argument, such a value may be anything. Functions and classes in it count by name and
are handed back to be followed; objects of the user's classes count by their state; what has no
fingerprint counts by its class and is handed back to be listed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    EllipsisType,
    FunctionType,
    MethodType,
    ModuleType,
    NoneType,
    NotImplementedType,
)
from typing import Any, Final

from vcache.fingerprint.normal import normal_form
from vcache.fingerprint.origin import Origin, Project, is_users, origin
from vcache.fingerprint.terms import Unfit, class_name, frame, join, module_name, state
from vcache.fingerprint.values import TABLE, Encoder, Walk, pairs

__all__ = ["Reached", "function_name", "is_frozen", "namespace_file", "origin_of_class", "wrapped_by"]

_ATOMS: Final = frozenset(
    (
        *(NoneType, bool, int, float, complex, str, bytes, range, EllipsisType, NotImplementedType),
        *(CodeType, FunctionType, BuiltinFunctionType, ModuleType, type),
    )
)
_FROZEN_MODULES: Final = frozenset(
    {"datetime", "decimal", "fractions", "uuid", "re", "zoneinfo", "ipaddress", "typing"}
)
# Some five frames a level: half of CPython's usual limit is left to the caller.
_DEPTH_MAX: Final = 100
# A graph full of cycles has exponentially many ways through it.
_RETURNS_MAX: Final = 10_000
_WRAPPERS: Final = (FunctionType, type, MethodType, functools.partial)


class _Entangled(Exception):
    """A value too deep, or with too many cycles, to be encoded."""


class Reached(Walk):
    """The encoding of one reached value, and what it led to.

    Attributes:
        found: functions, classes, modules to be followed.
        problems: classes of objects without a fingerprint, as `module:qualname`.
        project: what is known to be the user's own.
    """

    __slots__ = ("_lowest", "_memory", "_returns", "_roots", "found", "problems", "project")

    def __init__(self, roots: tuple[str, ...], project: Project) -> None:
        super().__init__(_TABLE)
        self.found: list[object] = []
        self.problems: set[str] = set()
        self._roots = roots
        # What was encoded before, kept alive for its id; only what no cycle led out of.
        self._memory: dict[int, tuple[object, bytes]] = {}
        self._lowest = _DEPTH_MAX
        self._returns = 0
        self.project = project

    def describe(self, value: object) -> bytes:
        """The canonical bytes of a whole value; there are some for every value."""
        before = len(self.found)
        try:
            return self.encode(value)
        except (_Entangled, RecursionError):
            # By its class alone, and nothing of what was found on the way: that depends on the way.
            del self.found[before:]
            self.open.clear()
            self.found.append(type(value))
            self.problems.add(class_name(type(value)))
            return join(b"?", [frame(b"C", class_name(type(value)).encode())])

    def encode(self, value: object) -> bytes:
        """The canonical bytes of a value or of a part of one.

        Raises:
            _Entangled: it is too deep, or leads back into itself in too many ways.
        """
        cls = type(value)
        encoder = _TABLE.get(cls)
        if encoder is not None:
            return encoder(value, self)
        wrapped = wrapped_by(value)
        if cls is object:  # a sentinel: it is nothing but itself
            return b"O"
        if wrapped is not None:  # a decorated function: a step, an lru_cache, a wrapper of the user's own
            self.found.append(cls)
            return join(b"w", [frame(b"C", class_name(cls).encode()), self.encode(wrapped)])
        if issubclass(cls, type):
            return _class(value, self)
        self.found.append(cls)
        try:
            return super().encode(value)
        except Unfit:
            return self.unknown(value)

    def text(self, value: str) -> bytes:
        """Text; if it is a path in the project, by how it goes on from there."""
        for root in self._roots:
            if value.startswith(root) and value[len(root) :][:1] in ("", "/"):
                return frame(b"R", value[len(root) :].encode("utf-8", "surrogatepass"))
        return TABLE[str](value, self)

    def unknown(self, value: object) -> bytes:
        """The class of an object, its state if the class is the user's, else the functions it holds."""
        cls = type(value)
        whose = origin_of_class(cls, self.project)
        name = frame(b"C", class_name(cls).encode())
        if whose is Origin.USER:
            return self.inside(value, lambda v, w: join(b"x", [name, *sorted(pairs(state(v), w))]))
        if cls.__module__.partition(".")[0] == "vcache":
            return join(b"?", [name])
        if not hasattr(cls, "__get__"):
            self.problems.add(class_name(cls))
        held = {key: each for key, each in state(value).items() if isinstance(each, _WRAPPERS)}
        return join(b"?", [name, self.encode(held)])

    def inside(self, value: object, encode: Callable[[Any, Walk], bytes]) -> bytes:
        """Encode a container once, however many lead to it: else a graph takes exponential time."""
        known = self._memory.get(id(value))
        if known is not None:
            return known[1]
        if id(value) in self.open:
            return self.cycle(value, len(self.open) - self.open[id(value)])
        level = len(self.open)
        if level >= _DEPTH_MAX:
            raise _Entangled
        outer, self._lowest = self._lowest, _DEPTH_MAX
        self.open[id(value)] = level
        raw = encode(value, self)
        del self.open[id(value)]
        if self._lowest >= level:
            self._memory[id(value)] = (value, raw)
        self._lowest = min(outer, self._lowest)
        return raw

    def cycle(self, value: object, levels: int) -> bytes:
        """By how far up the container was met: the same wherever the encoding starts from."""
        self._lowest = min(self._lowest, len(self.open) - levels)
        self._returns += 1
        if self._returns > _RETURNS_MAX:
            raise _Entangled
        return b"^%d;" % levels


def wrapped_by(value: object) -> object | None:
    """The function that an object stands in for, or None."""
    try:
        own = vars(value)
    except TypeError:
        own = {}
    if "__wrapped__" in own or any("__wrapped__" in vars(cls) for cls in type(value).__mro__):
        return getattr(value, "__wrapped__", None)
    return None


def function_name(func: FunctionType) -> str:
    """`module:qualname` of the code that runs, whatever a decorator has renamed it to."""
    return f"{module_name(str(func.__globals__.get('__name__') or '__main__'))}:{func.__code__.co_qualname}"


def namespace_file(namespace: dict[str, Any]) -> str | None:
    """The file of the module with this global namespace, if it has one."""
    path = namespace.get("__file__")
    return path if isinstance(path, str) else None


def origin_of_class(cls: type, project: Project) -> Origin:
    """Whose a class is."""
    module = sys.modules.get(cls.__module__)
    return origin(cls.__module__, getattr(module, "__file__", None), project)


def is_frozen(value: object) -> bool:
    """Is everything that counts in a value fixed as long as it is the same object?

    A function or a class is: what can change in it is watched on its own.
    """
    cls = type(value)
    if cls in _ATOMS or cls is object:
        return True
    if cls in (tuple, frozenset):
        return all(map(is_frozen, value))  # type: ignore[call-overload]
    if isinstance(value, type | Enum | PurePath) or cls.__module__ in _FROZEN_MODULES:
        return True
    if cls in (staticmethod, classmethod, property) or wrapped_by(value) is not None:
        return True
    # Of the library's descriptors and of unfit objects only the class counts.
    return hasattr(cls, "__get__") and not hasattr(cls, "__dataclass_fields__")


def _function(value: FunctionType, walk: Any) -> bytes:
    """By name; one that is made anew each time its definition runs, also by what it closed over."""
    walk.found.append(value)
    name = frame(b"s", function_name(value).encode())
    if "<" not in value.__code__.co_qualname:
        return frame(b"L", name)

    def own(func: FunctionType, inner: Walk) -> bytes:
        parts = [
            name,
            normal_form(func.__code__),
            inner.encode(func.__defaults__),
            inner.encode(func.__kwdefaults__),
        ]
        for cell in func.__closure__ or ():
            try:
                parts.append(inner.encode(cell.cell_contents))
            except ValueError:  # a cell that is not filled yet
                parts.append(b"-")
        return join(b"L", parts)

    problems = set(walk.problems)
    raw = bytes(walk.inside(value, own))
    if not is_users(value.__globals__, walk.project):
        walk.problems = problems  # what a library's wrapper keeps for itself
    return raw


def _class(value: Any, walk: Any) -> bytes:
    walk.found.append(value)
    return frame(b"C", class_name(value).encode())


def _builtin(value: BuiltinFunctionType, walk: Any) -> bytes:
    walk.found.append(value)
    return TABLE[BuiltinFunctionType](value, walk)


def _module(value: ModuleType, walk: Any) -> bytes:
    walk.found.append(value)
    return frame(b"M", module_name(value.__name__).encode())


def _text(value: str, walk: Any) -> bytes:
    return bytes(walk.text(value))


def _inner(*names: str) -> Callable[[Any, Walk], bytes]:
    return lambda value, walk: join(b"h", [walk.encode(getattr(value, name)) for name in names])


_TABLE: Final[dict[type, Encoder]] = {
    **TABLE,
    str: _text,
    type: _class,
    FunctionType: _function,
    BuiltinFunctionType: _builtin,
    ModuleType: _module,
    staticmethod: _inner("__func__"),
    classmethod: _inner("__func__"),
    property: _inner("fget", "fset", "fdel"),
    functools.cached_property: _inner("func"),
    functools.partialmethod: _inner("func", "args", "keywords"),
}
