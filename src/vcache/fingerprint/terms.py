"""The grammar of canonical bytes: tagged, length-prefixed terms, and the names of classes in them.

It does not know which values there are: that is for who encodes them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final, Protocol

from vcache.hash import Hasher, digest

__all__ = ["Encoding", "Unfit", "class_name", "frame", "join", "module_name", "seal", "state"]

VERSION: Final = b"\x01"
"""Raised whenever the bytes of any value change, so that old keys miss instead of lying."""

# A longer leaf goes in by digest: a container must not copy megabytes to be sorted.
_INLINE_BYTES: Final = 1024
_SEAL_BYTES: Final = 32


class Encoding(Protocol):
    """One encoding under way, as the encoder of a part sees it."""

    def encode(self, value: object, /) -> bytes:
        """The canonical bytes of a part."""

    def unknown(self, value: object, /) -> bytes:
        """What stands for a part that turns out to have none."""


class Unfit(Exception):
    """A part of a value that has no canonical bytes, and the path to it."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason
        self.path: list[str] = []

    def below(self, step: str) -> Unfit:
        """The same failure, seen from one container further out."""
        self.path.insert(0, step)
        return self


def frame(tag: bytes, payload: bytes) -> bytes:
    """A tagged, length-prefixed term; a long payload goes in by its digest."""
    if len(payload) > _INLINE_BYTES:
        return tag + b"#" + digest(payload)
    return b"%b%d:%b" % (tag, len(payload), payload)


def join(tag: bytes, parts: Iterable[bytes]) -> bytes:
    """A term of terms, whose number is part of it."""
    items = list(parts)
    return frame(tag, b"%d," % len(items) + b"".join(items))


def seal(raw: bytes) -> bytes:
    """The identity that canonical bytes stand for: themselves if under 32 bytes, else their BLAKE3.

    The length tells the two apart, so that no value can pose as another one's digest.
    """
    raw = VERSION + raw
    return raw if len(raw) < _SEAL_BYTES else bytes(Hasher(raw).digest())


def module_name(name: str) -> str:
    """A module's name that is the same whether it runs as a script or is imported.

    `python build.py` and the workers it spawns call the module `__main__` and
    `__mp_main__`; both are `build` here.
    """
    if name not in ("__main__", "__mp_main__"):
        return name
    main = sys.modules.get(name) or sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in ("__main__", "__mp_main__"):
        return str(spec.name)
    path = getattr(main, "__file__", None)
    return "__main__" if path is None else path.rpartition("/")[2].removesuffix(".py")


def class_name(cls: type) -> str:
    """`module:qualname` of a class."""
    return f"{module_name(cls.__module__)}:{cls.__qualname__}"


def state(value: object) -> dict[str, object]:
    """The instance attributes of an object, of its dict and of its slots."""
    found: dict[str, object] = {}
    for cls in reversed(type(value).__mro__):
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = f"_{cls.__name__.lstrip('_')}{name}" if name[:2] == "__" != name[-2:] else name
            if mangled not in ("__dict__", "__weakref__") and hasattr(value, mangled):
                found[mangled] = getattr(value, mangled)
    found.update(getattr(value, "__dict__", {}))
    return found
