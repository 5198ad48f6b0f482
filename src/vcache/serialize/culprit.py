"""Which part of a value could not be stored: the path to it, for the error's reader.

It is run after a failure only, so it may be slow: it tries the parts one by one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from vcache.errors import EncodeError
from vcache.serialize.writing import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["located"]

_MAX_STEPS: Final = 100


def located(error: EncodeError, value: object) -> EncodeError:
    """The error, with the path to the part that it is about in front."""
    path = "value"
    for _ in range(_MAX_STEPS):
        found = next(((p, v, e) for p, v in _parts(path, value) if (e := _refusal(v)) is not None), None)
        if found is None:
            break
        path, value, error = found
    return EncodeError(f"{path}: {error}")


def _refusal(value: object) -> EncodeError | None:
    try:
        encode(value)
    except EncodeError as error:
        return error
    return None


def _parts(path: str, value: object) -> Iterator[tuple[str, object]]:
    """The parts of a value with the path of each, as one would write it in Python."""
    if isinstance(value, dict):
        yield from ((f"{path}[{key!r:.80}]", item) for key, item in value.items())
        yield from ((f"{path}, key {key!r:.80}", key) for key in value)
    elif isinstance(value, (list, tuple, deque)):
        yield from ((f"{path}[{at}]", item) for at, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"{path}, item {item!r:.80}", item) for item in value)
    elif declared := getattr(type(value), "__dataclass_fields__", None):
        for name in {**declared, **getattr(value, "__dict__", {})}:
            if hasattr(value, name):
                yield f"{path}.{name}", getattr(value, name)
