"""What a code object refers to: names with the attributes read from them, and imports.

It reads instructions and resolves nothing: what a name stands for is for others to find out.
"""

from __future__ import annotations

import opcode
from collections.abc import Iterator
from types import CodeType
from typing import Final

from vcache.fingerprint.normal import Instruction, instructions, name_of
from vcache.kit.data import dataclass

__all__ = ["Ref", "names_of"]

_OPS: Final = opcode.opmap


def _ops(*names: str) -> frozenset[int]:
    return frozenset(_OPS[name] for name in names if name in _OPS)


_GLOBAL: Final = _ops("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_FREE: Final = _ops("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_LOCAL: Final = _ops("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW")
_STORE_LOCAL: Final = _ops("STORE_FAST", "STORE_DEREF")
_ATTRIBUTE: Final = _ops("LOAD_ATTR", "LOAD_METHOD")
_STORE_ATTRIBUTE: Final = _ops("STORE_ATTR", "DELETE_ATTR")
_STORE_NAME: Final = _ops("STORE_NAME")
_STORE_GLOBAL: Final = _ops("STORE_GLOBAL")
_IMPORT_NAME: Final = _ops("IMPORT_NAME")
_IMPORT_FROM: Final = _ops("IMPORT_FROM")
_SWAP: Final = _ops("SWAP")
_SHUFFLE: Final = _ops("SWAP", "POP_TOP")
_SMALL_INT: Final = _ops("LOAD_SMALL_INT")
_ROOT: Final = _GLOBAL | _FREE | _LOCAL
_STORE: Final = _STORE_LOCAL | _STORE_NAME | _STORE_GLOBAL


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One thing that code refers to, and the attributes it reads from it.

    Attributes:
        scope: "global", "free" (a closure cell), or "import".
        name: the variable, or the module as it is written.
        attributes: names read one from the other; for `from m import x`, x comes first.
        level: leading dots of a relative import.
        is_whole: it is used as it stands, and not only for what an import binds or for setting
            an attribute. A module used as a whole may have anything read from it.
    """

    scope: str
    name: str
    attributes: tuple[str, ...] = ()
    level: int = 0
    is_whole: bool = False


_MEMORY_MAX: Final = 8192
_memory: dict[int, tuple[CodeType, tuple[Ref, ...]]] = {}


def names_of(code: CodeType) -> tuple[Ref, ...]:
    """What a code object and the functions, classes and comprehensions inside it refer to, sorted."""
    known = _memory.get(id(code))
    if known is not None:
        return known[1]
    found = tuple(sorted(_Reader(code).refs))
    if len(_memory) >= _MEMORY_MAX:
        _memory.clear()
    _memory[id(code)] = (code, found)
    return found


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _constant(code: CodeType, each: Instruction) -> object:
    return each.arg if each.op in _SMALL_INT else code.co_consts[each.arg]


def _locals_of(code: CodeType) -> tuple[str, ...]:
    """Names by the number with which fast and cell instructions know them."""
    cells = tuple(name for name in code.co_cellvars if name not in code.co_varnames)
    return code.co_varnames + cells + code.co_freevars


class _Reader:
    """One pass over a code object and what is nested in it.

    A variable that an import binds is known by its name in all of them: the rare case that
    another function in it has an own variable of that name only adds a reference.
    """

    def __init__(self, code: CodeType) -> None:
        self.refs: set[Ref] = set()
        self._free = frozenset(code.co_freevars)
        self._imported: dict[str, Ref] = {}
        bodies = [(each, instructions(each)) for each in _nested(code)]
        for each, found in bodies:
            self._read_imports(each, found)
        for each, found in bodies:
            self._read_names(each, found)

    def _read_imports(self, code: CodeType, found: list[Instruction]) -> None:
        for index, each in enumerate(found):
            if each.op in _IMPORT_NAME:
                level, names = (_constant(code, at) for at in found[index - 2 : index])
                ref = Ref("import", name_of(code, each), level=level if isinstance(level, int) else 0)
                self.refs.add(ref)
                self._read_bindings(code, ref, found[index + 1 :], is_from=bool(names))

    def _read_bindings(self, code: CodeType, ref: Ref, rest: list[Instruction], *, is_from: bool) -> None:
        """What the instructions after an import bind: `m`, the top of `a.b`, or names from it."""
        variables = _locals_of(code)
        here = ref if is_from else Ref("import", ref.name.partition(".")[0], level=ref.level)
        value = here
        for at, each in enumerate(rest):
            if each.op in _IMPORT_FROM:
                value = Ref("import", here.name, (*here.attributes, name_of(code, each)), here.level)
                if rest[at + 1].op in _SWAP:  # `import a.b.c as m` reads its way down before it binds
                    here = value
            elif each.op in _STORE:
                if each.op in _STORE_LOCAL:
                    self._imported[variables[each.arg]] = value
                self.refs.add(value)
                if not is_from:
                    return
            elif each.op not in _SHUFFLE:
                return

    def _read_names(self, code: CodeType, found: list[Instruction]) -> None:
        variables = _locals_of(code)
        stored = {name_of(code, each) for each in found if each.op in _STORE_NAME}
        index = 0
        while index < len(found):
            index += 1
            if found[index - 1].op not in _ROOT:
                continue
            root = self._root(code, found[index - 1], variables, stored)
            if root is None:
                continue
            attributes = []
            while index < len(found) and found[index].op in _ATTRIBUTE:
                attributes.append(name_of(code, found[index]))
                index += 1
            is_whole = index >= len(found) or found[index].op not in _STORE_ATTRIBUTE
            self.refs.add(Ref(root.scope, root.name, (*root.attributes, *attributes), root.level, is_whole))

    def _root(
        self, code: CodeType, each: Instruction, variables: tuple[str, ...], stored: set[str]
    ) -> Ref | None:
        if each.op in _GLOBAL:
            name = name_of(code, each)
            # A class body inside a function reads its own names like globals.
            return None if name in stored else Ref("global", name)
        if each.op in _FREE | _LOCAL:
            name = variables[each.arg]
            if each.op in _LOCAL and name in code.co_cellvars + code.co_freevars:
                return None  # from 3.13 on, a cell on its way into a nested function
            if name in self._imported:
                return self._imported[name]
            if each.op in _FREE and name in self._free:
                return Ref("free", name)
        return None
