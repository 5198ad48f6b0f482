"""Variables: texts with variables in them, scopes, rules, edges, and what a name means on an edge.

It follows src/eval_env.cc and `EdgeEnv` of src/graph.cc in ninja 1.13. It reads no files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from vcache.errors import GraphError

if TYPE_CHECKING:
    from vcache.dag.node import Node

__all__ = [
    "PHONY",
    "RESERVED",
    "Edge",
    "Expansion",
    "Paths",
    "Rule",
    "Scope",
    "Text",
    "canonical",
    "evaluate",
    "quoted",
]

Text: TypeAlias = str | tuple[str, ...]
"""A plain string, or literals and names of variables in turn, beginning and ending with a literal."""

RESERVED: Final = frozenset({
    "command", "depfile", "deps", "description", "dyndep", "generator", "msvc_deps_prefix", "pool",
    "restat", "rspfile", "rspfile_content",
})  # fmt: skip
"""The variables that a rule may set."""

SETTLING: Final = frozenset({"dyndep", "pool"})
"""The variables that an edge is asked for while the manifest is still being read."""

_PATH_LISTS: Final = frozenset({"in", "in_newline", "out"})
_SHELL_SAFE: Final = re.compile(r"[A-Za-z0-9_+./-]*")
_BINDING: Final = re.compile(r" +([a-zA-Z0-9_.-]++) *= *([^\r\n]*+)\r?\n")


def evaluate(text: Text, lookup: Callable[[str], str]) -> str:
    """A text with its variables replaced."""
    if isinstance(text, str):
        return text
    parts = list(text)
    parts[1::2] = map(lookup, text[1::2])
    return "".join(parts)


class Scope:
    """The variables and rules of a file, within those of the file that it was named in."""

    __slots__ = ("bindings", "is_settling", "parent", "rules")

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.bindings: dict[str, str] = {}
        self.rules: dict[str, Rule] = {}
        self.is_settling: bool = parent is not None and parent.is_settling
        """Whether one of `SETTLING` is set here or further out."""

    def bind(self, name: str, value: str) -> None:
        """Set a variable."""
        self.bindings[name] = value
        if name in SETTLING:
            self.is_settling = True

    def lookup(self, name: str) -> str:
        """A variable's value; "" for one that nobody set."""
        scope: Scope | None = self
        while scope is not None:
            value = scope.bindings.get(name)
            if value is not None:
                return value
            scope = scope.parent
        return ""

    def rule(self, name: str) -> Rule | None:
        """The rule of a name that is seen from here."""
        scope: Scope | None = self
        while scope is not None:
            rule = scope.rules.get(name)
            if rule is not None:
                return rule
            scope = scope.parent
        return None


class Rule:
    """A rule: its variables, evaluated for each edge anew."""

    __slots__ = ("bindings", "is_settling", "name")

    def __init__(self, name: str, bindings: dict[str, Text]) -> None:
        self.name = name
        self.bindings = bindings
        self.is_settling = not SETTLING.isdisjoint(bindings)
        """Whether it sets one of `SETTLING`."""


PHONY: Final = Rule("phony", {})


