"""The normal form of a code object: what it does, without where and how it was written.

Comments, docstrings, line numbers, blank lines, formatting and file names leave no trace;
every instruction, constant, name, parameter and exception range does. It is taken from the
code that runs, not from a source file that may have been edited since it was loaded.

Why not the AST of the source: that would need the source to be there, parsed, compiled and
compared with the running code before it can be believed. Bytecode is that AST, compiled.
The compiler leaves formatting visible where it optimizes only within a line: NOPs kept for
the debugger, jumps to jumps, the order of blocks, fused instructions. So the form is that of
the control flow: instructions in the order of a walk from the entry, branches by what they
decide, every jump by where it arrives in the end.
"""

from __future__ import annotations

import opcode
import sys
from bisect import bisect_left
from collections.abc import Iterator
from types import CodeType
from typing import Final

from vcache.hash import Hasher
from vcache.kit.data import NamedTuple

__all__ = ["Instruction", "instructions", "name_of", "normal_form"]

# Same code, different way to get at its annotations, generators apart: only what changes behaviour.
_FLAGS: Final = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
_OPTIMIZED: Final = 0x01
_NAMES: Final = opcode.opname
_OPS: Final = opcode.opmap
_CONST: Final = frozenset(opcode.hasconst)
_JUMP: Final = frozenset([*opcode.hasjrel, *opcode.hasjabs])
_ABSOLUTE: Final = frozenset(opcode.hasjabs)
_NAMED: Final = frozenset(opcode.hasname)
# Some instructions keep flags in the lowest bits of the index of their name.
_SHIFTED: Final = {"LOAD_GLOBAL": 1}
if sys.version_info >= (3, 12):
    _SHIFTED |= {"LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 2}
if sys.version_info >= (3, 15):
    _SHIFTED |= {"IMPORT_NAME": 2}
_SHIFT: Final = {_OPS[name]: bits for name, bits in _SHIFTED.items()}
_BITS: Final = {op: (1 << bits) - 1 for op, bits in _SHIFT.items()}
_DIRECTIONS: Final = tuple(
    name.replace("_FORWARD", "").replace("_BACKWARD", "").replace("_NO_INTERRUPT", "") for name in _NAMES
)
_FINAL: Final = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"})
_NEGATED: Final = {"POP_JUMP_IF_FALSE": "POP_JUMP_IF_TRUE", "POP_JUMP_IF_NOT_NONE": "POP_JUMP_IF_NONE"}
_RETURN: Final = _OPS["RETURN_VALUE"]
# Two instructions in one: the compiler fuses them only when they stand on one line.
_FUSED: Final = {
    _OPS[f"{first}_{second}"]: (_OPS[first], _OPS[second])
    for first, second in [
        ("LOAD_FAST", "LOAD_FAST"), ("STORE_FAST", "LOAD_FAST"), ("STORE_FAST", "STORE_FAST"),
        ("LOAD_FAST_BORROW", "LOAD_FAST_BORROW"),
    ]
    if f"{first}_{second}" in _OPS
}  # fmt: skip
if "RETURN_CONST" in _OPS:
    _FUSED[_OPS["RETURN_CONST"]] = (_OPS["LOAD_CONST"], _RETURN)
_STORE_NAME: Final = _OPS["STORE_NAME"]
_EXTENDED: Final = _OPS["EXTENDED_ARG"]
_SILENT: Final = frozenset(_OPS[name] for name in ("NOP", "CACHE", "PRECALL", "NOT_TAKEN") if name in _OPS)
# What a class body says of itself: its docstring and its place in the file.
_PLACES: Final = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
# A bounded memory of normal forms: code objects hash by content, so they are kept by id.
_MEMORY_MAX: Final = 8192
_memory: dict[int, tuple[CodeType, bytes]] = {}
# Each code object is read twice in a row, for its form and for its names.
_DECODED_MAX: Final = 64
_decoded: dict[int, tuple[CodeType, list[Instruction]]] = {}


class Instruction(NamedTuple):
    """One instruction: where it is, what it does, and its whole argument."""

    offset: int
    op: int
    arg: int
    end: int


def normal_form(code: CodeType) -> bytes:
    """The 32-byte digest of what a code object does, equal for equal code on one Python version."""
    known = _memory.get(id(code))
    if known is not None:
        return known[1]
    found = bytes(Hasher(_describe(code).encode("utf-8", "surrogatepass")).digest())
    if len(_memory) >= _MEMORY_MAX:
        _memory.clear()
    _memory[id(code)] = (code, found)
    return found


def instructions(code: CodeType) -> list[Instruction]:
    """The instructions of a code object: arguments joined, fused pairs split, caches left out."""
    known = _decoded.get(id(code))
    if known is not None:
        return known[1]
    if len(_decoded) >= _DECODED_MAX:
        _decoded.clear()
    found = list(_decode(code.co_code))
    _decoded[id(code)] = (code, found)
    return found


def _decode(raw: bytes) -> Iterator[Instruction]:
    extended, start = 0, -1
    for offset, (op, arg) in enumerate(zip(raw[::2], raw[1::2], strict=True)):
        if op in _SILENT:
            continue
        if start < 0:
            start = offset * 2
        if op == _EXTENDED:
            extended = (extended | arg) << 8
            continue
        for part, part_arg in ((op, extended | arg),) if op not in _FUSED else _parts(op, extended | arg):
            yield Instruction(start, part, part_arg, offset * 2 + 2)
        extended, start = 0, -1


def _parts(op: int, arg: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two instructions that were fused, each with its argument."""
    first, second = _FUSED[op]
    if second == _RETURN:
        return (first, arg), (second, 0)
    return (first, arg >> 4), (second, arg & 15)


def name_of(code: CodeType, instruction: Instruction) -> str:
    """The name that an instruction loads, stores or imports."""
    return code.co_names[instruction.arg >> _SHIFT.get(instruction.op, 0)]


def _describe(code: CodeType) -> str:
    head = (
        code.co_name, code.co_flags & _FLAGS, code.co_argcount, code.co_posonlyargcount,
        code.co_kwonlyargcount, code.co_varnames, code.co_cellvars, code.co_freevars,
    )  # fmt: skip
    return "\n".join([repr(head), *_Flow(code).lines()])


def _kept(code: CodeType) -> list[Instruction]:
    """All instructions but those with which a class body notes its docstring and its lines."""
    found = instructions(code)
    if code.co_flags & _OPTIMIZED:
        return found
    drop = set()
    for index, each in enumerate(found):
        if index and each.op == _STORE_NAME and name_of(code, each) in _PLACES:
            drop |= {index - 1, index}
    return [each for index, each in enumerate(found) if index not in drop]


class _Node(NamedTuple):
    """One instruction in the control flow: its text, and the indices of where it may go."""

    text: str
    follow: tuple[int, ...]
    handler: int
    how: int


class _Flow:
    """The control flow of one code object, numbered in the order of a walk from its entry."""

    def __init__(self, code: CodeType) -> None:
        self._code = code
        self._kept = _kept(code)
        self._offsets = [each.offset for each in self._kept]
        self._handlers = [(-1, 0)] * (len(self._kept) + 1)
        self._guard(_varints(code.co_exceptiontable))

    def lines(self) -> list[str]:
        """The walk, one instruction a line, and then every constant that it met."""
        constants: dict[str, int] = {}
        nodes: dict[int, _Node] = {}
        todo = [0]
        while todo:
            at = self._settle(todo.pop())
            while at not in nodes and at < len(self._kept):
                node = nodes[at] = self._node(at, constants)
                todo.extend(each for each in (node.handler, *node.follow[:0:-1]) if each >= 0)
                if not node.follow:
                    break
                at = node.follow[0]
        number = {at: count for count, at in enumerate(nodes)}
        return [*(self._line(number[at], nodes[at], number) for at in nodes), *constants]

    def _line(self, own: int, node: _Node, number: dict[int, int]) -> str:
        targets = [number.get(at, -1) for at in node.follow]
        if targets == [own + 1]:
            targets = []
        handler = f" ! {number[node.handler]} {node.how}" if node.handler >= 0 else ""
        return f"{node.text} {targets}{handler}" if targets else node.text + handler

    def _node(self, at: int, constants: dict[str, int]) -> _Node:
        each = self._kept[at]
        handler, how = self._handlers[at]
        follow: tuple[int, ...] = () if _NAMES[each.op] in _FINAL else (self._settle(at + 1),)
        if each.op in _JUMP:
            text, follow = self._branch(at)
        else:
            text = self._text(each, constants)
        return _Node(text, follow, handler if handler < 0 else self._settle(handler), how)

    def _text(self, each: Instruction, constants: dict[str, int]) -> str:
        name = _NAMES[each.op]
        if each.op in _CONST:
            text = _constant(self._code.co_consts[each.arg])
            return f"{name} {constants.setdefault(text, len(constants))}"
        if each.op in _NAMED:
            return f"{name} {name_of(self._code, each)} {each.arg & _BITS.get(each.op, 0)}"
        return f"{name} {each.arg}"

    def _branch(self, at: int) -> tuple[str, tuple[int, ...]]:
        """What a conditional jump decides, and where it goes: first if that is so, then if not."""
        name, taken = _DIRECTIONS[self._kept[at].op], self._target(at)
        while name.endswith("_OR_POP") and taken < len(self._kept):
            through = _through(name, _DIRECTIONS[self._kept[taken].op])
            if through is None:
                break
            name, goes_on = through
            taken = self._target(taken) if goes_on else self._settle(taken + 1)
        follow = (taken, self._settle(at + 1))
        if name in _NEGATED:
            return _NEGATED[name], follow[::-1]
        return name, follow

    def _settle(self, at: int) -> int:
        """The index of the first instruction that does something, from here on."""
        seen: set[int] = set()
        while at < len(self._kept) and at not in seen and _DIRECTIONS[self._kept[at].op] == "JUMP":
            seen.add(at)
            at = self._at(self._destination(self._kept[at]))
        return at

    def _target(self, at: int) -> int:
        return self._settle(self._at(self._destination(self._kept[at])))

    def _at(self, offset: int) -> int:
        """The index of the first instruction that is kept, from an offset on."""
        return bisect_left(self._offsets, offset)

    def _destination(self, jump: Instruction) -> int:
        """The offset that a jump names. From 3.12 on it counts from behind the jump's caches."""
        if jump.op in _ABSOLUTE:
            return jump.arg * 2
        raw, end = self._code.co_code, jump.end
        while sys.version_info >= (3, 12) and end < len(raw) and raw[end] == _OPS["CACHE"]:
            end += 2
        return end - jump.arg * 2 if "BACKWARD" in _NAMES[jump.op] else end + jump.arg * 2

    def _guard(self, numbers: Iterator[int]) -> None:
        """Give each instruction its exception handler (CPython, Objects/exception_handling_notes.txt)."""
        for start, size, handler, how in zip(numbers, numbers, numbers, numbers, strict=True):
            for at in range(self._at(start * 2), self._at((start + size) * 2)):
                self._handlers[at] = (self._at(handler * 2), how)


def _through(name: str, met: str) -> tuple[str, bool] | None:
    """What `a and b or c` (as 3.11 compiles it) becomes when one jump arrives at another.

    Returns:
        The name of the joint jump, and whether it goes where the second one goes.
    """
    if "JUMP_IF_" not in met or "NONE" in met:
        return None
    wanted = name.removesuffix("_OR_POP").removeprefix("JUMP_IF_")
    if met.removesuffix("_OR_POP").removeprefix("POP_").removeprefix("JUMP_IF_") == wanted:
        return met, True
    return f"POP_JUMP_IF_{wanted}", False


def _varints(table: bytes) -> Iterator[int]:
    """The numbers of an exception table: six bits a byte, the highest first."""
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            yield value
            value = 0


def _constant(value: object) -> str:
    """A constant's canonical text: `repr` is that, but for sets, nested code and huge numbers."""
    if isinstance(value, CodeType):
        return f"code {normal_form(value).hex()}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(_constant, value))}"
    if type(value) is int:
        return hex(value)
    return repr(value)
