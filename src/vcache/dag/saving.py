"""Writes down what a run brought, so that the next one can begin where it ended.

It renews the columns of a tree, whose underscored names it shares. Nothing is recorded
as known that was not seen by the run with that content.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from vcache.dag.cleanness import Cleanness
from vcache.dag.columns import GRAPH, LONE, OPEN, STALE, TREE, Columns, Whole, renew
from vcache.dag.frozen import pack
from vcache.dag.node import Call, Node, Script
from vcache.dag.rows import (
    LOOK,
    OUTDATED,
    Row,
    Rows,
    has_all_outs,
    numbers_of,
    pack_row,
    record_of,
    unpack_row,
)
from vcache.dag.special import special_sign
from vcache.dag.stored import StoredGraph, is_storable, store_graph
from vcache.dag.things import Things
from vcache.fingerprint.digests import FileState
from vcache.hash import checksum

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.entry import Dep

__all__ = ["Saving"]

_ID_BYTES: Final = 16
# What a base manifest says that the graph does not. Its files are declared, but for those that a
# Python body asked for.
_HEEDED: Final = frozenset({"env", "tool", "absent"})
# Nodes that the graph no longer has are kept for a branch that comes back.
_GONE_MOST: Final = 10_000


class Saving:
    """One saving of one tree.

    Args:
        seen: how files looked to the run, by absolute path.
        looks: by a node's name, the deps of its base manifest.
    """

    def __init__(
        self, tree: Columns, seen: Mapping[str, FileState], looks: Callable[[str], Iterable[Dep]]
    ) -> None:
        self._tree, self._seen, self._looks = tree, seen, looks
        self._now_ns = tree._digests.clock()
        self._named: dict[str, int] = {}
        self._look_numbers = {(dep.kind, dep.name): at for at, dep in enumerate(tree._looks)}
        self._changed: set[int] = set()
        self._settled: set[int] = set()
        self._heeds: dict[str, tuple[Dep, ...]] = {}
        self._sections: dict[str, Buffer] | None = None
        self._has_dropped = False

    def save(
        self,
        graph: StoredGraph | Whole | None,
        goals: Sequence[str] | None,
        wanted: Sequence[Node],
        front: Sequence[Dep],
        file: str,
    ) -> None:
        """All of it, in the order in which one thing needs the other."""
        tree = self._tree
        generation = tree._generation
        by_name = {node.name: node for node in wanted}
        if isinstance(graph, StoredGraph):
            stored: StoredGraph | None = graph
            front_references = tree._front
        else:
            nodes = by_name if graph is None else {node.name: node for node in graph.nodes} | by_name
            stored = self._renumber(graph, list(nodes.values()))
            front_references = self._look_at_front(front)
        self._gather(by_name)
        self._see()
        confirmed = set(tree._made) if goals is None else by_name.keys() | tree._made.keys()
        self._put(by_name, stored)
        self._mark(confirmed, by_name, stored)
        self._look_at_specials(by_name[name] for name in confirmed if name in by_name)
        tree._front = front_references
        self._write()
        if goals is not None:
            known = generation if graph is stored is not None and not self._has_dropped else b""
            Cleanness(tree, stored, by_name.values(), self._heeds).write(goals, file, known=known)

    # -- numbers -----------------------------------------------------------------------------------

    def _renumber(self, graph: Whole | None, nodes: Sequence[Node]) -> StoredGraph | None:
        """Give nodes and paths the numbers of a graph that was read anew."""
        tree = self._tree
        old_things, old_rows, old_references = tree.things, tree._rows, tree._references
        old_names, old_numbers, old_flags = tree._names, tree._numbers, tree._flags
        things = tree.things = Things(tree._base)
        stored = None
        if graph is not None and all(map(is_storable, nodes)):
            self._sections = sections = store_graph(
                nodes, things=things, pools=graph.pools, defaults=_defaults(graph, nodes)
            )
            sections["id"] = tree._graph_id = tree._generation = os.urandom(_ID_BYTES)
            stored = StoredGraph(tree._base, lambda name: memoryview(sections[name]), tree)
        else:
            tree._graph_id = b""
            for node in nodes:
                for path in (*node.outs, *node.ins):
                    things.number(path)
        tree._graph = stored
        names = [node.name for node in nodes]
        present = set(names)
        gone = [name for at, name in enumerate(old_names) if name not in present and len(old_rows[at])]
        tree._names = names + gone[-_GONE_MOST:]
        tree._numbers = dict(zip(tree._names, range(len(tree._names)), strict=True))
        tree._rows, tree._references, tree._flags = Rows(), Rows(), bytearray(len(tree._names))
        renew = _Renumbering(old_things, things)
        for number, name in enumerate(tree._names):
            was = old_numbers.get(name)
            row, references = b"", b""
            if was is not None and name not in tree._made:
                row, references = bytes(old_rows[was]), record_of(map(renew, numbers_of(old_references[was])))
            tree._rows.append(row)
            tree._references.append(references)
            tree._flags[number] = 0 if was is None else old_flags[was] & STALE
        things.adopt(old_things)
        tree._generated = set()
        if stored is not None:
            numbers = chain.from_iterable(
                map(numbers_of, map(tree._references.__getitem__, range(len(names))))
            )
            tree._generated = _made_of(numbers, stored)
        tree._specials = {renew(number): sign for number, sign in tree._specials.items()}
        return stored

    def _thing(self, name: str) -> int:
        """The number of a file by its portable name."""
        known = self._named.get(name)
        if known is None:
            full = name if name[:1] == "/" else os.path.join(self._tree._root, name)
            known = self._named[name] = self._tree.things.number(full)
        return known

    def _reference(self, dep: Dep) -> int:
        """The reference to a dep, which is recorded as it looked."""
        if dep.kind == "file":
            return self._thing(dep.name)
        looks = self._tree._looks
        number = self._look_numbers.setdefault((dep.kind, dep.name), len(looks))
        if number == len(looks):
            looks.append(dep)
        elif looks[number].identity != dep.identity:
            self._changed.add(number | LOOK)
            looks[number] = dep
        elif looks[number].hint != dep.hint:
            looks[number] = dep
        return number | LOOK

    def _look_at_front(self, front: Sequence[Dep]) -> list[int]:
        found = []
        for dep in front:
            reference = self._reference(dep)
            if not reference & LOOK:
                self._settle(reference, dep.identity, dep.hint)
            found.append(reference)
        return found

    # -- files ---------------------------------------------------------------------------------------

    def _gather(self, nodes: Mapping[str, Node]) -> None:
        """What the base manifests of the run's nodes say besides declared files, and numbers for all found."""
        for name, node in nodes.items():
            deps = tuple(self._looks(name))
            if isinstance(node.work, Call):
                self._heeds[name] = deps
            elif isinstance(node.work, Script):
                self._heeds[name] = tuple(dep for dep in deps if dep.kind in _HEEDED or dep.kind == "file")
            else:
                self._heeds[name] = tuple(dep for dep in deps if dep.kind in _HEEDED)
        for made in self._tree._made.values():
            for dep in made.found:
                if dep.kind == "file":
                    self._thing(dep.name)

    def _see(self) -> None:
        """Record how the run saw each file that somebody reads."""
        things = self._tree.things
        for full, state in self._seen.items():
            number = things.find(full)
            if number is not None:
                self._settle(number, state.digest, state.hint if state.is_stable else b"")

    def _settle(self, number: int, identity: bytes, hint: bytes) -> None:
        things = self._tree.things
        before = things.identity(number)
        if before and before != identity:
            self._changed.add(number)
        self._settled.add(number)
        things.settle(number, identity, hint, digests=self._tree._digests, now_ns=self._now_ns)

    def _put(self, nodes: Mapping[str, Node], stored: StoredGraph | None) -> None:
        """The records of the run's nodes."""
        tree = self._tree
        for name, made in tree._made.items():
            node = nodes.get(name)
            number = self._node(name)
            outs = () if node is None else node.outs
            for path, identity in zip(outs, made.outs, strict=False):
                if identity:
                    self._put_out(tree.things.number(path), identity)
            found = tuple(self._found(dep) for dep in made.found)
            heeds = tuple(self._found(dep) for dep in self._heeds.get(name, ()))
            self._compare(numbers_of(tree._references[number]), (*found, *heeds))
            row = Row(made.base, len(found), made.outs, made.took_ns, made.result, made.log)
            tree._rows[number], tree._references[number] = pack_row(row), record_of((*found, *heeds))
            tree._flags[number] = STALE if any(ref & OUTDATED for ref in found) else 0
            if stored is not None:
                tree._generated |= _made_of(found, stored)
        if stored is None:
            self._put_heeds(nodes)
        for name in tree._forgotten:
            if name in tree._numbers:
                number = tree._numbers[name]
                self._compare(numbers_of(tree._references[number]), ())
                tree._rows[number] = tree._references[number] = b""

    def _put_heeds(self, nodes: Mapping[str, Node]) -> None:
        """What nodes without a new record heed: a body may ask for other things and come to the same."""
        tree = self._tree
        for name in nodes.keys() - tree._made.keys() - tree._forgotten:
            number = self._node(name)
            row = tree._rows[number]
            found = numbers_of(tree._references[number])[: unpack_row(row).n_found if len(row) else 0]
            heeds = (self._found(dep) for dep in self._heeds.get(name, ()))
            tree._references[number] = record_of((*found, *heeds))

    def _compare(self, before: Collection[int], after: Collection[int]) -> None:
        """Take note of whether a node finds other things than before."""
        if not set(before).issuperset(after):
            self._tree._generation = os.urandom(_ID_BYTES)
        if not set(after).issuperset(before):
            self._tree._generation, self._has_dropped = os.urandom(_ID_BYTES), True

    def _node(self, name: str) -> int:
        tree = self._tree
        number = tree._numbers.get(name)
        if number is None:
            number = tree._numbers[name] = tree._rows.append(b"")
            tree._references.append(b"")
            tree._names.append(name)
            tree._flags.append(0)
        return number

    def _put_out(self, number: int, identity: bytes) -> None:
        tree = self._tree
        state = self._seen.get(tree.things.full(number))
        if state is not None and state.digest == identity:
            return  # recorded with all that was seen
        full = tree.things.full(number)
        try:
            mode = os.lstat(full).st_mode
        except OSError:
            mode = stat.S_IFREG
        if stat.S_ISREG(mode):
            self._settle(number, identity, b"")
        else:
            tree._specials[number] = b""  # signed below, with all others

    def _found(self, dep: Dep) -> int:
        """The reference to what was found; marked if another content was recorded since."""
        reference = self._reference(dep)
        if reference & LOOK:
            return reference
        if reference not in self._settled:
            self._settle(reference, dep.identity, dep.hint)
        return reference if self._tree.things.identity(reference) == dep.identity else reference | OUTDATED

    # -- who has not heard of it ---------------------------------------------------------------------

    def _mark(self, confirmed: set[str], nodes: Mapping[str, Node], stored: StoredGraph | None) -> None:
        """Mark what reads something changed and was not looked at; and what has to be looked at anyway."""
        tree = self._tree
        for name in confirmed - tree._made.keys():
            if name in tree._numbers:
                tree._flags[tree._numbers[name]] &= ~STALE
        late = {tree._numbers[name] for name in confirmed if name in tree._numbers}
        if self._changed:
            self._mark_readers(late, stored)
        for number in (
            range(len(tree._names))
            if self._sections is not None or stored is None
            else (
                tree._numbers[name]
                for name in {*nodes, *tree._made, *tree._forgotten}
                if name in tree._numbers
            )
        ):
            tree._flags[number] = tree._flags[number] & STALE | self._ends(number, stored)

    def _mark_readers(self, confirmed: set[int], stored: StoredGraph | None) -> None:
        tree, changed = self._tree, self._changed
        finders = tree.finders(changed)
        readers = {node for nodes in finders.values() for node in nodes}
        if stored is not None:
            readers |= _readers([thing for thing in changed if not thing & LOOK], stored)
        for node in readers - confirmed:
            tree._flags[node] |= STALE
            references = numbers_of(tree._references[node])
            tree._references[node] = record_of(
                ref | OUTDATED if ref in changed else ref for ref in references
            )

    def _ends(self, number: int, stored: StoredGraph | None) -> int:
        """What keeps a node from being passed over, whatever has changed."""
        if stored is not None and number < len(stored) and stored.is_phony(number):
            _, ins, after, _ = stored.lists(number)
            return 0 if ins or after else LONE
        record = self._tree._rows[number]
        return 0 if len(record) and has_all_outs(record) else OPEN

    def _look_at_specials(self, nodes: Iterable[Node]) -> None:
        """Sign the links and directories of nodes that the run has looked at."""
        tree = self._tree
        for node in nodes:
            if node.work is None:
                continue
            for path in node.ins:
                number = tree.things.find(path)
                if number is None or tree.things.identity(number):
                    continue
                if path[-1:] == "/" or os.path.isdir(tree.things.full(number)):
                    tree._specials[number] = b""
            for path in (*node.ins, *node.outs):
                number = tree.things.find(path)
                if number is not None and number in tree._specials:
                    self._sign(number)

    def _sign(self, number: int) -> None:
        tree = self._tree
        full = tree.things.full(number)
        if os.path.isfile(full) and not os.path.islink(full):
            del tree._specials[number]  # an ordinary file by now
        else:
            tree._specials[number] = special_sign(full, tree._began_ns)

    # -- bytes ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        tree = self._tree
        os.makedirs(tree._directory, exist_ok=True)
        if self._sections is not None:
            renew(os.path.join(tree._directory, GRAPH), pack(self._sections, checksum))
        meta = {
            "base": tree._base,
            "root": tree._root,
            "graph": tree._graph_id.hex(),
            "generation": tree._generation.hex(),
            "front": tree._front,
            "looks": [
                [dep.kind, dep.name, dep.identity.hex(), dep.hint.hex(), dep.note] for dep in tree._looks
            ],
            "specials": [[number, sign.hex()] for number, sign in tree._specials.items()],
        }
        offsets, blob = tree._rows.pieces()
        reference_offsets, references = tree._references.pieces()
        sections: dict[str, Buffer] = {
            "generated": record_of(sorted(tree._generated)),
            "meta": json.dumps(meta).encode(),
            "names": "\0".join(tree._names).encode("utf-8", "surrogateescape"),
            "flags": tree._flags,
            "refs-at": reference_offsets,
            "refs": references,
            "rows-at": offsets,
            "rows": blob,
            "paths": b"\0".join(tree.things.paths),
            "digests": tree.things.identities,
            "signs": tree.things.hints,
        }
        renew(os.path.join(tree._directory, TREE), pack(sections, checksum))


