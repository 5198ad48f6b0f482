"""Which nodes of a tree warned when they were made, so that their warnings stand until they are made anew.

`<base>/.vcache/said`: the line `vcache said 1 N`, where N is the sum, then for each node that warned a
line of how often, the digest of its output in hex, the run that wrote it (or nothing), and its name,
tabs between them. A cache: without it, warnings of earlier runs are not counted. `vcache.dag.frozen`
reads the first line by itself. It must not know what a warning is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from vcache.dag.frozen import DIRECTORY, SAID
from vcache.kit.data import NamedTuple

__all__ = ["Said", "load", "save"]

_DIGITS_MOST: Final = 9


class Said(NamedTuple):
    """What a node said when it was made.

    Attributes:
        warnings: how many.
        log: the digest of all that it wrote, in hex.
        origin: the run that wrote it; "" when unknown.
    """

    warnings: int
    log: str
    origin: str = ""


def load(base: str) -> dict[str, Said]:
    """The nodes that warned, by name. What cannot be read is left out."""
    try:
        with open(_path(base), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            if not file.readline().startswith(SAID):
                return {}
            text = file.read()
    except OSError:
        return {}
    found: dict[str, Said] = {}
    for line in text.split("\n"):
        count, log, origin, name = (*line.split("\t", 3), "", "", "")[:4]
        if name and count.isdecimal() and len(count) <= _DIGITS_MOST:
            found[name] = Said(int(count), log, origin)
    return found


def save(base: str, said: Mapping[str, Said]) -> None:
    """Remember these nodes, and no others.

    Raises:
        OSError: it cannot be written.
    """
    from vcache.kit.fs_atomic import write_atomic

    lines = [
        f"{each.warnings}\t{each.log}\t{each.origin}\t{name}\n"
        for name, each in said.items()
        if "\n" not in name
    ]
    if not lines:
        with suppress(FileNotFoundError):
            os.unlink(_path(base))
        return
    total = sum(each.warnings for name, each in said.items() if "\n" not in name)
    text = f"{SAID} {total}\n{''.join(lines)}"
    write_atomic(_path(base), text.encode("utf-8", "surrogateescape"))


def _path(base: str) -> str:
    return os.path.join(base, DIRECTORY, "said")
