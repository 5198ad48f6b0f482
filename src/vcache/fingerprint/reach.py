"""The walk from a function to everything of the user's own that decides what it does.

Each thing reached gives one record of its own content and leads to further things; the
records together are the fingerprint. As no record contains another one, cycles and the
function that the walk started from make no difference to any of them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from vcache.fingerprint.classes import class_parts, is_fixed
from vcache.fingerprint.data import Reached, function_name, namespace_file
from vcache.fingerprint.ledger import Ledger
from vcache.fingerprint.names import Ref, names_of
from vcache.fingerprint.normal import normal_form
from vcache.fingerprint.origin import Origin, Project
from vcache.fingerprint.resolve import Resolver
from vcache.fingerprint.sources import Decorators, class_decorators, function_decorators
from vcache.fingerprint.terms import class_name, join, module_name, seal

if TYPE_CHECKING:
    import ast

__all__ = ["reach"]

_PYTHON: Final = f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
_WRAPPERS_MAX: Final = 50  # an object may claim to wrap itself
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def reach(func: object, *, is_deep: bool, root: Path | None) -> Ledger:
    """The records of a callable and of everything it reaches.

    Args:
        func: a callable of any kind.
        is_deep: follow what it reaches, and not only look at it.
        root: the project's directory, if the user has named one.
    """
    directory = "" if root is None else os.path.abspath(root).rstrip("/")
    ledger = Ledger(is_deep=is_deep, project=Project(directory, _package_of(func)))
    ledger.add("python", "python", _PYTHON.encode())
    walk = _Walk(ledger)
    walk.start(func)
    while ledger.todo:
        walk.step(ledger.todo.pop())
    return ledger


def _package_of(func: object) -> str:
    """The top-level package that a callable is from, whatever wraps it."""
    inner = func
    for _ in range(_WRAPPERS_MAX):
        held = (getattr(inner, name, None) for name in ("__wrapped__", "__func__", "func"))
        deeper = next((each for each in held if callable(each)), None)
        if deeper is None:
            break
        inner = deeper
    owner = inner if isinstance(inner, FunctionType | type) else type(inner)
    return str(owner.__module__).partition(".")[0]


class _Walk:
    """Looks into functions and classes, one at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._resolver = Resolver(ledger)

    def start(self, func: object) -> None:
        """Begin with a function, or with a callable that holds some."""
        if isinstance(func, FunctionType | type):
            self._ledger.follow(func)
            return
        data = self._ledger.reached(None)
        raw = data.describe(func)
        name = getattr(func, "__qualname__", type(func).__qualname__)
        module = module_name(getattr(func, "__module__", None) or type(func).__module__)
        self._ledger.add("code", f"{module}:{name}", seal(raw), "callable object")
        self._ledger.look_again(func, raw, None)
        self._ledger.report(data, f"callable {module}:{name}", follows=True)

    def step(self, thing: object) -> None:
        """Look into one thing."""
        if isinstance(thing, FunctionType):
            self._function(thing)
        elif isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, BuiltinFunctionType):
            self._ledger.foreign(thing.__module__ or "", None, f"{thing.__module__}.{thing.__qualname__}")
        elif isinstance(thing, ModuleType):
            self._resolver.whole_module(thing)

    def _function(self, func: FunctionType) -> None:
        name, namespace = function_name(func), func.__globals__
        wrapped = func.__dict__.get("__wrapped__")
        if isinstance(wrapped, FunctionType):
            self._ledger.follow(wrapped)
        if self._ledger.origin_of(namespace) is not Origin.USER:
            self._ledger.foreign(str(namespace.get("__name__") or ""), namespace_file(namespace), name)
            self._foreign_cells(func, name)
            return
        decorated = self._decorated(function_decorators(func.__code__), namespace)
        self._ledger.add("code", name, seal(normal_form(func.__code__) + decorated), "function")
        self._ledger.watch.function(func)
        self._defaults(func, name)
        self._cells(func, name)
        if self._ledger.is_deep:
            self._names(func, name)
            for cls in _annotated_classes(func):
                self._ledger.follow(cls)

    def _defaults(self, func: FunctionType, name: str) -> None:
        code, defaults = func.__code__, func.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        for param, value in [*zip(names, defaults, strict=True), *(func.__kwdefaults__ or {}).items()]:
            self._ledger.value("default", f"{name}({param})", value, func.__globals__)

    def _cells(self, func: FunctionType, name: str) -> None:
        for variable, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not filled yet: the name of a function still being defined
                continue
            self._ledger.watch.cell(cell, value)
            if variable != "__class__":  # what super() needs; its methods are reached through the class
                self._ledger.value("closure", f"{name}[{variable}]", value, func.__globals__)
            elif self._ledger.is_deep:
                self._ledger.follow(value)

    def _foreign_cells(self, func: FunctionType, name: str) -> None:
        """A wrapper made by a library: the user's functions in it count, its own state does not."""
        for cell in func.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            data = self._ledger.reached(None)
            data.describe(value)
            data.problems.clear()
            self._ledger.report(data, name)

    def _names(self, func: FunctionType, name: str) -> None:
        cells = dict(zip(func.__code__.co_freevars, func.__closure__ or (), strict=True))
        for ref in names_of(func.__code__):
            if ref.scope == "global":
                self._resolver.look_up(ref, func.__globals__, name)
            elif ref.scope == "import":
                self._resolver.load(ref, func.__globals__, name)
            else:
                try:
                    value = cells[ref.name].cell_contents
                except ValueError:  # not filled yet
                    continue
                self._resolver.descend(value, ref, name)

    def _decorated(self, decorators: Decorators, namespace: dict[str, Any]) -> bytes:
        """What decorators add to an identity; what they name is followed."""
        texts = []
        for expression in decorators.expressions:
            refs = list(_refs_of(expression))
            if refs and _is_ours(namespace.get(refs[0].name)):
                continue  # a step's options are the step's to count
            texts.append(_text_of(expression))
            for ref in refs if self._ledger.is_deep else ():
                if ref.name in namespace:
                    self._resolver.look_up(ref, namespace, "decorator")
        return join(b"@", [*texts, decorators.mark]) if texts else b""

    def _class(self, cls: type) -> None:
        """A class: its bases, its metaclass and all that stands in it."""
        if self._ledger.origin_of(cls) is not Origin.USER:
            self._ledger.foreign(cls.__module__, None, class_name(cls))
            return
        module = sys.modules.get(cls.__module__)
        namespace = vars(module) if module else {}
        parts, data = class_parts(cls), self._ledger.reached(namespace)
        raw = _class_bytes(cls, parts, data)
        decorators = self._decorated(class_decorators(cls, namespace_file(namespace)), namespace)
        self._ledger.add("class", class_name(cls), seal(raw + decorators), "class")
        self._ledger.report(data, f"class {class_name(cls)}")
        self._watch_class(cls, parts, namespace, raw)

    def _watch_class(
        self, cls: type, parts: dict[str, object], namespace: dict[str, Any], raw: bytes
    ) -> None:
        own: Any = vars(cls)
        watch = self._ledger.watch
        for name in parts:
            if name in own:
                watch.name(own, name, own[name])
        watch.look(lambda: (len(own), cls.__bases__), (len(own), cls.__bases__))
        if not is_fixed(parts):
            watch.look(lambda: _class_bytes(cls, class_parts(cls), self._ledger.reached(namespace)), raw)