class Edge:
    """A build statement.

    Attributes:
        own: its variables, as lines that hold no "$", or as a mapping; None for no variables.
        file: the manifest it stands in, and `line` where.
        number: its place among all edges of the manifest.
        made: the node made of it.
    """

    __slots__ = (
        "after", "checks", "dyndep", "file", "hidden_ins", "hidden_outs", "ins", "line", "made", "number",
        "outs", "own", "pool", "rule", "scope",
    )  # fmt: skip

    def __init__(self, rule: Rule, scope: Scope, own: str | dict[str, str] | None) -> None:
        self.rule = rule
        self.scope = scope
        self.own = own
        self.file = ""
        self.line = self.number = 0
        self.outs: tuple[str, ...] = ()
        self.hidden_outs = 0
        self.ins: tuple[str, ...] = ()
        self.hidden_ins = 0
        self.after: tuple[str, ...] = ()
        self.checks: tuple[str, ...] = ()
        self.pool = ""
        self.dyndep = ""
        self.made: Node | None = None

    def bindings(self) -> dict[str, str] | None:
        """Its own variables; None when it has none, not even an empty list of them."""
        own = self.own
        if isinstance(own, str):
            own = self.own = dict(_BINDING.findall(own))
        return own

    def inputs(self) -> tuple[str, ...]:
        """All that must be there before it runs."""
        return self.ins + self.after if self.after else self.ins

    def shown_outs(self) -> tuple[str, ...]:
        """What `$out` stands for."""
        return self.outs[: len(self.outs) - self.hidden_outs]

    def shown_ins(self) -> tuple[str, ...]:
        """What `$in` stands for."""
        return self.ins[: len(self.ins) - self.hidden_ins]


class Expansion:
    """What names mean on an edge, with paths quoted for the shell or as they are."""

    __slots__ = ("_edge", "_is_inner", "_is_quoted", "_outer", "_own", "_trail")

    def __init__(self, edge: Edge, *, is_quoted: bool = True) -> None:
        own = edge.bindings()
        self._edge = edge
        self._is_quoted = is_quoted
        # An edge without variables looks at its file's before its rule's: so does ninja.
        self._own = edge.scope.bindings if own is None else own
        self._outer = edge.scope.parent if own is None else edge.scope
        self._trail: list[str] = []
        self._is_inner = False

    def lookup(self, name: str) -> str:
        """A variable's value; "" for one that nobody set.

        Raises:
            GraphError: the rule's variables need each other.
        """
        if name in _PATH_LISTS:
            return self._paths(name)
        value = self._own.get(name)
        if value is not None:
            return value
        text = self._edge.rule.bindings.get(name)
        if text is None:
            return "" if self._outer is None else self._outer.lookup(name)
        if isinstance(text, str):
            return text
        return self._recurse(name, text)

    def _recurse(self, name: str, text: tuple[str, ...]) -> str:
        """A rule's variable. The first one asked for is not part of a cycle's report: so does ninja."""
        trail = self._trail
        if name in trail:
            cycle = " -> ".join((*trail[trail.index(name) :], name))
            raise GraphError(f"cycle in rule variables: {cycle}")
        was_inner, self._is_inner = self._is_inner, True
        if was_inner:
            trail.append(name)
        value = evaluate(text, self.lookup)
        if was_inner:
            trail.pop()
        return value

    def _paths(self, name: str) -> str:
        edge = self._edge
        paths = edge.shown_outs() if name == "out" else edge.shown_ins()
        # "/" is safe in a shell, so one look at all paths tells whether any needs quotes.
        if self._is_quoted and not _SHELL_SAFE.fullmatch("/".join(paths)):
            paths = tuple(map(quoted, paths))
        return ("\n" if name == "in_newline" else " ").join(paths)


def quoted(path: str) -> str:
    """A path as ninja writes it into a shell line."""
    if _SHELL_SAFE.fullmatch(path):
        return path
    return "'" + path.replace("'", "'\\''") + "'"


def canonical(path: str) -> str:
    """A path without ".", "//" and, but for leading ones, ".."; "." for nothing left. No look at links."""
    kept: list[str] = []
    depth = 0
    for part in path.split("/"):
        if part == "..":
            if depth:
                depth -= 1
                kept.pop()
            else:
                kept.append(part)
        elif part and part != ".":
            depth += 1
            kept.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(kept) or "."


class Paths(dict[str, str]):
    """Paths as written ▷ canonical, one string object for each: later look-ups compare by identity."""

    __slots__ = ()

    def __missing__(self, path: str) -> str:
        if not path:
            return ""
        if path[0] == "." or path[-1] == "/" or "//" in path or "/." in path:
            clean = canonical(path)
            self[path] = clean = self.setdefault(clean, clean)
            return clean
        self[path] = path
        return path
