"""Depfiles: the Makefile rules in which compilers write down what they read.

Source of the syntax: GNU make manual, "Rule Syntax" and gcc's `mkdeps.cc` quoting. It knows
nothing of what is done with the names.
"""

from __future__ import annotations

__all__ = ["parse_depfile"]


def parse_depfile(text: str) -> tuple[str, ...]:
    """The prerequisites named in a depfile, in order, each once.

    The empty rules that `gcc -MP` adds for headers name no prerequisite and are passed over.
    """
    found: dict[str, None] = {}
    for rule in _logical_lines(text):
        words = _words(rule)
        targets = next((i for i, word in enumerate(words) if word.endswith(":")), None)
        if targets is not None:
            found.update(dict.fromkeys(word for word in words[targets + 1 :] if word != "|"))
    return tuple(found)


def _logical_lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\\\n", " ").split("\n")


def _words(line: str) -> list[str]:
    """Split at blanks; a backslash before a blank, `#` or `:` quotes it, `$$` is a dollar."""
    words: list[str] = []
    word, i = "", 0
    while i < len(line):
        here, following = line[i], line[i + 1 : i + 2]
        if here == "\\" and following in (" ", "#", ":", "\t") and following:
            word += following
            i += 2
        elif here == "$" and following == "$":
            word += "$"
            i += 2
        elif here == "#" and not word:
            break  # a comment
        elif here in " \t":
            words, word = _ended(words, word)
            i += 1
        elif here == ":" and (not following or following in " \t"):
            words, word = _ended(words, word + ":")
            i += 1
        else:
            word += here
            i += 1
    return _ended(words, word)[0]


def _ended(words: list[str], word: str) -> tuple[list[str], str]:
    return ([*words, word] if word else words), ""
