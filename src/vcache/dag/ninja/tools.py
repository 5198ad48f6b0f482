"""What ninja's tools (`-t`) tell about a manifest: lines, as ninja 1.13 writes them.

They read the graph. What touches files is in `cleaning`, what earlier runs left in `remembered`, and the
words of the command line are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vcache.dag.ninja.scope import canonical, quoted
from vcache.errors import GraphError

if TYPE_CHECKING:
    from vcache.dag.ninja.load import NinjaGraph
    from vcache.dag.node import Node

__all__ = [
    "all_targets",
    "chain",
    "commands",
    "complete",
    "discovered",
    "dot",
    "escaped",
    "inputs_of",
    "missing_deps",
    "needs",
    "paths_of",
    "query",
    "rules",
    "sources",
    "targets_by_depth",
    "targets_of_rule",
    "uses",
]

_PHONY = "phony"


def paths_of(graph: NinjaGraph, words: Sequence[str]) -> list[str]:
    """The paths that words stand for; the defaults for no words.

    Raises:
        GraphError: no statement names one.
    """
    if not words:
        return list(graph.defaults) or graph.roots()
    found = []
    for word in words:
        (target,) = graph.named([word])
        if word.endswith("^") and not isinstance(target, str):
            found.append(target.outs[0])
        else:
            found.append(canonical(word))
    return found


def needs(node: Node) -> tuple[str, ...]:
    """All that must be made before a node, in ninja's order."""
    return node.ins + node.after


# --- targets and rules ---------------------------------------------------------------------------


def targets_by_depth(graph: NinjaGraph, depth: int) -> Iterator[str]:
    """`-t targets depth N`: the outputs nothing needs, with what they are made from below them."""
    stack = [(path, 0) for path in reversed(graph.roots())]
    while stack:
        path, level = stack.pop()
        node = graph.producer(path)
        yield f"{'  ' * level}{path}{f': {node.rule}' if node else ''}"
        if node is not None and (depth <= 0 or level + 1 < depth):
            stack += [(need, level + 1) for need in reversed(needs(node))]


def targets_of_rule(graph: NinjaGraph, rule: str) -> Iterator[str]:
    """`-t targets rule NAME`: all that a rule makes, sorted."""
    yield from sorted({path for node in graph.nodes if node.rule == rule for path in node.outs})


def sources(graph: NinjaGraph) -> Iterator[str]:
    """`-t targets rule`: each use of a file that no rule makes."""
    for node in graph.nodes:
        yield from (path for path in needs(node) if graph.producer(path) is None)


def all_targets(graph: NinjaGraph) -> Iterator[str]:
    """`-t targets all`: every output with its rule."""
    for node in graph.nodes:
        yield from (f"{path}: {node.rule}" for path in node.outs)


def rules(graph: NinjaGraph, *, with_descriptions: bool) -> Iterator[str]:
    """`-t rules`: the rules that the manifest itself has, sorted."""
    found = graph._manifest.scope.rules  # rules are of no use to runners: the graph does not offer them
    for name in sorted(found):
        text = found[name].bindings.get("description")
        if not with_descriptions or text is None:
            yield name
        elif isinstance(text, str):
            yield f"{name}: {text}"
        else:
            pieces = (f"${{{part}}}" if number % 2 else part for number, part in enumerate(text))
            yield f"{name}: {''.join(pieces)}"


# --- one path ------------------------------------------------------------------------------------


def query(
    graph: NinjaGraph, words: Sequence[str], warn: Callable[[str], object] = lambda text: None
) -> Iterator[str]:
    """`-t query`: what paths are made from and used for.

    Raises:
        GraphError: no statement names one.
    """
    for word in words:
        (path,) = paths_of(graph, [word])
        yield f"{path}:"
        node = complete(graph, graph.producer(path), warn)
        if node is not None:
            yield f"  input: {node.rule}"
            first_hidden = len(node.ins) - node.hidden_ins
            for number, need in enumerate(node.ins):
                yield f"    {'| ' if number >= first_hidden else ''}{need}"
            yield from (f"    || {need}" for need in node.after)
            if node.checks:
                yield "  validations:"
                yield from (f"    {check}" for check in node.checks)
        yield "  outputs:"
        yield from (f"    {out}" for user in uses(graph, path) for out in user.outs)
        checked = [user for user in graph.nodes for check in user.checks if check == path]
        if checked:
            yield "  validation for:"
            yield from (f"    {out}" for user in checked for out in user.outs)


