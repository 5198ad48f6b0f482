"""Depfiles: the Makefile rules in which compilers write down what they read, and MSVC's lines of it.

Source of the syntax: GNU make manual, "Rule Syntax", and the quoting of gcc's `mkdeps.cc`; of the
lines, ninja's manual, "Dependencies", and what its `clparser` passes over. It knows nothing of what
is done with the names.
"""

from __future__ import annotations

from typing import Final

from vcache.errors import UsageError

__all__ = ["SHOW_INCLUDES", "parse_depfile", "parse_show_includes"]

SHOW_INCLUDES: Final = "Note: including file:"
"""What a line of `cl /showIncludes` begins with, in English."""
_SOURCES: Final = (b".c", b".cc", b".cxx", b".cpp", b".c++")


def parse_depfile(text: str) -> tuple[str, ...]:
    """The prerequisites named in a depfile, in order, each once.

    The empty rules that `gcc -MP` adds for headers name no prerequisite and are passed over.

    Raises:
        UsageError: a line that is no rule: to pass it by would be to forget inputs.
    """
    found: dict[str, None] = {}
    for rule in _logical_lines(text):
        words = _words(rule)
        if words:
            found.update(dict.fromkeys(word for word in _prerequisites(words) if word != "|"))
    return tuple(found)


def parse_show_includes(data: bytes, prefix: str = SHOW_INCLUDES) -> tuple[tuple[str, ...], bytes]:
    """The files that `/showIncludes` lines name, in order, each once; and the output without these.

    The name of the source, which the compiler says first of all, is left out as well, as in ninja.
    """
    start = prefix.encode("utf-8", "surrogateescape")
    found: dict[str, None] = {}
    left: list[bytes] = []
    for line in data.splitlines(keepends=True):
        if line.startswith(start):
            name = line[len(start) :].strip(b" \t\r\n")
            if name:
                found[name.decode("utf-8", "surrogateescape")] = None
        elif found or not line.rstrip(b"\r\n").lower().endswith(_SOURCES):
            left.append(line)
    return tuple(found), b"".join(left)


def _logical_lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\\\n", " ").split("\n")


def _prerequisites(words: list[str]) -> list[str]:
    """What follows the targets. A colon ends them if a blank follows it: names may have colons."""
    for i, word in enumerate(words):
        if word.endswith(":"):
            return words[i + 1 :]
    target, colon, first = words[0].partition(":")
    if not (target and colon and first):
        raise UsageError(f"no rule of a depfile: {' '.join(words)!r:.80}; expected `target: inputs`")
    return [first, *words[1:]]


def _words(line: str) -> list[str]:
    """Split at blanks; a backslash before a blank, `#` or `:` quotes it, `$$` is a dollar."""
    if not any(sign in line for sign in "\\$#"):
        return [word for word in line.replace("\t", " ").split(" ") if word]  # a colon ends its word anyway
    words: list[str] = []
    parts: list[str] = []
    i = 0
    while i < len(line):
        here, following = line[i], line[i + 1 : i + 2]
        is_end = here == ":" and (not following or following in " \t")
        step = 1
        if here == "\\":
            part, behind = _unquoted(line, i)
            parts.append(part)
            step = behind - i
        elif here == "$" and following == "$":
            parts.append("$")
            step = 2
        elif here == "#" and not parts:
            break  # a comment
        elif here not in " \t":
            parts.append(here)
        if parts and (is_end or here in " \t"):
            words.append("".join(parts))
            parts = []
        i += step
    return [*words, "".join(parts)] if parts else words


def _unquoted(line: str, start: int) -> tuple[str, int]:
    """What a run of backslashes and the character behind it stand for, and where to go on.

    Before a blank, 2 N + 1 of them are N and the blank, and 2 N are N at the end of a name;
    elsewhere each stands for itself.
    """
    end = start
    while line[end : end + 1] == "\\":
        end += 1
    count, behind = end - start, line[end : end + 1]
    if behind and behind in " \t":
        return ("\\" * (count // 2) + behind, end + 1) if count % 2 else ("\\" * (count // 2), end)
    if behind and behind in "#:":
        return "\\" * (count - 1) + behind, end + 1
    return "\\" * count, end
