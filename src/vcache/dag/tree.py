"""What runs left in one base directory: a `Made` for each node, and what every file looked like.

Kept in columns, so that a run after a small change makes objects of few nodes. It must not know
how nodes are run. The bytes are normative in docs/design/build.md; damaged ones are as if absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from vcache.dag import frozen
from vcache.dag.node import Made, Node
from vcache.dag.rows import LOOK, OUTDATED, Rows, find_number, numbers_of, unpack_row
from vcache.dag.special import special_sign
from vcache.dag.stored import StoredGraph
from vcache.dag.things import Things
from vcache.entry import Dep
from vcache.errors import DecodeError
from vcache.fingerprint.digests import signature
from vcache.fingerprint.observe import Observer
from vcache.hash import checksum

if TYPE_CHECKING:
    from vcache.dag.node import Pool
    from vcache.fingerprint.digests import FileDigests, FileState

__all__ = ["GRAPH", "LONE", "OPEN", "STALE", "TREE", "Tree", "Whole"]

TREE: Final = "tree"
GRAPH: Final = "graph"

# Up to so many, each is searched in the bytes; more are looked for node by node. At 100,000 references
# the one costs 0.3 ms each, the other 10 ms for all.
_FEW: Final = 20

# What is known of a node besides its record.
STALE: Final = 1
"""Something it reads has changed, and it has not been looked at since."""
OPEN: Final = 2
"""It has no result here, or one that lacks an output."""
LONE: Final = 4
"""A phony node without inputs: always out of date if there is no such file."""


class Whole(Protocol):
    """What a front end read: all nodes of a graph."""

    @property
    def nodes(self) -> Iterable[Node]: ...

    @property
    def pools(self) -> Mapping[str, Pool]: ...

    @property
    def defaults(self) -> Sequence[str]: ...


class Tree:
    """What runs left in one base.

    Threads: one. Only who holds the tree's lock opens one to save it.
    """

    def __init__(self, base: str, *, root: str, digests: FileDigests, environ: Mapping[str, str]) -> None:
        self._base, self._root, self._digests, self._environ = base, root, digests, environ
        self._directory = os.path.join(base, frozen.DIRECTORY)
        self._observer = Observer(root, digests=digests, environ=environ, base=base)
        self._began_ns = digests.clock()
        self.things = Things(base)
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._rows = Rows()
        self._references = Rows()
        self._generated: set[int] = set()
        self._flags = bytearray()
        self._looks: list[Dep] = []
        self._front: list[int] = []
        self._graph_id = b""
        # Another one whenever some node refers to other things than before.
        self._generation = b""
        self._graph: StoredGraph | None = None
        self._specials: dict[int, bytes] = {}
        # What this run brings: new results by name, and names that lost theirs.
        self._made: dict[str, Made] = {}
        self._forgotten: set[str] = set()

    # -- reading -----------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        base: str,
        *,
        root: str,
        digests: FileDigests,
        environ: Mapping[str, str] = os.environ,
    ) -> Tree:
        """What is remembered of a base directory; nothing, if that is missing, damaged or of another place."""
        tree = cls(base, root=root, digests=digests, environ=environ)
        section = tree._sections(TREE)
        if section is not None:
            try:
                tree._load(section)
            except (DecodeError, ValueError, KeyError, IndexError):
                return cls(base, root=root, digests=digests, environ=environ)
        return tree

    def _sections(self, name: str) -> Callable[[str], memoryview | None] | None:
        try:
            with open(os.path.join(self._directory, name), "rb", buffering=0) as file:
                return frozen.unpack(file.read(), checksum)
        except OSError:
            return None

    def _load(self, section: Callable[[str], memoryview | None]) -> None:
        def need(name: str) -> memoryview:
            found = section(name)
            if found is None:
                raise DecodeError(f"no sound section {name!r}")
            return found

        meta = json.loads(bytes(need("meta")))
        if meta["base"] != self._base or meta["root"] != self._root:
            raise DecodeError("of another place")
        self.things = Things(self._base, _split(need("paths")), need("digests"), need("signs"))
        names = bytes(need("names")).decode("utf-8", "surrogateescape")
        self._names = names.split("\0") if names else []
        self._numbers = dict(zip(self._names, range(len(self._names)), strict=True))
        self._rows = Rows(need("rows-at"), need("rows"))
        self._references = Rows(need("refs-at"), need("refs"))
        self._generated = set(numbers_of(need("generated")))
        self._flags = bytearray(need("flags"))
        self._looks = [_dep(row) for row in meta["looks"]]
        self._front = list(meta["front"])
        self._specials = {int(number): bytes.fromhex(sign) for number, sign in meta["specials"]}
        self._graph_id = bytes.fromhex(meta["graph"])
        self._generation = bytes.fromhex(meta["generation"])
        if not len(self._names) == len(self._rows) == len(self._references) == len(self._flags):
            raise DecodeError("columns of different lengths")

    def names(self) -> Iterator[str]:
        """The names of all nodes that have a result here."""
        for number, name in enumerate(self._names):
            if name not in self._forgotten and name not in self._made and len(self._rows[number]):
                yield name
        yield from self._made

    def last(self, name: str) -> Made | None:
        """What a node left here the last time; None if it has not run, or its last run failed."""
        if name in self._made:
            return self._made[name]
        number = self._numbers.get(name)
        if number is None or name in self._forgotten or not len(self._rows[number]):
            return None
        row = unpack_row(self._rows[number])
        return Made(
            base=row.base,
            found=tuple(map(self._found, numbers_of(self._references[number])[: row.n_found])),
            outs=row.outs,
            took_ns=row.took_ns,
            result=row.result,
            log=row.log,
        )

    def _found(self, reference: int) -> Dep:
        number = reference & ~(OUTDATED | LOOK)
        if reference & LOOK:
            dep = self._looks[number]
            return Dep(dep.kind, dep.name, b"", note="as it was") if reference & OUTDATED else dep
        identity = b"" if reference & OUTDATED else self.things.identity(number)
        return Dep("file", self._name(self.things.full(number)), identity, self.things.hint(number))

    def _name(self, full: str) -> str:
        prefix = os.path.join(self._root, "")
        return full.removeprefix(prefix)

    # -- what a run brings -------------------------------------------------------------------------

    def record(self, name: str, made: Made) -> None:
        """Remember what a node left."""
        self._made[name] = made
        self._forgotten.discard(name)

    def forget(self, name: str) -> None:
        """A node's last result is none any longer."""
        self._made.pop(name, None)
        self._forgotten.add(name)

    # -- what has changed ----------------------------------------------------------------------------

    def changes(self) -> set[str]:
        """Everything recorded that is not as it was: absolute paths, and "kind:name" for what is no file.

        A file with another signature is read; if its content is the same, it is no change.
        """
        things = self.things
        left = frozen.take(self._base, self._generation)
        found = {
            things.full(number)
            for number in things.suspects(left)
            if not things.refresh(number, self._digests)
        }
        found.update(
            things.full(number)
            for number, sign in self._specials.items()
            if not sign or special_sign(things.full(number), self._began_ns) != sign
        )
        found.update(_key(dep) for dep in self._looks if self._observer.check(dep) is not None)
        return found

    # -- the graph ---------------------------------------------------------------------------------

    def graph(self) -> StoredGraph | None:
        """The graph of the last run; None when there is none, or what it was read from has changed."""
        if self._graph is None and self._graph_id and self._is_front_as_it_was():
            section = self._sections(GRAPH)
            if section is not None and section("id") == memoryview(self._graph_id):
                try:
                    self._graph = StoredGraph(self._base, section, self)
                except (DecodeError, ValueError, KeyError):
                    return None
        return self._graph

    def _is_front_as_it_was(self) -> bool:
        return all(
            self._observer.check(self._looks[reference & ~LOOK]) is None
            if reference & LOOK
            else self._is_file_as_it_was(reference)
            for reference in self._front
        )

    def _is_file_as_it_was(self, number: int) -> bool:
        try:
            if signature(os.stat(self.things.full(number))) == self.things.hint(number):
                return True
        except OSError:
            return False
        return self.things.refresh(number, self._digests)

    def open_ends(self) -> Iterator[int]:
        """The nodes that are not known to be what they were, whatever has changed."""
        for number, flags in enumerate(self._flags):
            if flags and (flags & ~LONE or self._is_always(number)):
                yield number

    def _is_always(self, number: int) -> bool:
        """Whether a phony node without inputs names what is not there, or was not when it was read.

        In ninja, what reads a missing file of that kind is always out of date.
        """
        assert self._graph is not None
        for thing in self._graph.lists(number)[0]:
            full = self.things.full(thing)
            if not os.path.lexists(full) or (not self.things.identity(thing) and os.path.isfile(full)):
                return True
        return False

    def generated(self) -> Collection[int]:
        """The things that somebody makes and somebody found."""
        return self._generated

    def finders(self, things: Collection[int]) -> dict[int, list[int]]:
        """By thing, the nodes that found it."""
        if len(things) <= _FEW:
            return {thing: nodes for thing in things if (nodes := find_number(self._references, thing))}
        of = things if isinstance(things, set | frozenset) else set(things)
        found: dict[int, list[int]] = {}
        for node in range(len(self._references)):
            for thing in of.intersection(numbers_of(self._references[node])):
                found.setdefault(thing, []).append(node)
        return found

    def watchers(self, changed: Collection[str]) -> set[int]:
        """The nodes that heeded a changed variable, tool or listing."""
        of = {number | LOOK for number, dep in enumerate(self._looks) if _key(dep) in changed}
        return {node for nodes in self.finders(of).values() for node in nodes}

    # -- what is kept ------------------------------------------------------------------------------

    def save(
        self,
        *,
        graph: StoredGraph | Whole | None,
        goals: Sequence[str] | None,
        wanted: Iterable[Node],
        seen: Mapping[str, FileState],
        looks: Callable[[str], Iterable[Dep]],
        front: Sequence[Dep] = (),
        file: str = "",
    ) -> None:
        """Keep what the run brought, and, if it made its goals, what tells the next run so at once.

        Args:
            graph: what `graph` gave, if the run was over it; the front end's, if that was read;
                None for one that is made anew in each run.
            goals: the words of the command line; None if the run did not make all of them.
            wanted: the nodes that the run looked at.
            seen: how files looked to the run, by absolute path.
            looks: by a node's name, the deps of its base manifest.
            front: what the graph was read from; not asked for with a stored graph.
            file: a vcachefile by its name; a ninja file as the command line has it.

        Raises:
            OSError: no space, or no permission.
        """
        from vcache.dag.saving import Saving

        Saving(self, seen, looks).save(graph, goals, list(wanted), front, file)


def _split(names: memoryview) -> list[bytes]:
    return bytes(names).split(b"\0") if len(names) else []


def _key(dep: Dep) -> str:
    return f"{dep.kind}:{dep.name}"


def _dep(row: Sequence[str]) -> Dep:
    kind, name, identity, hint, note = row
    return Dep(kind, name, bytes.fromhex(identity), bytes.fromhex(hint), note)
