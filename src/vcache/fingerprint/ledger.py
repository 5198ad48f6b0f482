"""The records of one walk over a function's code, and what is still to be followed.

It knows how a value becomes a record and what watches it afterwards; it does not know how
code leads from one thing to the next.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from vcache.entry import Dep
from vcache.fingerprint.data import Reached, function_name, is_frozen, namespace_file, origin_of_class
from vcache.fingerprint.guards import Watch
from vcache.fingerprint.origin import Origin, Project, distribution, origin, source_root
from vcache.fingerprint.terms import class_name, seal

__all__ = ["Ledger"]


class Ledger:
    """Everything recorded, watched and still to be done.

    Args:
        is_deep: what values lead to is followed.
        project: what is known to be the user's own.

    Attributes:
        watch: what the guard will compare.
        opaque: what could not be seen, and why.
        todo: functions, classes and modules to be followed, each once.
    """

    def __init__(self, *, is_deep: bool, project: Project) -> None:
        self.is_deep = is_deep
        self.watch = Watch()
        self.opaque: set[str] = set()
        self.todo: list[object] = []
        self._project = project
        self._deps: dict[tuple[str, str, bytes], Dep] = {}
        # By id, and kept alive: not everything that is reached can be hashed.
        self._seen: dict[int, object] = {}
        self._roots: dict[str | None, tuple[str, ...]] = {}

    @property
    def deps(self) -> tuple[Dep, ...]:
        """The records, sorted."""
        return tuple(self._deps[key] for key in sorted(self._deps))

    def add(self, kind: str, name: str, identity: bytes, note: str = "") -> None:
        """Record one thing. Two things of one name are two records."""
        self._deps[kind, name, identity] = Dep(kind, name, identity, note=note)

    def follow(self, thing: object) -> None:
        """Have a function, class or module looked at, unless it has been."""
        if id(thing) not in self._seen:
            self._seen[id(thing)] = thing
            self.todo.append(thing)

    def reached(self, namespace: dict[str, Any] | None) -> Reached:
        """A fresh encoding of a value that a module with this namespace holds."""
        return Reached(self._roots_of(namespace), self._project)

    def report(self, data: Reached, place: str, *, follows: bool | None = None) -> None:
        """Follow what a value led to, and list what of it has no fingerprint."""
        self.opaque |= {f"{place}: a {problem} has no fingerprint" for problem in data.problems}
        if self.is_deep if follows is None else follows:
            for thing in data.found:
                self.follow(thing)

    def value(self, kind: str, name: str, value: object, namespace: dict[str, Any]) -> None:
        """Record a value, and have it looked at again if it can change in place."""
        data = self.reached(namespace)
        raw = data.describe(value)
        # A function or class under its own name needs no record that it is.
        if not (isinstance(value, FunctionType | type) and _own_name(value) == name):
            self.add(kind, name, seal(raw), type(value).__qualname__)
        self.report(data, f"{kind} {name}")
        self.look_again(value, raw, namespace)

    def look_again(self, value: object, raw: bytes, namespace: dict[str, Any] | None) -> None:
        """Watch what is in a value, unless the object cannot change."""
        if not is_frozen(value):
            self.watch.look(lambda: self.reached(namespace).describe(value), raw)

    def origin_of(self, thing: ModuleType | type | dict[str, Any]) -> Origin:
        """Whose a module, a class, or the module of a global namespace is."""
        if isinstance(thing, dict):
            return origin(str(thing.get("__name__") or "__main__"), namespace_file(thing), self._project)
        if isinstance(thing, type):
            return origin_of_class(thing, self._project)
        path = getattr(thing, "__file__", None) or next(iter(getattr(thing, "__path__", ())), None)
        return origin(thing.__name__, path, self._project)

    def origin_at(self, module: str, path: str | None) -> Origin:
        """Whose a module is that need not be loaded."""
        return origin(module, path, self._project)

    def foreign(self, module: str, path: str | None, what: str) -> None:
        """Count code that is not the user's: by its distribution, or as something unseen.

        Args:
            module: where it is from.
            path: the module's file, if it is not loaded.
            what: how to call it when it cannot be seen.
        """
        top = module.partition(".")[0]
        path = path or getattr(sys.modules.get(module), "__file__", None)
        whose = origin(module, path, self._project) if module else Origin.STDLIB
        if whose is Origin.EXTENSION:
            self.opaque.add(f"{what} is compiled: a C extension cannot be read")
        # vcache's own version is in the format of whatever it writes.
        if whose is not Origin.DISTRIBUTION or top == "vcache":
            return
        found = distribution(top, getattr(sys.modules.get(top), "__file__", None) or path)
        if found is None:
            self.opaque.add(f"{what}: no installed distribution provides {top}")
        else:
            self.add("distribution", found[0], found[1].encode(), f"provides {top}")

    def _roots_of(self, namespace: dict[str, Any] | None) -> tuple[str, ...]:
        """The directories below which a path is the same in every checkout."""
        if self._project.root:
            return (self._project.root, str(Path(self._project.root).resolve()))
        if namespace is None:
            return ()
        path = namespace_file(namespace)
        if path not in self._roots:
            root = source_root(str(namespace.get("__name__")), path)
            self._roots[path] = () if root is None or root == "/" else (root, str(Path(root).resolve()))
        return self._roots[path]


def _own_name(value: FunctionType | type) -> str:
    return function_name(value) if isinstance(value, FunctionType) else class_name(value)
