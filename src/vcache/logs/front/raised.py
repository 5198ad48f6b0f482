"""Exceptions as fields: `error.type`, `error.message`, `error.stack`. It must not know who logs them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

    from vcache.query.syntax import Value

__all__ = ["error_fields", "raised_by"]

_MOST_CHARS: Final = 64 << 10  # a recursion that did not end has a stack of megabytes


def raised_by(said: object) -> BaseException | None:
    """The exception that somebody means: one, a triple of `sys.exc_info`, or True for the one at hand."""
    if isinstance(said, BaseException):
        return said
    if isinstance(said, tuple) and len(said) == 3 and isinstance(said[1], BaseException):
        return said[1]
    return sys.exc_info()[1] if said else None


def error_fields(error: BaseException, trace: TracebackType | None = None) -> dict[str, Value]:
    """What is known of an exception."""
    import traceback  # 8 ms, and no program raises before it runs

    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception:  # somebody's __str__
        message = f"<{name} that cannot be shown>"
    try:
        stack = "".join(traceback.format_exception(kind, error, trace or error.__traceback__))
    except Exception:  # as above, or a chain that is too deep
        stack = ""
    if len(stack) > _MOST_CHARS:
        half = _MOST_CHARS // 2
        stack = f"{stack[:half]}\n…\n{stack[-half:]}"
    return {"error.type": name, "error.message": message, "error.stack": stack}
