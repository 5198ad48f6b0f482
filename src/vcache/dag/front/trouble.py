"""Errors of build files, as their authors want to see them: their own lines, and no others.

It knows tracebacks, and nothing of graphs.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Final

from vcache.errors import GraphError, VcacheError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["caller", "explained", "place_of", "shown_path"]

# All of vcache's own frames are left out of what a user reads.
_OURS: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_MACHINERY: Final = ("<frozen ", "<string>")
_FRAMES_MAX: Final = 64


def shown_path(path: str, base: str) -> str:
    """A source file for people: relative to the build file's directory where it lies below."""
    prefix = os.path.join(base, "")
    return path.removeprefix(prefix)


def place_of(function: Callable[..., object], base: str) -> str:
    """Where a function was defined: "vcachefile.py:12". Its first decorator's line counts."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    return f"{shown_path(code.co_filename, base)}:{code.co_firstlineno}"


_STARTERS: Final = frozenset(
    os.path.join(os.path.dirname(os.path.dirname(__file__)), name) for name in ("session.py", "runner.py")
)


def caller(base: str) -> str:
    """The user's line that is being carried out: "vcachefile.py:12"."""
    frame = sys._getframe(1)
    for _ in range(_FRAMES_MAX):
        name = frame.f_code.co_filename
        if not name.startswith((_OURS, *_MACHINERY)):
            return f"{shown_path(name, base)}:{frame.f_lineno}"
        if frame.f_back is None or name in _STARTERS:
            break  # what is further out is who asked for the build, and no line of its file
        frame = frame.f_back
    return ""


def explained(error: BaseException, base: str, *, what: str) -> GraphError:
    """An exception of a user's code as an error that shows it, and the user's lines that led to it.

    Args:
        what: what was going on, for the first line.
    """
    lines = _own_lines(error.__traceback__, base)
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{shown_path(error.filename, base)}:{error.lineno}"
        excerpt = (error.text or "").rstrip("\n")
        caret = " " * max((error.offset or 1) - 1, 0) + "^"
        return GraphError(f"{place}: {error.msg}\n    {excerpt}\n    {caret}")
    place = lines[-1][0] if lines else ""
    said = str(error) if isinstance(error, VcacheError) else _named(error)
    # An error of ours may begin with the place already.
    head = said if not place or said.startswith(f"{place}:") else f"{place}: {said}"
    if len(lines) < 2 and isinstance(error, VcacheError):
        return GraphError(head)
    body = "".join(f"\n  {where}, in {function}\n    {text}" for where, function, text in lines)
    return GraphError(f"{head}\n{what}:{body}" if body else f"{head} ({what})")


def _named(error: BaseException) -> str:
    words = str(error)
    name = type(error).__name__
    return f"{name}: {words}" if words else name


def _own_lines(trace: TracebackType | None, base: str) -> list[tuple[str, str, str]]:
    """Place, function and text of each of the user's own frames, the outermost first."""
    import linecache  # for who made an error

    found = []
    while trace is not None:
        code, line = trace.tb_frame.f_code, trace.tb_lineno
        if not code.co_filename.startswith((_OURS, *_MACHINERY)):
            text = linecache.getline(code.co_filename, line).strip()
            found.append((f"{shown_path(code.co_filename, base)}:{line}", code.co_name, text))
        trace = trace.tb_next
    return found
