"""Response files: `@name` on a command line stands for the words in that file.

Source of the syntax: libiberty's `buildargv` and `expandargv`, which gcc and clang use. It opens no
file: its caller brings a reader.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

__all__ = ["Reader", "expand", "split_response"]

Reader = Callable[[str], bytes | None]
"""The content of a file by its name on the command line; None when it cannot be read."""

_MOST_FILES: Final = 10


def expand(words: tuple[str, ...], read: Reader, seen: list[str]) -> list[str] | None:
    """All words, with those of response files in place; None for too many, such as one that names itself.

    As for the compiler, `@name` of no file is a word.

    Args:
        seen: gets the names of the response files.
    """
    found: list[str] = []
    todo = list(reversed(words))
    while todo:
        word = todo.pop()
        content = read(word[1:]) if word[:1] == "@" else None
        if content is None:
            found.append(word)
            continue
        seen.append(word[1:])
        if len(seen) > _MOST_FILES:
            return None
        todo += reversed(split_response(os.fsdecode(content)))
    return found


def split_response(text: str) -> list[str]:
    """The words of a response file, by the quoting of libiberty's `buildargv`.

    Blanks part words; quotes of either kind keep them together, and a backslash quotes any character,
    also within quotes.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    rest = iter(text)
    for here in rest:
        if quote and here == quote:
            quote = ""
        elif not quote and here in "\"'":
            quote = here
            word = word or []
        elif not quote and here.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = [] if word is None else word
            word.append(next(rest, "") if here == "\\" else here)
    return words if word is None else [*words, "".join(word)]
