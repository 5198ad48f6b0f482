"""What the words of a command line mean in a manifest, and what to say of those that mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from vcache.dag.graph import find_cycle
from vcache.dag.ninja.manifest import Manifest
from vcache.dag.ninja.scope import PHONY, Edge
from vcache.errors import GraphError

__all__ = ["consumers_of", "named", "require_no_cycle", "roots"]

_FARTHEST: Final = 3
"""How many edits away a name may be to be guessed: as in ninja."""

_COMMANDS: Final = {"clean": "ninja -t clean", "help": "ninja -h"}


def consumers_of(edges: Iterable[Edge]) -> dict[str, list[Edge]]:
    """Path ▷ the edges that need it, in the manifest's order."""
    found: dict[str, list[Edge]] = {}
    for edge in edges:
        for path in edge.ins:
            found.setdefault(path, []).append(edge)
        for path in edge.after:
            found.setdefault(path, []).append(edge)
    return found


def roots(manifest: Manifest) -> list[str]:
    """The outputs that nothing needs.

    Raises:
        GraphError: everything is needed by something.
    """
    needed = set(manifest.mended)
    for edge in manifest.edges:
        needed.update(edge.ins, edge.after)
    found = [path for edge in manifest.edges for path in edge.outs if path not in needed]
    if manifest.edges and not found:
        raise GraphError("could not determine root nodes of build graph")
    return found


def named(
    word: str,
    manifest: Manifest,
    *,
    consumers: Callable[[], dict[str, list[Edge]]],
    reader: Callable[[str], str],
) -> str:
    """The path that a word stands for; `a.c^` stands for the first output made from a.c.

    Args:
        consumers: gives who needs what, when that is asked.
        reader: gives an output whose making was seen to read a path, "" for none: a header is known
            by that, though no statement names it.

    Raises:
        GraphError: nothing is known of it.
    """
    if not word:
        raise GraphError("empty path")
    path = manifest.paths[word]
    is_reader = path.endswith("^")
    path = path.removesuffix("^")
    if not manifest.knows(path) and not reader(path):
        raise GraphError(f"unknown target '{path}'" + _guess(path, manifest))
    if not is_reader:
        return path
    edges = consumers().get(path)
    made = edges[0].outs[0] if edges else reader(path)
    if not made:
        raise GraphError(f"'{path}' has no out edge")
    return made


def _guess(path: str, manifest: Manifest) -> str:
    """What may have been meant instead."""
    if path in _COMMANDS:
        return f", did you mean '{_COMMANDS[path]}'?"
    best, nearest = _FARTHEST + 1, ""
    for choice in _all_paths(manifest):
        if abs(len(choice) - len(path)) < best:
            distance = _edits(path, choice, best - 1)
            if distance < best:
                best, nearest = distance, choice
    return f", did you mean '{nearest}'?" if nearest else ""


def _all_paths(manifest: Manifest) -> Iterator[str]:
    """Every path that a statement names, once."""
    seen: dict[str, None] = {}
    for edge in manifest.edges:
        for path in (*edge.outs, *edge.ins, *edge.after, *edge.checks):
            seen[path] = None
    return iter(seen)


def _edits(left: str, right: str, most: int) -> int:
    """How many insertions, deletions and replacements lie between two texts; more than `most` for many.

    Only the diagonal band that `most` edits can reach is worked out.
    """
    width = len(right)
    row = list(range(width + 1))
    for index, char in enumerate(left, 1):
        low, high = max(1, index - most), min(width, index + most)
        following = [most + 1] * (width + 1)
        if low == 1:
            following[0] = index
        for column in range(low, high + 1):
            following[column] = min(
                row[column - 1] + (char != right[column - 1]), row[column] + 1, following[column - 1] + 1
            )
        row = following
        if min(row) > most:
            return most + 1
    return row[width]


def require_no_cycle(starts: Sequence[Edge], producers: dict[str, Edge]) -> None:
    """See that no edge that is wanted, or checked, needs itself.

    Raises:
        GraphError: one does; the whole path is shown.
    """
    wanted = list(starts)
    get = producers.get

    def needs(edge: Edge) -> list[Edge]:
        if edge.checks:
            # Checks are wanted too, but nothing waits for them: they may lead back here.
            wanted.extend(made for path in edge.checks if (made := get(path)))
        return [made for path in edge.inputs() if (made := get(path))]

    cycle = find_cycle(wanted, needs)
    if cycle:
        raise GraphError("dependency cycle: " + _cycle_text(cycle))


def _cycle_text(cycle: list[Edge]) -> str:
    """A cycle by the paths through which its edges need each other."""
    links = [next(path for path in edge.inputs() if path in needed.outs) for edge, needed in pairwise(cycle)]
    text = " -> ".join((links[-1], *links))
    edge = cycle[0]
    is_excused = edge.rule is PHONY and len(edge.outs) == 1 and not edge.hidden_outs and not edge.hidden_ins
    return text + (" [-w phonycycle=err]" if len(links) == 1 and is_excused else "")
