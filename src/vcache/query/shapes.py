"""The shape of a message: what varies from time to time is taken out, so that equal ones are of one kind.

    src/a.c:12:5: unused variable 'x1'      <path.c>:<n>:<n>: unused variable <str>
    GET /item/4711 HTTP/1.1 200 in 3.5 ms   GET <path> HTTP/<n> <n> in <n> ms

Pure, and the same everywhere: `SHAPES` changes whenever the shape of any message does.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SHAPED_CHARS", "SHAPES", "shape"]

SHAPES: Final = 1
"""The version of what `shape` gives."""
SHAPED_CHARS: Final = 2_000
"""The shape of a message is that of its first so many characters."""

_PART: Final = re.compile(r"\d+")


def shape(message: str) -> str:
    """The message with placeholders for what varies."""
    return _PART.sub("<n>", message[:SHAPED_CHARS])