def uses(graph: NinjaGraph, path: str) -> Iterator[Node]:
    """The nodes that need a path, once for each time they name it."""
    for user in graph.consumers(path):
        yield from [user] * needs(user).count(path)


def complete(graph: NinjaGraph, node: Node | None, warn: Callable[[str], object]) -> Node | None:
    """The node with what its dyndep file adds, if that is there."""
    if node is None or not node.dyndep:
        return node
    try:
        return graph.with_dyndep(node)
    except GraphError as error:
        warn(str(error))
        return node


# --- what makes targets --------------------------------------------------------------------------


def chain(graph: NinjaGraph, paths: Iterable[str]) -> Iterator[Node]:
    """The nodes that run for paths, each after what it needs; without phony ones."""
    seen: set[Node] = set()
    for path in paths:
        stack: list[tuple[Node, Iterator[str]]] = []
        _enter(graph, path, seen, stack)
        while stack:
            node, left = stack[-1]
            for need in left:
                if _enter(graph, need, seen, stack):
                    break
            else:
                stack.pop()
                if node.rule != _PHONY:
                    yield node


def _enter(graph: NinjaGraph, path: str, seen: set[Node], stack: list[tuple[Node, Iterator[str]]]) -> bool:
    node = graph.producer(path)
    if node is None or node in seen:
        return False
    seen.add(node)
    stack.append((node, iter(needs(node))))
    return True


def commands(graph: NinjaGraph, words: Sequence[str], *, is_single: bool) -> Iterator[str]:
    """`-t commands`: the command lines that make targets, or only the last one of each.

    Raises:
        GraphError: no statement names one.
    """
    paths = paths_of(graph, words)
    if is_single:
        found = dict.fromkeys(node for path in paths if (node := graph.producer(path)))
        nodes: Iterable[Node] = (node for node in found if node.rule != _PHONY)
    else:
        nodes = chain(graph, paths)
    yield from map(graph.command_line, nodes)


def inputs_of(graph: NinjaGraph, paths: Iterable[str]) -> list[str]:
    """`-t inputs`: all that goes into paths, each after what it is made from; no phony names."""
    found: list[str] = []
    seen: set[str] = set()
    for path in paths:
        stack: list[tuple[str, Iterator[str]]] = [("", iter(_needs_of(graph, path)))]
        while stack:
            owner, left = stack[-1]
            need = next(left, None)
            if need is None:
                stack.pop()
                maker = graph.producer(owner)
                if owner and not (maker is not None and maker.rule == _PHONY):
                    found.append(owner)
            elif need not in seen:
                seen.add(need)
                stack.append((need, iter(_needs_of(graph, need))))
    return found


def _needs_of(graph: NinjaGraph, path: str) -> tuple[str, ...]:
    node = graph.producer(path)
    return () if node is None else needs(node)


def escaped(paths: Iterable[str]) -> list[str]:
    """Paths as a shell takes them."""
    return list(map(quoted, paths))


# --- pictures ------------------------------------------------------------------------------------


def dot(
    graph: NinjaGraph, paths: Iterable[str], warn: Callable[[str], object] = lambda text: None
) -> Iterator[str]:
    """`-t graph`: what goes into paths, for graphviz."""
    yield from ("digraph ninja {", 'rankdir="LR"', "node [fontsize=10, shape=box, height=0.25]")
    yield "edge [fontsize=10]"
    names = _Names()
    drawn: set[str] = set()
    nodes: set[Node] = set()
    stack = list(reversed(list(paths)))
    while stack:
        path = stack.pop()
        if path in drawn:
            continue
        drawn.add(path)
        label = path.replace("\\", "/").replace('"', '\\"')
        yield f'{names[path]} [label="{label}"]'
        node = complete(graph, graph.producer(path), warn)
        if node is not None and node not in nodes:
            nodes.add(node)
            yield from _drawn(node, names)
            stack += reversed(needs(node))
    yield "}"