def _class_bytes(cls: type, parts: dict[str, object], data: Reached) -> bytes:
    bases = [data.describe(base) for base in (type(cls), *cls.__bases__)]
    return join(
        b"K", bases + [data.describe(name) + data.describe(value) for name, value in sorted(parts.items())]
    )


def _is_ours(value: object) -> bool:
    """Is this a cache or something else of vcache's?"""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    own = type(value).__module__
    return str(name).partition(".")[0] == "vcache" or own.partition(".")[0] == "vcache"


def _text_of(expression: ast.expr) -> bytes:
    import ast  # loaded by who parsed the expression

    return ast.dump(expression).encode("utf-8", "surrogatepass")


def _refs_of(expression: ast.expr) -> Iterator[Ref]:
    """The names in an expression, each with its attributes, outermost first."""
    import ast  # loaded by who parsed the expression

    todo: list[ast.AST] = [expression]
    while todo:
        inner = node = todo.pop(0)
        attributes: list[str] = []
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield Ref("global", inner.id, tuple(attributes), is_whole=True)
        else:
            todo.extend(ast.iter_child_nodes(node))


def _annotated_classes(func: FunctionType) -> Iterator[type]:
    """The classes that parameters are annotated with: their methods may be called."""
    try:
        found = list(func.__annotations__.values())
    except NameError:  # evaluated late from 3.14 on, and naming what was only there to check types
        return
    for annotation in found:
        yield from _classes_in(annotation, func.__globals__)


def _classes_in(annotation: object, namespace: dict[str, Any]) -> Iterator[type]:
    """The classes that an annotation names, also within `list[…]` and as text."""
    if isinstance(annotation, str):
        for dotted in _DOTTED.findall(annotation):
            first, *rest = dotted.split(".")
            value = namespace.get(first)
            for attribute in rest:
                value = vars(value).get(attribute) if isinstance(value, ModuleType | type) else None
            if isinstance(value, type):
                yield value
        return
    if isinstance(annotation, type):
        yield annotation
    for each in getattr(annotation, "__args__", None) or ():
        yield from _classes_in(each, namespace)
