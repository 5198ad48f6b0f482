"""Lines that belong together: tracebacks, stack traces, and what compilers say over several lines. Pure.

Only what may go on is held back; every other line passes at once, so that a live tail does not wait.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final

from vcache.kit.data import NamedTuple
from vcache.logs.receive.guess import bare

__all__ = ["Folder", "Group", "Kind"]

_LINES_MOST: Final = 2000
_CHARS_MOST: Final = 1 << 20
_LOOKED_AT: Final = 2000  # characters: nobody begins a trace further on


class Kind(Enum):
    """What a group of lines is."""

    PLAIN = 1
    PYTHON = 2
    STACK = 3  # of Java, JavaScript, C#
    GO = 4
    SAID = 5  # by a compiler or linker


class Group(NamedTuple):
    """Lines that belong together, without their line breaks."""

    kind: Kind
    lines: list[str]


_PYTHON: Final = "Traceback (most recent call last)"
_PYTHON_END: Final = re.compile(r"[\w.]+(?::|$)")
_PYTHON_AGAIN: Final = ("During handling of the above", "The above exception was the direct cause")
_THROWN: Final = re.compile(r"(?:Uncaught |Unhandled [\w ]{1,30}|Exception in thread [^\n]{1,200}? )?(?:[\w$]{1,100}\.){0,20}[\w$]{0,100}"
                            r"(?:Exception|Error|Throwable)\b")  # fmt: skip
_FRAME: Final = re.compile(r"\s+at |\s*\.\.\. \d+ (?:more|common)|Caused by: |\s+Suppressed: ")
_GO: Final = ("panic: ", "fatal error: ", "goroutine ")
_GO_FRAME: Final = re.compile(r"\t|goroutine |\[signal |created by |[\w./*-]+[\w.\[\]()*{}-]*\(.*\)$|$")
_SAID: Final = ("error:", "warning:", "note:", "error[", "warning[", "In file included from", ": In ", ": At ",
                "undefined reference", "multiple definition", "remark:")  # fmt: skip
_EXCERPT: Final = re.compile(r"\s+\S|\s*\d+ *\||>>> ")
_CARET: Final = re.compile(r"[\s~]*\^[\s~^]*$")


def _is_said(line: str) -> bool:
    return ":" in line and any(each in line for each in _SAID)


def _kind_of(line: str) -> Kind:
    """What begins with this line."""
    if _PYTHON in line:
        return Kind.PYTHON
    if line.startswith(_GO):
        return Kind.GO
    if _is_said(line):
        return Kind.SAID
    if ("Exception" in line or "Error" in line or "Throwable" in line) and _THROWN.match(line):
        return Kind.STACK
    return Kind.PLAIN


class Folder:
    """Lines ▷ groups. One thread at a time."""

    def __init__(self) -> None:
        self._kind = Kind.PLAIN
        self._held: list[str] = []
        self._chars = 0
        self._is_over = False  # it goes on only with certain lines: the last one may have been its end

    @property
    def holds(self) -> bool:
        """Whether a group has begun that is not whole: the next one that is given begins with it."""
        return bool(self._held)

    def feed(self, lines: Iterable[str]) -> list[Group]:
        """The groups that are whole with these lines."""
        found: list[Group] = []
        for line in lines:
            looked = line[:_LOOKED_AT]
            if "\x1b" in looked:
                looked = bare(looked)
            if self._held:
                if self._goes_on(looked):
                    self._hold(line, found)
                    continue
                found.append(self._taken())
            kind = _kind_of(looked)
            if kind is Kind.PLAIN:
                found.append(Group(kind, [line]))
            else:
                self._kind, self._is_over = kind, False
                self._hold(line, found)
        return found

    def flush(self) -> list[Group]:
        """What is held back."""
        return [self._taken()] if self._held else []

    def _hold(self, line: str, found: list[Group]) -> None:
        self._held.append(line)
        self._chars += len(line)
        if len(self._held) >= _LINES_MOST or self._chars >= _CHARS_MOST:
            found.append(self._taken())

    def _taken(self) -> Group:
        group = Group(self._kind, self._held)
        self._held, self._chars = [], 0
        return group

    def _goes_on(self, line: str) -> bool:
        return _RULES[self._kind](self, line)

    def _python(self, line: str) -> bool:
        if self._is_over:
            return not line or line.startswith(_PYTHON_AGAIN) or _PYTHON in line or self._again(line)
        if line[:1] in (" ", "\t", ""):
            return True
        self._is_over = True
        return _PYTHON_END.match(line) is not None

    def _again(self, line: str) -> bool:
        """Whether a second traceback is under way, after an empty line and its announcement."""
        if _PYTHON in self._held[-1]:
            self._is_over = False
            return self._python(line)
        return False

    def _stack(self, line: str) -> bool:
        return _FRAME.match(line) is not None

    def _go(self, line: str) -> bool:
        return _GO_FRAME.match(line) is not None

    def _said(self, line: str) -> bool:
        """Excerpts, further messages, and one line that is none: an excerpt of clang's, if a caret follows."""
        if _EXCERPT.match(line) or _is_said(line) or (self._is_over and _CARET.match(line)):
            self._is_over = False
            return True
        if self._is_over or not line:
            return False
        self._is_over = True
        return _kind_of(line) is Kind.PLAIN


_RULES: Final[Mapping[Kind, Callable[[Folder, str], bool]]] = {
    Kind.PYTHON: Folder._python, Kind.STACK: Folder._stack, Kind.GO: Folder._go, Kind.SAID: Folder._said,
}  # fmt: skip
