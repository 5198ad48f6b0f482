"""Dyndep files: inputs and outputs that only a build step could tell, read as ninja 1.13 reads them.

It follows src/dyndep_parser.cc. It changes no graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from vcache.dag.ninja.lexer import Lexer, Token
from vcache.dag.ninja.manifest import version_of
from vcache.dag.ninja.scope import Edge, Paths, Scope, Text, evaluate
from vcache.errors import GraphError
from vcache.kit.data import dataclass

__all__ = ["Discovered", "complete", "parse_dyndep"]

_VERSION: Final = "ninja_dyndep_version"


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a dyndep file says of one edge."""

    outs: tuple[str, ...]
    ins: tuple[str, ...]
    is_restat: bool


def parse_dyndep(
    name: str, text: str, *, producers: Mapping[str, Edge], paths: Paths
) -> dict[Edge, Discovered]:
    """What a dyndep file says, by edge.

    Args:
        text: ended by a NUL.

    Raises:
        GraphError: it is wrong; the message is ninja's.
    """
    return _Dyndep(Lexer(name, text), producers, paths).read()


class _Dyndep:
    """One file on its way."""

    def __init__(self, lexer: Lexer, producers: Mapping[str, Edge], paths: Paths) -> None:
        self._lexer = lexer
        self._producers = producers
        self._paths = paths
        self._scope = Scope()
        self._found: dict[Edge, Discovered] = {}

    def read(self) -> dict[Edge, Discovered]:
        lexer = self._lexer
        has_version = False
        while (token := lexer.read()) is not Token.END:
            if token is Token.BUILD:
                if not has_version:
                    lexer.fail(f"expected '{_VERSION} = ...'")
                self._edge()
            elif token is Token.IDENT and not has_version:
                lexer.unread()
                self._version()
                has_version = True
            elif token is Token.ERROR:
                lexer.fail_lexing()
            elif token is not Token.NEWLINE:
                lexer.fail(f"unexpected {token.value}")
        if not has_version:
            lexer.fail(f"expected '{_VERSION} = ...'")
        return self._found

    def _let(self) -> tuple[str, str]:
        name = self._lexer.ident() or self._lexer.fail("expected variable name")
        self._lexer.expect(Token.EQUALS)
        return name, evaluate(self._lexer.value(), self._scope.lookup)

    def _version(self) -> None:
        name, value = self._let()
        if name != _VERSION:
            self._lexer.fail(f"expected '{_VERSION} = ...'")
        if version_of(value) != (1, 0):
            self._lexer.fail(f"unsupported '{_VERSION} = {value}'")

    def _edge(self) -> None:
        lexer = self._lexer
        edge = self._known_edge()
        if lexer.path():
            lexer.fail("explicit outputs not supported")
        outs = lexer.paths() if lexer.take(Token.PIPE) else []
        lexer.expect(Token.COLON)
        if lexer.ident() != "dyndep":
            lexer.fail("expected build command name 'dyndep'")
        if lexer.path():
            lexer.fail("explicit inputs not supported")
        ins = lexer.paths() if lexer.take(Token.PIPE) else []
        if lexer.take(Token.PIPE2):
            lexer.fail("order-only inputs not supported")
        lexer.expect(Token.NEWLINE)
        is_restat = False
        if lexer.take(Token.INDENT):
            name, value = self._let()
            if name != "restat":
                lexer.fail("binding is not 'restat'")
            is_restat = bool(value)
        self._found[edge] = Discovered(ins=self._clean(ins), outs=self._clean(outs), is_restat=is_restat)

    def _known_edge(self) -> Edge:
        """The edge that a statement speaks of."""
        lexer = self._lexer
        text = lexer.path() or lexer.fail("expected path")
        (path,) = self._clean([text])
        edge = self._producers.get(path) or lexer.fail(f"no build statement exists for '{path}'")
        if edge in self._found:
            lexer.fail(f"multiple statements for '{path}'")
        # At once: the next statement may speak of the same edge by another output.
        self._found[edge] = Discovered((), (), is_restat=False)
        return edge

    def _clean(self, texts: list[Text]) -> tuple[str, ...]:
        paths = tuple(self._paths[evaluate(text, self._scope.lookup)] for text in texts)
        if "" in paths:
            self._lexer.fail("empty path")
        return paths


def complete(
    name: str, concerned: Sequence[Edge], found: Mapping[Edge, Discovered], producers: dict[str, Edge]
) -> None:
    """Add what a dyndep file says to the edges that name it.

    Raises:
        GraphError: it leaves one out, speaks of others, or makes a second producer. Nothing changes then.
    """
    for edge in concerned:
        if edge not in found:
            raise GraphError(f"'{edge.outs[0]}' not mentioned in its dyndep file '{name}'")
    for edge in found:
        if edge not in concerned:
            raise GraphError(
                f"dyndep file '{name}' mentions output '{edge.outs[0]}' whose build statement does not have "
                "a dyndep binding for the file"
            )
    made: dict[str, Edge] = {}
    for edge in concerned:
        for path in found[edge].outs:
            if path in producers or path in made:
                raise GraphError(f"multiple rules generate {path}")
            made[path] = edge
    producers.update(made)
    for edge in concerned:
        _add(edge, found[edge])


def _add(edge: Edge, more: Discovered) -> None:
    edge.outs += more.outs
    edge.hidden_outs += len(more.outs)
    edge.ins += more.ins
    edge.hidden_ins += len(more.ins)
    if more.is_restat:
        own = edge.bindings()
        # An edge without variables of its own looks at its file's first, and must go on to do so.
        edge.own = {**(edge.scope.bindings if own is None else own), "restat": "1"}
    edge.made = None
