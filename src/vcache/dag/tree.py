"""What runs left in one base directory: a `Made` for each node, and what every file looked like.

Kept in columns, so that a run after a small change makes objects of few nodes. It must not know
how nodes are run. The bytes are normative in docs/design/build.md; damaged ones are as if absent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from vcache.dag import frozen
from vcache.dag.columns import GRAPH, Columns, Whole, key_of
from vcache.dag.node import Made, Node
from vcache.dag.rows import LOOK, OUTDATED, numbers_of, unpack_row
from vcache.dag.saving import Saving
from vcache.dag.special import special_sign
from vcache.dag.stored import StoredGraph
from vcache.entry import Dep
from vcache.errors import DecodeError
from vcache.fingerprint.digests import signature

if TYPE_CHECKING:
    from vcache.fingerprint.digests import FileState

__all__ = ["GRAPH", "Tree", "Whole"]


class Tree(Columns):
    """What runs left in one base.

    Threads: one. Only who holds the tree's lock opens one to save it.
    """

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
        found.update(key_of(dep) for dep in self._looks if self._observer.check(dep) is not None)
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
        Saving(self, seen, looks).save(graph, goals, list(wanted), front, file)