def _drawn(node: Node, names: _Names) -> Iterator[str]:
    """A node's lines: an arrow from its one input to its one output, or an ellipse between them all."""
    if len(node.outs) == len(needs(node)) == 1:
        yield f'{names[needs(node)[0]]} -> {names[node.outs[0]]} [label=" {node.rule}"]'
        return
    own = names[node]
    yield f'{own} [label="{node.rule}", shape=ellipse]'
    yield from (f"{own} -> {names[out]}" for out in node.outs)
    yield from (f"{names[need]} -> {own} [arrowhead=none]" for need in node.ins)
    yield from (f"{names[need]} -> {own} [arrowhead=none style=dotted]" for need in node.after)


class _Names(dict[object, str]):
    """Names for things in a picture: the order in which they were met."""

    def __missing__(self, thing: object) -> str:
        self[thing] = name = f'"0x{len(self) + 1:x}"'
        return name


# --- what runs discovered ------------------------------------------------------------------------


def discovered(
    nodes: Iterable[Node],
    found: Callable[[Node], Sequence[str] | None],
    mtime_ns: Callable[[str], int | None],
    *,
    tells_none: bool,
) -> Iterator[str]:
    """`-t deps`: the inputs that showed when nodes ran.

    Args:
        found: paths that a node's last run here discovered; None when there was none.
        mtime_ns: of a file; None when it is not there.
        tells_none: also name the nodes of which nothing is known.
    """
    for node in nodes:
        paths = found(node)
        if paths is None:
            if tells_none:
                yield f"{node.outs[0]}: deps not found"
            continue
        time = mtime_ns(node.outs[0])
        state = "STALE" if time is None else "VALID"
        yield f"{node.outs[0]}: #deps {len(paths)}, deps mtime {time or 0} ({state})"
        yield from (f"    {path}" for path in paths)
        yield ""


def missing_deps(
    graph: NinjaGraph, paths: Iterable[str], found: Callable[[Node], Sequence[str] | None]
) -> Iterator[str]:
    """`-t missingdeps`: discovered dependencies on what other nodes make, that no path in the graph says.

    The last line but for good news begins with "Error:" or "There might".
    """
    scan = _Scan(graph, found)
    for path in paths:
        yield from scan.visit(path)
    yield f"Processed {len(scan.seen)} nodes."
    if not scan.missing:
        yield "No missing dependencies on generated files found."
        return
    rules_ = {rule for _, _, rule in scan.missing}
    count = len({(target, rule) for target, _, rule in scan.missing})
    yield f"Error: There are {count} missing dependency paths."
    yield (
        f"{len({target for target, _, _ in scan.missing})} targets had depfile dependencies on "
        f"{len({need for _, need, _ in scan.missing})} distinct generated inputs "
        f"(from {len(rules_)} rules)  without a non-depfile dep path to the generator."
    )
    yield (
        "There might be build flakiness if any of the targets listed above are built alone, or not late "
        "enough, in a clean output directory."
    )


class _Scan:
    """Looks for discovered dependencies that nothing declares."""

    def __init__(self, graph: NinjaGraph, found: Callable[[Node], Sequence[str] | None]) -> None:
        self.seen: dict[str, None] = {}
        self.missing: list[tuple[str, str, str]] = []
        self._graph = graph
        self._found = found
        self._reached: dict[Node, set[Node]] = {}

    def visit(self, start: str) -> Iterator[str]:
        """A path and all it is made from; a line for each fault."""
        stack = [start]
        while stack:
            path = stack.pop()
            node = self._graph.producer(path)
            if node is None or path in self.seen:
                continue
            self.seen[path] = None
            stack += needs(node)
            yield from self._judge(path, node)

    def _judge(self, path: str, node: Node) -> Iterator[str]:
        paths = self._found(node) or ()
        if self._graph.files[0] in paths:  # means "whenever the build is configured anew": all know that
            return
        for need in paths:
            maker = self._graph.producer(need)
            if maker is None or maker is node or maker in self._above(node):
                continue
            self.missing.append((path, need, maker.rule))
            yield f"Missing dep: {path} uses {need} (generated by {maker.rule})"

    def _above(self, node: Node) -> set[Node]:
        """All nodes that a node needs, by what the manifest declares."""
        known = self._reached.get(node)
        if known is None:
            known = self._reached[node] = set(self._walk(node))
        return known

    def _walk(self, node: Node) -> Iterator[Node]:
        seen: set[Node] = set()
        stack = [node]
        while stack:
            for need in needs(stack.pop()):
                maker = self._graph.producer(need)
                if maker is not None and maker not in seen:
                    seen.add(maker)
                    stack.append(maker)
                    yield maker
