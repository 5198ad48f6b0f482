"""A fast answer to one question: is everything that was looked at still the same object?

It compares by identity what cannot change in place, and has the rest looked at again. Knows
nothing of fingerprints: it is told what to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType

__all__ = ["Guard", "Watch"]

Guard = Callable[[], bool]
"""True as long as nothing watched was rebound or changed in this process. Threads: any number."""


class Watch:
    """Collects what is to be watched, then makes the guard."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Mapping[str, object], dict[str, object]]] = {}
        self._absent: dict[int, tuple[Mapping[str, object], set[str]]] = {}
        self._sizes: list[tuple[Mapping[str, object], int]] = []
        self._functions: list[FunctionType] = []
        self._cells: list[tuple[CellType, object]] = []
        self._looks: list[tuple[Callable[[], object], object]] = []

    def name(self, namespace: Mapping[str, object], name: str, value: object) -> None:
        """A name that must stay bound to one object."""
        self._names.setdefault(id(namespace), (namespace, {}))[1][name] = value

    def absent(self, namespace: Mapping[str, object], name: str) -> None:
        """A name that must stay unbound."""
        self._absent.setdefault(id(namespace), (namespace, set()))[1].add(name)

    def size(self, namespace: Mapping[str, object]) -> None:
        """A namespace that must neither gain nor lose names."""
        self._sizes.append((namespace, len(namespace)))

    def function(self, func: FunctionType) -> None:
        """A function whose code and defaults must stay what they are."""
        self._functions.append(func)
        if func.__kwdefaults__:
            for name, value in func.__kwdefaults__.items():
                self.name(func.__kwdefaults__, name, value)

    def cell(self, cell: CellType, value: object) -> None:
        """A closure cell that must keep one object."""
        self._cells.append((cell, value))

    def look(self, describe: Callable[[], object], seen: object) -> None:
        """Something that can change in place, and what describes it."""
        self._looks.append((describe, seen))

    def guard(self) -> Guard:
        """The question, ready to be asked often."""
        # Plain loops: 30 ns a check, where calls in bulk cost 250 before the first one.
        names = [(namespace, tuple(each.items())) for namespace, each in self._names.values()]
        codes, defaults = _of_functions(self._functions)
        absent = [(namespace, frozenset(each)) for namespace, each in self._absent.values()]
        cells, sizes, looks = self._cells, self._sizes, self._looks

        def is_current() -> bool:
            try:
                for namespace, pairs in names:
                    for name, value in pairs:
                        if namespace[name] is not value:
                            return False
                for cell, value in cells:
                    if cell.cell_contents is not value:
                        return False
            except (KeyError, ValueError):  # a name that is gone, a cell that was emptied
                return False
            for func, code in codes:
                if func.__code__ is not code:
                    return False
            for func, positional, keyword in defaults:
                if func.__defaults__ is not positional or func.__kwdefaults__ is not keyword:
                    return False
            for namespace, missing in absent:
                if not namespace.keys().isdisjoint(missing):
                    return False
            for namespace, count in sizes:
                if len(namespace) != count:
                    return False
            for describe, before in looks:  # noqa: SIM110  a generator costs more than it saves here
                if describe() != before:
                    return False
            return True

        return is_current


def _of_functions(
    functions: list[FunctionType],
) -> tuple[list[tuple[FunctionType, CodeType]], list[tuple[FunctionType, object, object]]]:
    """The code of all functions, and the defaults of those whose parameters can have some."""
    codes = [(func, func.__code__) for func in functions]
    takers = [func for func, code in codes if code.co_argcount or code.co_kwonlyargcount]
    return codes, [(func, func.__defaults__, func.__kwdefaults__) for func in takers]
