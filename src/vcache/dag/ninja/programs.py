"""The programs that a shell line starts, found by reading it. It runs nothing, and looks at no file.

A line that is not understood, down to its last word, gives no programs at all.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["programs"]

_PLAIN: Final = re.compile(r"[^\s'\"\\|&;<>()$`#*?\[\]{}~!=]+")
"""A word that the shell takes as it stands."""

_HARD: Final = re.compile(r"[|&;<>()`$\n#'\"\\]")
_TOKEN: Final = re.compile(
    r"(?P<SPACE>[ \t]+)"
    r"|(?P<JOIN>&&|\|\||;|\||\n)"
    r"|(?P<REDIRECT>[0-9]*(?:>>|>&|>\||<&|<|>))"
    r"|(?P<WORD>(?:[^\s'\"\\|&;<>()$`#]|(?<=\S)\#|'[^']*+'|\"(?:[^\"\\$`]|\\.)*+\"|\\.)++)",
    re.DOTALL,
)
_QUOTED: Final = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|\\(.)", re.DOTALL)
_SET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_BUILTIN: Final = frozenset({
    ":", "[", "cd", "command", "echo", "exit", "export", "false", "printf", "pwd", "set", "shift", "test", "true",
    "umask", "unset",
})  # fmt: skip
_LAUNCHERS: Final = frozenset(
    {"ccache", "command", "distcc", "env", "icecc", "nice", "nohup", "sccache", "time"}
)
"""Programs whose first argument is the program that matters."""

_GRAMMAR: Final = frozenset({
    "!", "{", "}", ".", "case", "do", "done", "elif", "else", "esac", "eval", "exec", "fi", "for",
    "function", "if", "in", "source", "then", "trap", "until", "wait", "while",
})  # fmt: skip
_SPECIAL: Final = _BUILTIN | _GRAMMAR | _LAUNCHERS


def programs(line: str) -> tuple[str, ...]:
    """The programs of a shell line, each once, in order; () where that cannot be told.

    One that the line names by a relative path after `cd` is given relative to where the line starts.
    """
    first = _PLAIN.match(line)
    if first and line.startswith(" ", first.end()) and not _HARD.search(line, first.end()):
        name = first.group()
        if name.rpartition("/")[2] not in _SPECIAL:
            return (name,)  # nine of ten lines: a compiler and its arguments
    commands = _commands(line)
    names: dict[str, None] = {}
    place = ""
    for words in commands or ():
        named = _named(words)
        if named is None:
            return ()
        for name in named:
            names[f"{place}/{name}" if place and "/" in name and name[0] != "/" else name] = None
        if words and words[0] == "cd":
            target = _plain(words[-1]) if len(words) == 2 else ""
            if not target:
                return ()
            place = target if target[0] == "/" or not place else f"{place}/{target}"
    return tuple(names)


def _named(words: list[str]) -> list[str] | None:
    """The programs that a simple command starts: one, or a launcher and what it launches."""
    names: list[str] = []
    for word in words:
        if _SET.match(word):
            continue
        name = _plain(word)
        if not name or name in _GRAMMAR or name[0] == "-":
            return None
        if name not in _BUILTIN:
            names.append(name)
        if name.rpartition("/")[2] not in _LAUNCHERS:
            return names
    return names


def _commands(line: str) -> list[list[str]] | None:
    """The words of each simple command, without redirections; None where the line is not understood."""
    commands: list[list[str]] = [[]]
    at, is_target = 0, False
    while at < len(line):
        found = _TOKEN.match(line, at)
        if found is None:
            return None
        at = found.end()
        kind = found.lastgroup
        if kind == "WORD" and is_target:
            is_target = False
        elif kind == "WORD":
            commands[-1].append(found.group())
        elif kind != "SPACE":
            if is_target:
                return None
            if kind == "JOIN":
                commands.append([])
            else:
                is_target = True
    return None if is_target else commands


def _plain(word: str) -> str:
    """A word without its quotes; "" for one that stands for something else."""
    if _PLAIN.fullmatch(word):
        return word
    bare = _QUOTED.sub("", word)
    if bare and not _PLAIN.fullmatch(bare):
        return ""
    return _QUOTED.sub(_unquoted, word)


def _unquoted(found: re.Match[str]) -> str:
    single, double, escaped = found.groups()
    if double is not None:
        return re.sub(r'\\(["\\$`])', r"\1", double)
    return single if single is not None else escaped
