"""Nodes of ninja edges. What a node does is worked out when somebody asks: most builds ask for few."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, cast

from vcache.dag.ninja.programs import programs
from vcache.dag.ninja.scope import PHONY, Edge, Expansion
from vcache.dag.node import CONSOLE, Command, Node, Work
from vcache.errors import GraphError

__all__ = ["NinjaNode", "make_command", "make_node"]

_MSVC_PREFIX: Final = "Note: including file: "


class NinjaNode(Node):
    """A node whose `work` and `text` are made of its edge on first use.

    Reading them raises `GraphError` where the rule's variables are wrong.
    """

    __slots__ = ("edge",)

    edge: Edge

    @property
    def is_phony(self) -> bool:
        """Whether it has no work, asked without working it out."""
        return self.edge.rule is PHONY

    if not TYPE_CHECKING:  # a checker takes both for the fields that they are to every user

        @property
        def work(self) -> Work:
            """What it does."""
            work = _WORK.__get__(self)
            if work is _LATER:
                work = make_command(self.edge)
                _WORK.__set__(self, work)
            return work

        @work.setter
        def work(self, value: Work) -> None:
            _WORK.__set__(self, value)

        @property
        def text(self) -> str:
            """What is said when it runs."""
            text = _TEXT.__get__(self)
            if text is _LATER:
                text = Expansion(self.edge).lookup("description")
                _TEXT.__set__(self, text)
            return text

        @text.setter
        def text(self, value: str) -> None:
            _TEXT.__set__(self, value)


_WORK: Final = Node.__dict__["work"]
_TEXT: Final = Node.__dict__["text"]
_EDGE: Final = NinjaNode.__dict__["edge"]
_LATER: Final = object()


def make_node(edge: Edge, *, base: str, root: str) -> Node:
    """The node of an edge, as far as it costs nothing."""
    is_phony = edge.rule is PHONY
    expansion = Expansion(edge)
    is_generator = bool(expansion.lookup("generator"))
    node = NinjaNode(
        name=edge.outs[0],
        outs=edge.outs,
        hidden_outs=edge.hidden_outs,
        ins=edge.ins,
        hidden_ins=edge.hidden_ins,
        after=edge.after,
        checks=edge.checks,
        work=None if is_phony else cast("Work", _LATER),
        dyndep=edge.dyndep,
        pool=edge.pool,
        rule=edge.rule.name,
        text="" if is_phony else cast("str", _LATER),
        is_kept=not is_generator and edge.pool != CONSOLE and _are_inside(edge.outs, base, root),
        is_generator=is_generator,
        is_restat=bool(expansion.lookup("restat")),
        place=f"{edge.file}:{edge.line}",
        order=edge.number,
    )
    _EDGE.__set__(node, edge)
    return node


def make_command(edge: Edge) -> Command:
    """What an edge runs.

    Raises:
        GraphError: its variables need each other, or `deps` makes no sense.
    """
    quoted = Expansion(edge).lookup
    plain = Expansion(edge, is_quoted=False).lookup
    line = quoted("command")
    deps, depfile = quoted("deps"), plain("depfile")
    if deps not in {"", "gcc", "msvc"}:
        raise GraphError(f"{edge.file}:{edge.line}: unknown deps type '{deps}'")
    if deps == "gcc" and not depfile:
        raise GraphError(f"{edge.file}:{edge.line}: edge with deps=gcc but no depfile makes no sense")
    rspfile = plain("rspfile")
    return Command(
        shell=line,
        tools=programs(line),
        depfile=depfile,
        deps=cast("Literal['', 'gcc', 'msvc']", deps),
        msvc_prefix=(quoted("msvc_deps_prefix") or _MSVC_PREFIX) if deps == "msvc" else "",
        rspfile=rspfile,
        rsp_content=quoted("rspfile_content") if rspfile else "",
    )


def _are_inside(outs: tuple[str, ...], base: str, root: str) -> bool:
    """Whether all outputs lie below the project's root."""
    for path in outs:
        if path[0] == "/" or path.startswith(".."):
            place = os.path.normpath(os.path.join(base, path))
            if not place.startswith(root if root.endswith("/") else root + "/"):
                return False
    return True
