"""The columns of a tree: what `tree` asks and changes, `saving` renews and `cleanness` reads.

The three share the underscored names of `Columns`. It reads the file whose bytes are normative in
docs/design/build.md; a damaged one is as if absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from vcache.dag import frozen
from vcache.dag.node import Made, Node
from vcache.dag.rows import LOOK, Rows, find_number, numbers_of
from vcache.dag.stored import StoredGraph
from vcache.dag.things import Things
from vcache.entry import Dep
from vcache.errors import DecodeError
from vcache.fingerprint.observe import Observer
from vcache.hash import checksum
from vcache.kit.fs_atomic import write_atomic

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

    from vcache.dag.node import Pool
    from vcache.fingerprint.digests import FileDigests

__all__ = ["GRAPH", "LONE", "OPEN", "STALE", "TREE", "Columns", "Whole", "key_of", "renew"]

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


class Columns:
    """What is remembered of one base, by the numbers of nodes and things.

    Threads: one.
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

    @classmethod
    def open(
        cls,
        base: str,
        *,
        root: str,
        digests: FileDigests,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
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
        of = {number | LOOK for number, dep in enumerate(self._looks) if key_of(dep) in changed}
        return {node for nodes in self.finders(of).values() for node in nodes}


def _split(names: memoryview) -> list[bytes]:
    return bytes(names).split(b"\0") if len(names) else []


def renew(path: str, pieces: Iterable[Buffer]) -> None:
    """Give a file of a tree new content.

    The old one is removed first: a rename over a file makes ext4 write the new one out at once
    (auto_da_alloc), 5 to 15 ms for 4 MB against 0.3. A crash in between leaves none, which is as
    good as an old one; after a power loss the seals tell.

    Raises:
        OSError: no space, or no permission.
    """
    fresh = path + ".new"
    write_atomic(fresh, pieces)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    os.rename(fresh, path)


def key_of(dep: Dep) -> str:
    """A look as `changes` names it."""
    return f"{dep.kind}:{dep.name}"


def _dep(row: Sequence[str]) -> Dep:
    kind, name, identity, hint, note = row
    return Dep(kind, name, bytes.fromhex(identity), bytes.fromhex(hint), note)
