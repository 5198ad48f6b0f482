"""`-t clean` and `-t cleandead`: which files go. It removes nothing but what the manifest makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vcache.dag.ninja.scope import canonical
from vcache.dag.ninja.tools import complete, needs
from vcache.dag.node import Command

if TYPE_CHECKING:
    from vcache.dag.ninja.load import NinjaGraph
    from vcache.dag.node import Node

__all__ = ["Cleaner"]


class Cleaner:
    """Removes files that nodes made, and says so.

    Args:
        say: takes lines for standard output.
        complain: takes the texts of errors.
        is_dry_run: nothing is removed; what would be is named and counted.

    Attributes:
        status: 1 when something went wrong.
        n_removed: how many files went.
    """

    def __init__(
        self,
        graph: NinjaGraph,
        *,
        say: Callable[[str], object],
        complain: Callable[[str], object],
        is_dry_run: bool = False,
        is_verbose: bool = False,
    ) -> None:
        self.status = 0
        self.n_removed = 0
        self._graph, self._say, self._complain = graph, say, complain
        self._is_dry_run, self._is_verbose = is_dry_run, is_verbose or is_dry_run
        self._done: set[str] = set()

    def everything(self, *, with_generated: bool) -> None:
        """All that is made, but for the outputs of generator rules unless they are asked for."""
        for node in self._nodes():
            if node.rule != "phony" and (with_generated or not node.is_generator):
                self._clean(node)

    def targets(self, words: Sequence[str]) -> None:
        """Targets and all that they are made from."""
        for word in words:
            path = canonical(word) if word else ""
            if not path or not self._is_known(path):
                self._fail(f"unknown target '{path}'" if path else "empty path")
                continue
            if self._is_verbose:
                self._say(f"Target {path}")
            self._below(path)

    def rules(self, names: Sequence[str]) -> None:
        """All that rules make."""
        known = {node.rule for node in self._graph.nodes} | self._graph._manifest.scope.rules.keys()
        for name in names:
            if name not in known:
                self._fail(f"unknown rule '{name}'")
                continue
            if self._is_verbose:
                self._say(f"Rule {name}")
            for node in self._nodes():
                if node.rule == name:
                    self._clean(node)

    def dead(self, made_before: Iterable[str]) -> None:
        """What was made once, and no statement names now, by whichever of its names."""
        base = self._graph.base
        named = {os.path.normpath(os.path.join(base, path)) for path in self._paths()}
        for path in made_before:
            if os.path.normpath(os.path.join(base, path)) not in named:
                self._remove(path)

    def _paths(self) -> Iterator[str]:
        for node in self._nodes():
            yield from (*node.outs, *node.ins, *node.after, *node.checks)

    def _is_known(self, path: str) -> bool:
        return self._graph.producer(path) is not None or bool(self._graph.consumers(path))

    def _below(self, start: str) -> None:
        stack, seen = [start], {start}
        while stack:
            path = stack.pop()
            node = complete(self._graph, self._graph.producer(path), _ignore)
            if node is None:
                continue
            if node.rule != "phony":  # only the output that is needed: as in ninja
                self._remove_all([path, *_extras(node)])
            fresh = [need for need in needs(node) if need not in seen]
            seen.update(fresh)
            stack += reversed(fresh)

    def _nodes(self) -> Iterator[Node]:
        for node in self._graph.nodes:
            yield complete(self._graph, node, _ignore) or node

    def _clean(self, node: Node) -> None:
        self._remove_all([*node.outs, *_extras(node)])

    def _remove_all(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._remove(path)

    def _remove(self, path: str) -> None:
        if path in self._done:
            return
        self._done.add(path)
        full = os.path.join(self._graph.base, path)
        try:
            if self._is_dry_run:
                os.stat(full)
            else:
                _remove_any(full)
        except FileNotFoundError:
            return
        except OSError as error:
            self._fail(f"remove({path}): {os.strerror(error.errno or 0)}")
            return
        self.n_removed += 1
        if self._is_verbose:
            self._say(f"Remove {path}")

    def _fail(self, text: str) -> None:
        self.status = 1
        self._complain(text)


def _extras(node: Node) -> list[str]:
    """What a command may leave besides its outputs."""
    work = node.work
    return [path for path in (work.depfile, work.rspfile) if path] if isinstance(work, Command) else []


def _ignore(text: str) -> None:
    """A dyndep file that is not there adds nothing to be removed."""


def _remove_any(path: str) -> None:
    """Remove a file, a link or an empty directory."""
    try:
        os.unlink(path)
    except (IsADirectoryError, PermissionError):
        os.rmdir(path)
