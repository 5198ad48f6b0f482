"""Writes down what tells the next run, by stats alone, that all of its goals are made.

It reads a tree that was just saved, whose underscored names it shares. Where something cannot be
told by looking at files and variables, nothing is written: the next run then takes the full way.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.dag.columns import LONE, Columns, renew
from vcache.dag.frozen import DIRECTORY, GENERAL, clean_name, freeze, fresh_row, load
from vcache.dag.node import Call, Node
from vcache.dag.rows import LOOK, OUTDATED, numbers_of, record_of
from vcache.dag.special import sign_of, special_rows
from vcache.fingerprint.digests import is_settled, signature
from vcache.fingerprint.globs import split
from vcache.fingerprint.tools import find_tool
from vcache.hash import digest

if TYPE_CHECKING:
    from vcache.dag.stored import StoredGraph
    from vcache.entry import Dep

__all__ = ["Cleanness"]

_CLEAN: Final = "clean-"
_KEPT_MOST: Final = 16
# 16 ms of hashing at most, where the full way costs a hundred.
_FRESH_MOST: Final = 64
_FRESH_MOST_BYTES: Final = 16 << 20
_PASSED: Final = frozenset({".git", ".hg", ".svn", ".jj", DIRECTORY})


class _Doubt(Exception):
    """Something cannot be told by stats: no file is written."""


class Cleanness:
    """What there is to stat for some goals.

    Args:
        stored: the graph; None for one that is made anew in each run.
        nodes: all nodes of the run, for that case.
        heeds: what the base manifests of the run's nodes say.
    """

    def __init__(
        self,
        tree: Columns,
        stored: StoredGraph | None,
        nodes: Iterable[Node],
        heeds: Mapping[str, Sequence[Dep]],
    ) -> None:
        self._tree, self._stored, self._nodes, self._heeds = tree, stored, list(nodes), heeds
        self._reached: set[int] = set()
        self._files: set[int] = set()
        self._named: set[int] = set()
        self._looks: set[int] = set()
        self._more: dict[bytes, bytes] = {}
        self._rows: dict[bytes, bytes] = {}
        self._present: set[bytes] = set()
        self._absent: set[bytes] = set()
        self._variables = {"PATH", GENERAL}
        self.steps = 0

    def write(self, goals: Sequence[str], file: str, *, known: bytes = b"") -> None:
        """Write the file of these goals, or remove one that does not hold.

        Args:
            known: the generation of references of which no node has dropped any since: what was to
                be looked at then still is. b"" for none.
        """
        tree = self._tree
        path = os.path.join(tree._directory, clean_name(file, goals))
        try:
            if not (known and self._recall(path, known)):
                self._collect(goals)
            self._check_nodes()
            self._look()
        except (_Doubt, OSError):
            if os.path.exists(path):
                os.unlink(path)
            return
        numbers, files, signs = self._columns()
        renew(
            path,
            freeze(
                file,
                goals,
                base=tree._base,
                steps=self.steps,
                files=files,
                signatures=signs,
                links=b"\0".join(self._rows),
                link_signatures=b"".join(self._rows.values()),
                present=sorted(self._present),
                absent=sorted(self._absent),
                variables=sorted(self._variables),
                environ=tree._environ,
                notes={
                    "generation": tree._generation,
                    "nodes": record_of(sorted(self._reached)),
                    "fresh": self._fresh(numbers),
                    "numbers": record_of(numbers),
                    "looks": record_of(sorted(ref for ref in self._files if ref >= LOOK)),
                    "special": record_of(
                        sorted(number for number in self._files if number in tree._specials)
                    ),
                    "named": record_of(sorted(self._named)),
                },
            ),
        )
        self._sweep()

    def _sweep(self) -> None:
        """Keep the newest few: each set of goals that was ever asked for leaves one."""
        with os.scandir(self._tree._directory) as entries:
            found = [
                (entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.startswith(_CLEAN)
            ]
        for _, path in sorted(found)[:-_KEPT_MOST]:
            os.unlink(path)

    # -- which things --------------------------------------------------------------------------------

    def _collect(self, goals: Sequence[str]) -> None:
        tree = self._tree
        self._files.update(tree._front)
        self._reached.update(self._nodes_below(goals) if self._stored is not None else self._nodes_made())
        for node in self._reached:
            self._files.update(numbers_of(tree._references[node]))

    def _recall(self, path: str, known: bytes) -> bool:
        """Take over what the last file of these goals says is to be looked at, and what came to it since."""
        tree, stored = self._tree, self._stored
        section = load(path)
        if section is None or stored is None or section("generation") != memoryview(known):
            return False
        files = self._files
        notes = {
            "nodes": self._reached,
            "numbers": files,
            "looks": files,
            "special": files,
            "named": self._named,
        }
        for name, numbers in notes.items():
            part = section(name)
            if part is None:
                return False
            numbers.update(numbers_of(part))
        self.steps = int(bytes(section("steps") or b"0"))
        for name in tree._made:
            if (node := tree._numbers[name]) in self._reached:
                self._files.update(numbers_of(tree._references[node]))
        return True

    def _check_nodes(self) -> None:
        """Make sure that every node is known to be what it should be."""
        for node, flags in enumerate(self._tree._flags):
            if flags and node in self._reached and (flags != LONE or not self._is_there(node)):
                raise _Doubt

    def _is_there(self, node: int) -> bool:
        assert self._stored is not None
        return all(os.path.lexists(self._tree.things.full(thing)) for thing in self._stored.lists(node)[0])

    def _nodes_below(self, goals: Sequence[str]) -> Iterator[int]:
        """The numbers of all nodes that goals and the build file need, their files noted."""
        stored = self._stored
        assert stored is not None
        starts = stored.targets(goals)
        if starts is None:
            raise _Doubt
        makers = [stored.maker(ref) for ref in self._tree._front if not ref & LOOK]
        reached = {*starts.numbers, *(node for node in makers if node >= 0)}
        rest = list(reached)
        maker = stored.maker
        read: set[int] = set()  # phony names that a command reads: what they stand for counts
        while rest:
            node = rest.pop()
            outs, ins, after, checks = stored.lists(node)
            is_phony = stored.is_phony(node)
            self.steps += not is_phony
            (self._named if is_phony else self._files).update(outs)
            # What somebody makes is noted with its maker; what is only waited for must only be there.
            for things, is_read in ((ins, not is_phony), (after, False), (checks, False)):
                for thing in things:
                    below = maker(thing)
                    if is_read and below >= 0 and stored.is_phony(below):
                        read.add(below)
                        self._note_named(thing)
                    if below < 0:
                        (self._files if is_read else self._named).add(thing)
                    elif below not in reached:
                        reached.add(below)
                        rest.append(below)
            yield node
        self._stand_for(read, stored)

    def _stand_for(self, read: set[int], stored: StoredGraph) -> None:
        """Note what phony names stand for."""
        rest = list(read)
        while rest:
            for thing in stored.lists(rest.pop())[1]:
                below = stored.maker(thing)
                if below < 0:
                    self._files.add(thing)
                elif stored.is_phony(below):
                    self._note_named(thing)
                    if below not in read:
                        read.add(below)
                        rest.append(below)

    def _note_named(self, thing: int) -> None:
        """Note a phony name that somebody reads. It may be a file as well: CMake lists its own inputs so."""
        if self._tree.things.identity(thing) or os.path.isfile(self._tree.things.full(thing)):
            self._files.add(thing)

    def _nodes_made(self) -> Iterator[int]:
        """The numbers of the nodes of a graph that is made anew, their files noted."""
        tree = self._tree
        for node in self._nodes:
            self.steps += node.work is not None
            if node.name in tree._forgotten or (
                isinstance(node.work, Call) and not self._heeds.get(node.name)
            ):
                raise _Doubt
            if node.work is None and not (node.ins or node.after) and not all(map(self._exists, node.outs)):
                raise _Doubt  # what reads it is always out of date
            for path in (*node.ins, *node.outs):
                number = tree.things.number(path)
                is_name = node.work is None and not tree.things.identity(number)
                (self._named if is_name else self._files).add(number)
            self._named.update(map(tree.things.number, node.after))
            number = tree._numbers[node.name]
            self._files.update(numbers_of(tree._references[number]))
            if len(tree._rows[number]):
                yield number

    def _exists(self, path: str) -> bool:
        return os.path.lexists(os.path.join(self._tree._base, path))

    # -- how they look -------------------------------------------------------------------------------

    def _look(self) -> None:
        tree = self._tree
        # References that are no things are larger than any of those.
        for reference in [ref for ref in self._files if ref >= LOOK]:
            if reference & OUTDATED:
                raise _Doubt
            self._look_at(tree._looks[reference & ~LOOK])
        for number in self._files.intersection(tree._specials):
            self._look_at_special(number)
        for number in self._files.intersection(tree.things.unsettled()).difference(tree._specials):
            if not tree.things.identity(number):
                raise _Doubt  # nobody knows what it held
        for number in self._named - self._files:
            path = tree.things.paths[number]
            (self._present if os.path.lexists(tree.things.full(number)) else self._absent).add(path)

    def _look_at_special(self, number: int) -> None:
        """All signatures of a link or a directory, as long as they are those that were signed."""
        if not self._tree._specials[number]:
            raise _Doubt
        rows = special_rows(self._tree.things.full(number))
        if sign_of(rows) != self._tree._specials[number]:
            raise _Doubt
        for path, sign, _ in rows:
            self._rows[self._tree.things.short(path)] = sign

    def _look_at(self, dep: Dep) -> None:
        """What to stat for a look."""
        name = dep.name
        if dep.kind == "env":
            self._variables.add(name)
        elif dep.kind == "tool":
            self._look_at_tool(name)
        elif dep.kind == "absent" and not dep.identity:
            self._absent.add(self._short(name))
        elif dep.kind == "list":
            self._look_at_path(self._full(name))
        elif dep.kind in ("dir", "glob", "glob-all"):
            self._look_at_directories(name, is_pattern=dep.kind != "dir")
        elif dep.kind != "place":  # the base is asked for, and the root goes with it
            raise _Doubt

    def _look_at_tool(self, name: str) -> None:
        """The executable, and each place that would come before it."""
        environ = self._tree._environ
        if "/" in name:
            self._look_at_path(self._full(name))
            return
        found = find_tool(name, environ)
        for directory in environ.get("PATH", os.defpath).split(os.pathsep):
            path = os.path.join(directory or ".", name)
            if found is not None and path == found[0]:
                self._look_at_path(path)
                return
            if os.path.exists(path):
                self._look_at_path(path)
            else:
                self._absent.add(self._tree.things.short(path))
        raise _Doubt

    def _look_at_directories(self, name: str, *, is_pattern: bool) -> None:
        """The directories in which names could match: any new name changes one of them."""
        start, parts = split(name) if is_pattern else (name, ("**",))
        full = self._full(start) if start else self._tree._root
        if not os.path.isdir(full):
            raise _Doubt
        self._look_at_path(full)
        if len(parts) > 1 or "**" in parts:
            for top, names, _ in os.walk(full):
                names[:] = [each for each in names if each not in _PASSED]
                for each in names:
                    self._look_at_path(os.path.join(top, each))

    def _look_at_path(self, full: str) -> None:
        status = os.stat(full)
        if not is_settled(status, self._tree._began_ns):
            raise _Doubt
        self._more[self._tree.things.short(full)] = signature(status)

    def _full(self, name: str) -> str:
        return name if name[:1] == "/" else os.path.join(self._tree._root, name)

    def _short(self, name: str) -> bytes:
        return self._tree.things.short(self._full(name))

    def _fresh(self, numbers: Sequence[int]) -> bytes:
        """Content in place of a signature, for a few small files that are too young to have one.

        Else each build would be followed by one that goes the full way.
        """
        things = self._tree.things
        unsettled = things.unsettled().intersection(numbers)
        rows = []
        left_bytes = _FRESH_MOST_BYTES
        for number in sorted(unsettled) if len(unsettled) <= _FRESH_MOST else ():
            full = things.full(number)
            left_bytes -= os.stat(full).st_size
            if left_bytes < 0:
                return b""
            with open(full, "rb", buffering=0) as file:
                content = file.read()
            if digest(content) == things.identity(number):
                rows.append(fresh_row(bisect_left(numbers, number), content))
        return b"".join(rows)

    def _columns(self) -> tuple[list[int], bytes, bytes]:
        """Numbers, paths and signatures of all files, side by side; behind them, what has no number."""
        things = self._tree.things
        # One without a sure signature stands there with zeros: the next run goes and settles it.
        nothing = [number for number in self._tree._specials if not things.identity(number)]
        numbers = sorted(self._files.difference(nothing))
        del numbers[bisect_left(numbers, LOOK) :]
        paths, signs = things.paths, things.hints_of(numbers)
        if len(numbers) != len(paths):
            paths = [paths[number] for number in numbers]
        return numbers, b"\0".join([*paths, *self._more]), b"".join([signs, *self._more.values()])
