"""What earlier runs left, as ninja's tools ask for it: discovered inputs, and outputs of old manifests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vcache.dag.stored import StoredGraph
from vcache.dag.tree import GRAPH, Tree
from vcache.errors import DecodeError
from vcache.fingerprint.digests import FileDigests

if TYPE_CHECKING:
    from vcache.dag.ninja.load import NinjaGraph
    from vcache.dag.node import Node

__all__ = ["found_by", "open_tree", "outs_before"]


def open_tree(graph: NinjaGraph) -> Tree:
    """What is remembered of a graph's base, to be read."""
    return Tree.open(graph.base, root=graph.root, digests=FileDigests(graph.root))


def found_by(graph: NinjaGraph, tree: Tree) -> Callable[[Node], list[str] | None]:
    """What gives the files that a node's last run here discovered, named as the manifest names files.

    None for a node that discovers none, or has not run.
    """

    def found(node: Node) -> list[str] | None:
        made = tree.last(node.name)
        if made is None or not (graph.binding(node, "deps") or graph.binding(node, "depfile")):
            return None
        names = (dep.name for dep in made.found if dep.kind == "file")
        found = (_named(os.path.join(graph.root, name), graph.base, graph.root) for name in names)
        # A depfile names the source too, which is no discovery here.
        return list(dict.fromkeys((*node.ins[: len(node.ins) - node.hidden_ins], *found)))

    return found


def _named(path: str, base: str, root: str) -> str:
    """A path of the project relative to the base; any other stays absolute."""
    is_inside = path.startswith(os.path.join(root, ""))
    return os.path.relpath(path, base) if is_inside else path


def outs_before(tree: Tree) -> Iterator[str]:
    """The outputs of all commands of the last run's manifest, which may have changed since."""
    # `Tree.graph` gives a manifest only while it holds; what it once made is asked for afterwards.
    section = tree._sections(GRAPH)
    known = None if section is None else section("id")
    if section is None or known is None or bytes(known) != tree._graph_id:
        return
    try:
        stored = StoredGraph("", section, tree)
    except (DecodeError, ValueError, KeyError):
        return
    for number in range(len(stored)):
        if not stored.is_phony(number):
            yield from (os.fsdecode(tree.things.paths[thing]) for thing in stored.lists(number)[0])
