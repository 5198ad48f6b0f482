"""The graph of a ninja manifest: what the runner, the tools and the command line ask of it.

It reads manifests and dyndep files, and looks at no other file.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vcache.dag.ninja.manifest import Manifest, read_text
from vcache.dag.ninja.nodes import make_node
from vcache.dag.ninja.parser import parse
from vcache.dag.ninja.project import project_root
from vcache.dag.ninja.scope import Edge, Expansion, Rule
from vcache.dag.ninja.targets import consumers_of, named, require_no_cycle, roots
from vcache.errors import UsageError

if TYPE_CHECKING:
    from vcache.dag.node import Graph, Node, Pool

__all__ = ["NinjaGraph", "load"]


def load(file: str, *, base: str, root: str = "", is_phonycycle_error: bool = False) -> NinjaGraph:
    """The graph of a manifest.

    Args:
        file: the manifest, relative to `base`.
        base: the absolute directory that paths are relative to.
        root: the top of the project; "" to find it (`project_root`).
        is_phonycycle_error: a phony edge that needs itself is a fault, when wanted, and not mended.

    Raises:
        GraphError: it cannot be read or is wrong. The message is what ninja 1.13 writes behind
            "ninja: error: ", or "ninja: fatal: " for a wrong version and variables that need each other.
    """
    manifest = parse(file, base, is_phonycycle_error=is_phonycycle_error)
    return NinjaGraph(manifest, root=root or project_root(base))


class NinjaGraph:
    """A manifest as a graph. Nodes are made when asked for, and stay the same objects.

    Attributes:
        base: the absolute directory that paths are relative to.
        root: the top of the project.
        files: every manifest file that was read, as named; the first is the manifest itself.
        warnings: what ninja would warn of.
    """

    def __init__(self, manifest: Manifest, *, root: str) -> None:
        self.base = manifest.base
        self.root = root
        self.files = tuple(manifest.files)
        self.warnings = tuple(manifest.warnings)
        self._manifest = manifest
        self._consumers: dict[str, list[Edge]] | None = None
        self._sorted_outs: list[str] | None = None
        self._read_dyndeps: set[str] = set()

    # --- what a runner asks

    @property
    def pools(self) -> Mapping[str, Pool]:
        """By name; "console" is always there."""
        return self._manifest.pools

    @property
    def nodes(self) -> list[Node]:
        """All nodes, in the manifest's order."""
        return [self._node(edge) for edge in self._manifest.edges]

    def producer(self, path: str) -> Node | None:
        """The node that makes a canonical path; None for a source."""
        edge = self._manifest.producers.get(path)
        return None if edge is None else self._node(edge)

    def producers(self, path: str) -> tuple[Node, ...]:
        """The nodes that make files below a directory path (ending with "/")."""
        if self._sorted_outs is None:
            self._sorted_outs = sorted(self._manifest.producers)
        outs = self._sorted_outs
        found: dict[Node, None] = {}
        for out in outs[bisect_left(outs, path) :]:
            if not out.startswith(path):
                break
            found[self._node(self._manifest.producers[out])] = None
        return tuple(found)

    def with_dyndep(self, node: Node) -> Node:
        """The node completed by its dyndep file, which exists; the file's other nodes are completed too.

        Raises:
            GraphError: the file is wrong, or makes a cycle or a second producer.
        """
        edge = self._edge(node)
        if edge.dyndep and edge.dyndep not in self._read_dyndeps:
            self._read_dyndep(edge.dyndep)
        return self._node(edge)

    # --- what tools and the command line ask

    @property
    def defaults(self) -> tuple[str, ...]:
        """What `default` statements name."""
        return tuple(self._manifest.defaults)

    @property
    def variables(self) -> Mapping[str, str]:
        """The manifest's own variables, such as builddir and ninja_required_version."""
        return self._manifest.scope.bindings

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The rules of the manifest's outermost scope, "phony" among them."""
        return self._manifest.scope.rules

    def targets(
        self, words: Sequence[str], *, reader: Callable[[str], str] = lambda path: ""
    ) -> list[Node | str]:
        """What words of a command line stand for, as `named` has it, fit to be made.

        Raises:
            GraphError: no statement names one, or a node that is wanted needs itself.
        """
        wanted = self.named(words, reader=reader)
        edges = [self._edge(found) for found in wanted if not isinstance(found, str)]
        require_no_cycle(edges, self._manifest.producers)
        return wanted

    def named(
        self, words: Sequence[str], *, reader: Callable[[str], str] = lambda path: ""
    ) -> list[Node | str]:
        """What words of a command line stand for: nodes, and paths of sources; each once.

        Args:
            words: paths, or `path^` for the first output made from a path; none for the defaults, or,
                without any, for every output that nothing needs.
            reader: gives an output whose making was seen to read a path, "" for none: a header may be
                known by that though no statement names it.

        Raises:
            GraphError: no statement names one.
        """
        manifest = self._manifest
        if words:
            paths = [named(word, manifest, consumers=self._consuming, reader=reader) for word in words]
        else:
            paths = manifest.defaults or self.roots()
        wanted = dict.fromkeys(manifest.producers.get(path, path) for path in paths)
        return [self._node(found) if isinstance(found, Edge) else found for found in wanted]

    def roots(self) -> list[str]:
        """The outputs that nothing needs.

        Raises:
            GraphError: everything is needed by something.
        """
        return roots(self._manifest)

    def consumers(self, path: str) -> tuple[Node, ...]:
        """The nodes that need a canonical path, in the manifest's order; without those it is a check of."""
        return tuple(map(self._node, dict.fromkeys(self._consuming().get(path, ()))))

    def binding(self, node: Node, name: str) -> str:
        """A variable as the node's rule or statement sets it; "" for one that is not set.

        Raises:
            GraphError: the rule's variables need each other.
        """
        return Expansion(self._edge(node)).lookup(name)

    def command_line(self, node: Node) -> str:
        """The shell line that the node runs; "" for a phony one.

        Raises:
            GraphError: the rule's variables need each other.
        """
        return self.binding(node, "command")

    # --- inside

    def _node(self, edge: Edge) -> Node:
        if edge.made is None:
            edge.made = make_node(edge, base=self.base, root=self.root)
        return edge.made

    def _edge(self, node: Node) -> Edge:
        # By name: a copy that somebody altered stands for the same statement.
        edge = self._manifest.producers.get(node.name)
        if edge is None:
            raise UsageError(f"{node!r} is not of this graph; pass a node that it gave")
        return edge

    def _consuming(self) -> dict[str, list[Edge]]:
        if self._consumers is None:
            self._consumers = consumers_of(self._manifest.edges)
        return self._consumers

    def _read_dyndep(self, name: str) -> None:
        """Complete every edge that names a dyndep file. Nothing changes if the file is wrong."""
        from vcache.dag.ninja.dyndep import complete, parse_dyndep  # few manifests have any

        manifest = self._manifest
        found = parse_dyndep(
            name, read_text(self.base, name), producers=manifest.producers, paths=manifest.paths
        )
        concerned = [edge for edge in dict.fromkeys(self._consuming().get(name, ())) if edge.dyndep == name]
        complete(name, concerned, found, manifest.producers)
        self._read_dyndeps.add(name)
        self._consumers = self._sorted_outs = None
        require_no_cycle(concerned, manifest.producers)


if TYPE_CHECKING:

    def _is_graph(graph: NinjaGraph) -> Graph:
        return graph
