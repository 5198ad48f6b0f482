"""The decorators of a function or class, as its source file spells them.

They are all that a running function does not know of itself. The file may have been edited
since it was loaded: then what it says is marked, so that it is never taken for what a fresh
process would see.
"""

from __future__ import annotations

import os
import re
import time
from types import CodeType
from typing import TYPE_CHECKING, Final

from vcache.kit.data import dataclass

if TYPE_CHECKING:
    import ast

__all__ = ["Decorators", "class_decorators", "function_decorators"]

# A file changed after this may not be what the process loaded.
_LOADED_NS: Final = time.time_ns()
_DEFINITION: Final = re.compile(r"\s*(async\s+def|def|class)\b")
# A decorator longer than this is given up; the text before a definition is read by trial.
_LINES_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Decorators:
    """What stands above a definition.

    Attributes:
        expressions: one for each decorator, outermost first.
        mark: empty; or, for a file that changed while this process ran, which state of it.
    """

    expressions: tuple[ast.expr, ...] = ()
    mark: bytes = b""


_NONE: Final = Decorators()


@dataclass(frozen=True, slots=True)
class _File:
    lines: list[str]
    mark: bytes


_files: dict[tuple[str, int, int], _File] = {}


def function_decorators(code: CodeType) -> Decorators:
    """The decorators of a function; none for a lambda, or where there is no source."""
    file = _read(code.co_filename)
    if file is None or not _is_decorator(file, code.co_firstlineno - 1):
        return _NONE
    return Decorators(_parse(file.lines, code.co_firstlineno - 1), file.mark)


def class_decorators(cls: type, path: str | None) -> Decorators:
    """The decorators of a class, found by its name; of several of one name, those of the last."""
    file = _read(path) if path else None
    if file is None:
        return _NONE
    pattern = re.compile(rf"\s*class\s+{re.escape(cls.__name__)}\b")
    for at in range(len(file.lines) - 1, -1, -1):
        if pattern.match(file.lines[at]):
            start = _first_decorator(file.lines, at)
            return Decorators(_parse(file.lines, start), file.mark) if start < at else _NONE
    return _NONE


def _read(path: str) -> _File | None:
    if path.startswith("<") and path.endswith(">"):
        return _typed_in(path)
    try:
        stat = os.stat(path)
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in _files:
            with open(path, encoding="utf-8", errors="surrogateescape") as source:
                lines = source.readlines()
            is_new = max(stat.st_mtime_ns, stat.st_ctime_ns) >= _LOADED_NS
            _files[key] = _File(lines, b"%d" % stat.st_mtime_ns if is_new else b"")
    except OSError:
        return None
    return _files[key]


def _typed_in(name: str) -> _File | None:
    """The text of a notebook cell or of a prompt that keeps it."""
    import linecache  # only for code without a file

    lines = linecache.getlines(name)
    return _File(lines, b"") if lines else None


def _is_decorator(file: _File, at: int) -> bool:
    return 0 <= at < len(file.lines) and file.lines[at].lstrip().startswith("@")


def _first_decorator(lines: list[str], at: int) -> int:
    """The line where the decorators above a definition start: every line between is theirs."""
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    first = at
    for above in range(at - 1, max(-1, at - _LINES_MAX), -1):
        line = lines[above]
        if line.startswith(indent + "@"):
            first = above
        elif line.strip() and _DEFINITION.match(line):
            break
    return first if first < at and _parse(lines, first, end=at) else at


def _parse(lines: list[str], start: int, *, end: int | None = None) -> tuple[ast.expr, ...]:
    """The decorators from one line to the definition that they stand above."""
    import ast  # 6 ms to import: only for who uses decorators

    indent = len(lines[start]) - len(lines[start].lstrip())
    for at in range(start + 1, min(len(lines), start + _LINES_MAX)):
        if not _DEFINITION.match(lines[at]) or (end is not None and at < end):
            continue
        text = "".join(line[indent:] if line.strip() else "\n" for line in lines[start:at])
        try:
            (definition,) = ast.parse(f"{text}\ndef _(): ...\n").body
        except (SyntaxError, ValueError):  # the word stood inside of a string or of an expression
            continue
        return tuple(definition.decorator_list) if isinstance(definition, ast.FunctionDef) else ()
    return ()
