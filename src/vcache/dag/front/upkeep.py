"""Nodes that keep the log store of a build in order: `vcache logs seal` and `vcache logs gc`, as commands.

They run whenever they are wanted, and are wanted only by name. It knows the command line that it writes, and
nothing of logs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from vcache.dag.front.targets import Target
from vcache.dag.node import Command, Node
from vcache.errors import GraphError, UsageError
from vcache.kit.units import seconds, size_bytes

if TYPE_CHECKING:
    from vcache.dag.front.graph import PyGraph

__all__ = ["bounds_of", "logs_node"]

_ALWAYS: Final = "logs: always"
"""A phony name that no file has: what reads it is always out of date."""


def logs_node(
    graph: PyGraph, what: str, words: Iterable[str], *, name: str, place: str, tags: Iterable[str]
) -> Target:
    """The node of `vcache logs WHAT`.

    Raises:
        GraphError: there is one of that name.
    """
    if name in graph.functions:
        raise GraphError(f"{place}: {name!r} is there already: {graph.functions[name].place}")
    if _ALWAYS not in graph.nodes:
        graph.add(Node(name=_ALWAYS, outs=(_ALWAYS,), rule="phony", place=place), is_default=False)
    command = (sys.executable, "-m", "vcache", "logs", what, *words, *graph.log_words())
    node = Node(
        name=name, ins=(_ALWAYS,), work=Command(argv=command), rule=name, text=f"vcache logs {what}",
        is_kept=False, place=place,
    )  # fmt: skip
    graph.add(node, tags=tuple(tags), is_default=False)
    return Target(node)


def bounds_of(
    place: str, max_age: str | None, max_bytes: str | None, keep: Mapping[str, str]
) -> Iterator[str]:
    """The options that say what is kept, each checked.

    Raises:
        GraphError: one of them is no bound.
    """
    if max_age is not None:
        _check(place, f"max_age={max_age!r:.80}", max_age, "ages")
        yield from ("--max-age", max_age)
    if max_bytes is not None:
        _check(place, f"max_bytes={max_bytes!r:.80}", max_bytes, "sizes")
        yield from ("--max-bytes", max_bytes)
    if not isinstance(keep, Mapping):
        raise GraphError(f"{place}: keep={keep!r:.80}: give bounds by source, such as {{'gcc': '7d'}}")
    for pattern, bounds in keep.items():
        said = f"keep={{{pattern!r:.80}: {bounds!r:.80}}}"
        words = bounds.replace(",", " ").split() if isinstance(bounds, str) else []
        if not isinstance(pattern, str) or not pattern.strip() or not words:
            raise GraphError(f"{place}: {said}: give a source and its bounds, such as 'gcc': '7d,100MB'")
        for word in words:
            _check(place, said, word, "any")
        yield from ("--keep", f"{pattern}={bounds}")


def _check(place: str, said: str, word: object, kind: str) -> None:
    """Raises where a word is no bound of a kind."""
    if not isinstance(word, str):
        raise GraphError(f"{place}: {said}: give text, such as '30d' or '2GB'")
    if kind == "any" and word.isdecimal():
        return
    is_size = kind == "sizes" or (kind == "any" and word[-1:] in "bB")
    try:
        (size_bytes if is_size else seconds)(word)
    except UsageError as error:
        raise GraphError(f"{place}: {said}: {error}") from None
