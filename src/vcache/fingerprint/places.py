"""The two faces of a path: the absolute one to look at, and the portable name to remember.

Names are relative to the project root, with `/`, so that two checkouts agree; what lies outside
keeps its absolute path.
"""

from __future__ import annotations

import os
from typing import Final

from vcache.fingerprint.globs import escape, split

__all__ = ["Places"]

_MEMO_MAX: Final = 1 << 16


class Places:
    """Turns paths into names below a root, and back.

    Args:
        root: the project root.
        base: where relative paths start; None for the current directory at each call, which is
            what `open` does.

    Threads: any number.
    """

    __slots__ = ("_base", "_memo", "_prefix", "_prefixes")

    def __init__(self, root: str | os.PathLike[str], *, base: str | os.PathLike[str] | None = None) -> None:
        given = os.path.join(os.path.abspath(root), "")
        real = os.path.join(os.path.realpath(root), "")
        self._prefix = given
        # The current directory is always the real one, also where the root was given through a link.
        self._prefixes = (given, real) if given != real else (given,)
        self._base = None if base is None else os.path.abspath(base)
        self._memo: dict[tuple[str, str], tuple[str, str]] = {}

    def place(self, path: str) -> tuple[str, str]:
        """The absolute path and the name of a path as a user gave it."""
        base = self._base or ("" if path[:1] == "/" else os.getcwd())
        known = self._memo.get((base, path))
        if known is not None:
            return known
        full = os.path.join(base, path)
        if ".." in path.split("/"):
            # `link/..` is not where it looks, and may be elsewhere tomorrow: never remembered.
            full = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
            return self._placed(full)
        if len(self._memo) >= _MEMO_MAX:
            self._memo.clear()
        placed = self._memo[base, path] = self._placed(full)
        return placed

    def place_pattern(self, pattern: str) -> str:
        """The name of a pattern: itself a pattern, relative to the root where it lies below."""
        start, parts = split(pattern)
        name = self.place(start or ".")[1]
        if not parts:
            return escape(name)
        if name == ".":
            return "/".join(parts)
        return "/".join((escape(name).rstrip("/"), *parts))

    def full(self, name: str) -> str:
        """The absolute path of a name."""
        return name if name[:1] == "/" else self._prefix + name

    def name(self, full: str) -> str:
        """The name of an absolute, normalised path."""
        for prefix in self._prefixes:
            if full.startswith(prefix):
                return full[len(prefix) :] or "."
            if full == prefix[:-1]:
                return "."
        return full

    def _placed(self, joined: str) -> tuple[str, str]:
        full = os.path.normpath(joined)
        if full.startswith("//"):  # POSIX lets two slashes mean something else; no system here does
            full = full[1:]
        return full, self.name(full)
