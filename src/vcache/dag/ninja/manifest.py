"""What a manifest says, all files of it together, and which version of ninja's language it wants."""

from __future__ import annotations

import os
import re
from typing import Final

from vcache.dag.ninja.scope import PHONY, Edge, Paths, Scope
from vcache.dag.node import CONSOLE, Pool
from vcache.errors import GraphError

__all__ = ["NINJA_VERSION", "Manifest", "check_version", "leading_number", "read_text", "version_of"]

NINJA_VERSION: Final = "1.13.2"
"""The ninja whose language this is."""

_WHOLE_NUMBER: Final = re.compile(r"\s*([+-]?\d+)", re.ASCII)


class Manifest:
    """All that a manifest and the files it includes say."""

    __slots__ = (
        "base", "defaults", "edges", "files", "is_phonycycle_error", "mended", "paths", "pools", "producers", "scope",
        "warnings",
    )  # fmt: skip

    def __init__(self, base: str, *, is_phonycycle_error: bool = False) -> None:
        self.base = base
        self.is_phonycycle_error = is_phonycycle_error
        self.scope = Scope()
        self.scope.rules["phony"] = PHONY
        self.pools = {CONSOLE: Pool(CONSOLE, slots=1)}
        self.edges: list[Edge] = []
        self.producers: dict[str, Edge] = {}
        self.defaults: list[str] = []
        self.files: list[str] = []
        self.mended: list[str] = []
        """Phony outputs that needed themselves. They count as needed: so does ninja."""
        self.warnings: list[str] = []
        self.paths = Paths()

    def knows(self, path: str) -> bool:
        """Whether any statement names a path."""
        if path in self.producers:
            return True
        return any(path in edge.ins or path in edge.after or path in edge.checks for edge in self.edges)


def read_text(base: str, name: str) -> str:
    """A file's text, ended by one NUL. Bytes that are no UTF-8 come back as they were when encoded.

    Raises:
        GraphError: it cannot be read.
    """
    try:
        # Joined to nothing, the base would be opened instead.
        with open(name and os.path.join(base, name), "rb") as file:
            raw = file.read()
    except OSError as error:
        raise GraphError(f"loading '{name}': {os.strerror(error.errno or 0)}") from error
    # ninja takes the first NUL for the end.
    return raw.decode("utf-8", "surrogateescape").partition("\0")[0] + "\0"


def check_version(wanted: str) -> tuple[str, ...]:
    """Warnings about a manifest's `ninja_required_version`.

    Raises:
        GraphError: it is newer than the language known here.
    """
    ours, theirs = version_of(NINJA_VERSION), version_of(wanted)
    if ours < theirs:
        raise GraphError(
            f"ninja version ({NINJA_VERSION}) incompatible with build file "
            f"ninja_required_version version ({wanted})."
        )
    if ours[0] == theirs[0]:
        return ()
    warning = (
        f"ninja executable version ({NINJA_VERSION}) greater than build file ninja_required_version "
        f"({wanted}); versions may be incompatible."
    )
    return (warning,)


def version_of(text: str) -> tuple[int, int]:
    """The major and minor number of a version, as far as they are numbers."""
    major, _, rest = text.partition(".")
    return leading_number(major), leading_number(rest)


def leading_number(text: str) -> int:
    """What C's `atoi` makes of a text."""
    found = _WHOLE_NUMBER.match(text)
    return int(found.group(1)) if found else 0