def _made_of(references: Iterable[int], stored: StoredGraph) -> set[int]:
    """The things, of those that were found, that some node makes."""
    return {ref for ref in set(references) if not ref & (LOOK | OUTDATED) and stored.maker(ref) >= 0}


def _readers(things: list[int], stored: StoredGraph) -> set[int]:
    """The nodes that declare one of some things, also by a phony name that stands for it."""
    readers: set[int] = set()
    while things:
        for node in stored.consumers(things.pop()):
            if node not in readers:
                readers.add(node)
                if stored.is_phony(node):
                    things += stored.lists(node)[0]
    return readers


class _Renumbering:
    """From references in one table of things to those in another."""

    def __init__(self, old: Things, new: Things) -> None:
        self._old, self._new = old, new
        self._known: dict[int, int] = {}

    def __call__(self, reference: int) -> int:
        if reference & LOOK:
            return reference
        number = reference & ~OUTDATED
        known = self._known.get(number)
        if known is None:
            known = self._known[number] = self._new.number(self._old.full(number))
        return known | reference & OUTDATED


def _defaults(graph: Whole, nodes: Sequence[Node]) -> list[str]:
    """What is made when nobody says what: as the graph says, else what nobody reads, as in ninja."""
    if graph.defaults:
        return list(graph.defaults)
    read = {path for node in nodes for path in (*node.ins, *node.after)}
    return [node.outs[0] for node in nodes if node.outs and read.isdisjoint(node.outs)]
