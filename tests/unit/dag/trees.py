"""A toy build over a real directory: what a runner does, in a few lines, to see what a tree makes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vcache.dag import frozen
from vcache.dag.node import Command, Made, Node, Pool
from vcache.dag.stored import StoredGraph
from vcache.dag.tree import Tree
from vcache.entry import Dep
from vcache.fingerprint.digests import FileDigests, FileState
from vcache.fingerprint.observe import Observer
from vcache.hash import digest

__all__ = ["Toy", "Whole", "late_clock", "make", "phony"]


def late_clock() -> int:
    """The time of somebody to whom every file is old."""
    return time.time_ns() + 60_000_000_000


def make(out: str, *ins: str, after: Sequence[str] = (), checks: Sequence[str] = (), found: str = "") -> Node:
    """A node whose output says what its inputs hold, and those that the file `found` names."""
    return Node(
        name=out,
        outs=(out,),
        ins=ins,
        after=tuple(after),
        checks=tuple(checks),
        work=Command(shell=f"make {out}", depfile=found, deps="gcc"),
    )


def phony(name: str, *ins: str, after: Sequence[str] = ()) -> Node:
    return Node(name=name, outs=(name,), ins=ins, after=tuple(after))


@dataclass
class Whole:
    """A graph as a front end gives it."""

    nodes: Sequence[Node]
    defaults: Sequence[str] = ()
    pools: Mapping[str, Pool] = field(default_factory=dict)

    def producer(self, path: str) -> Node | None:
        return next((node for node in self.nodes if path in node.outs), None)


class Toy:
    """Builds of one directory.

    Attributes:
        ran: the names of the nodes that the last build ran.
        looked_at: the names of those that it looked at.
    """

    def __init__(self, base: Path, nodes: Iterable[Node], *, defaults: Sequence[str] = ()) -> None:
        self.base = Path(os.path.realpath(base))
        self.whole = Whole(tuple(nodes), tuple(defaults))
        self.ran: list[str] = []
        self.looked_at: list[str] = []
        self.fails: set[str] = set()
        self.heeds: dict[str, tuple[Dep, ...]] = {}
        self.clock: Callable[[], int] = late_clock
        self.front = self.base / "build.ninja"
        self.front.write_text("the graph")

    def open(self) -> Tree:
        """A tree as another process would open it."""
        digests = FileDigests(self.base, clock=self.clock)
        return Tree.open(os.fspath(self.base), root=os.fspath(self.base), digests=digests)

    def is_clean(self, *goals: str) -> bool:
        here = os.getcwd()
        os.chdir(self.base)
        try:
            return frozen._check(frozen.Ask("", "", goals, is_quiet=True), frozen.NINJA) is not None
        except OSError:
            return False
        finally:
            os.chdir(here)

    def build(self, *goals: str, anew: bool = False) -> bool:
        """Build goals over the stored graph if there is one; whether that went well."""
        tree = self.open()
        stored = None if anew else tree.graph()
        wanted = None if stored is None else stored.targets(goals)
        if stored is None or wanted is None:
            starts = [
                node for path in goals or self.roots() if (node := self.whole.producer(path)) is not None
            ]
            return _Run(self, tree, self.whole).over(starts, goals)
        return _Run(self, tree, stored).over(stored.affected(tree.changes(), wanted), goals)

    def roots(self) -> Sequence[str]:
        read = {path for node in self.whole.nodes for path in (*node.ins, *node.after)}
        return self.whole.defaults or [node.outs[0] for node in self.whole.nodes if node.outs[0] not in read]

    def write(self, name: str, text: str) -> None:
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def add(self, name: str, text: str = "+") -> None:
        """Make a file longer: another signature, also within one tick of the clock."""
        with (self.base / name).open("a") as file:
            file.write(text)

    def read(self, name: str) -> str:
        return (self.base / name).read_text()


class _Run:
    def __init__(self, toy: Toy, tree: Tree, graph: Whole | StoredGraph) -> None:
        self.toy, self.tree, self.graph = toy, tree, graph
        self.digests = FileDigests(toy.base, clock=toy.clock)
        self.observer = Observer(toy.base, digests=self.digests, base=toy.base)
        self.seen: dict[str, FileState] = {}
        self.done: dict[str, bool] = {}
        self.nodes: list[Node] = []
        toy.ran, toy.looked_at = [], []

    def over(self, starts: Iterable[Node], goals: Sequence[str]) -> bool:
        is_well = all([self.made(node) for node in starts])  # noqa: C419  # each of them
        front = (Dep("file", "build.ninja", digest(self.toy.front.read_bytes())),)
        self.tree.save(
            graph=self.graph,
            goals=goals if is_well else None,
            wanted=self.nodes,
            seen=self.seen,
            looks=lambda name: self.toy.heeds.get(name, ()),
            front=front,
            file="build.ninja",
        )
        return is_well

    def made(self, node: Node) -> bool:
        if node.name not in self.done:
            self.done[node.name] = False  # a circle would be a fault of the test
            self.nodes.append(node)
            needs = [self.graph.producer(path) for path in (*node.ins, *node.after)]
            is_well = all([self.made(need) for need in needs if need is not None])  # noqa: C419  # each of them
            if is_well and isinstance(node.work, Command):
                is_well = self.run(node, node.work)
            self.done[node.name] = is_well
            checks = [self.graph.producer(path) for path in node.checks]
            self.done[node.name] &= all([self.made(check) for check in checks if check is not None])  # noqa: C419  # each of them
        return self.done[node.name]

    def run(self, node: Node, command: Command) -> bool:
        toy, tree = self.toy, self.tree
        toy.looked_at.append(node.name)
        heeded = b"".join(dep.identity for dep in toy.heeds.get(node.name, ()))
        base = digest(
            command.shell.encode() + b"".join(self.content(path) for path in self.files(node)) + heeded
        )
        last = tree.last(node.name)
        if (
            last is not None
            and last.base == base
            and all(self.observer.check(Dep(dep.kind, dep.name, dep.identity)) is None for dep in last.found)
            and [self.content(path) for path in node.outs] == list(last.outs)
        ):
            return True
        toy.ran.append(node.name)
        if node.name in toy.fails:
            tree.forget(node.name)
            return False
        found = [] if not command.depfile else toy.read(command.depfile).split()
        deps = []
        for path in found:
            state = self.digests.look(path)
            assert state is not None
            self.seen[os.path.join(toy.base, path)] = state
            deps.append(Dep("file", path, state.digest, state.hint))
        text = "".join(toy.read(path) for path in (*self.files(node), *found))
        toy.write(node.outs[0], f"{node.name}({text})")
        self.seen.pop(os.path.join(toy.base, node.outs[0]), None)
        outs = tuple(digest((toy.base / path).read_bytes()) for path in node.outs)
        tree.record(node.name, Made(base, tuple(deps), outs))
        return True

    def files(self, node: Node) -> list[str]:
        """A phony name stands for what it names, and for the file of that name."""
        found = []
        for path in node.ins:
            producer = self.graph.producer(path)
            is_named = producer is not None and producer.work is None
            if not is_named or (self.toy.base / path).is_file():
                found.append(path)
            if producer is not None and is_named:
                found += self.files(producer)
        return found

    def content(self, path: str) -> bytes:
        state = self.digests.look(path)
        if state is None:
            return b""
        self.seen[os.path.join(self.toy.base, path)] = state
        return state.digest
