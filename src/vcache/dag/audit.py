"""What a command did, held against what its node declares. Pure: no file is looked at.

It knows no runner; how the command was observed is another's affair.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from vcache.dag.node import Node

__all__ = ["Finding", "Kind", "as_json", "compare", "lines"]

Kind: TypeAlias = Literal[
    "undeclared-input",
    "order-only-input",
    "undeclared-list",
    "undeclared-output",
    "output-outside",
    "absent-input",
    "input-outside",
    "unused-input",
]

# Wrong or missing results may come of the first five; the others only tell.
_WARNINGS: Final[tuple[Kind, ...]] = (
    "undeclared-input",
    "order-only-input",
    "undeclared-list",
    "undeclared-output",
    "output-outside",
)
_TEXTS: Final[Mapping[Kind, str]] = {
    "undeclared-input": "reads {paths}, which it does not declare: a change of it reruns nothing. Add it to the inputs, give a depfile, or trace it",
    "order-only-input": "reads {paths}, which is declared order-only: a change of it reruns nothing. Make it an input, or give a depfile",
    "undeclared-list": "lists {paths}, which it does not declare: a new file there reruns nothing. Add the directory or a pattern to the inputs",
    "undeclared-output": "writes {paths}, which it does not declare: a hit will not bring it back. Add it to the outputs",
    "output-outside": "writes {paths} outside of the project: a hit will not bring it back",
    "absent-input": "looked for {paths}, not there: should it come to be, nothing is rerun",
    "input-outside": "reads outside of the project: {paths}",
    "unused-input": "declares {paths} and did not read it: a change of it reruns this for nothing",
}  # fmt: skip
_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between what a node says and what it does.

    Attributes:
        kind: which difference.
        node: the node's name.
        paths: relative to the root below it, else absolute; for what is outside, directories.
        counts: how many files stand behind each of `paths`.
        is_warning: a build may go wrong by it. Others are for information.
    """

    kind: Kind
    node: str
    paths: tuple[str, ...]
    counts: tuple[int, ...] = ()

    @property
    def is_warning(self) -> bool:
        return self.kind in _WARNINGS

    def __str__(self) -> str:
        names = [
            path if not count else f"{path.rstrip('/')}/… ({count} file{'s' * (count > 1)})"
            for path, count in zip(self.paths, self.counts or (0,) * len(self.paths), strict=True)
        ]
        more = len(names) - _MOST_NAMED
        said = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{self.node}: {_TEXTS[self.kind].format(paths=said)}"


def compare(
    node: Node,
    opened: Iterable[tuple[str, str]],
    wrote: Iterable[str],
    *,
    declared: Collection[str],
    outs: Collection[str],
    root: str,
    found: Collection[str] = (),
    after: Collection[str] = (),
) -> list[Finding]:
    """Where a node and its command differ, warnings first.

    All paths are absolute; one that ends with "/" stands for all that is below it.

    Args:
        opened: as `Ended.opened`.
        wrote: as `Ended.wrote`.
        declared: inputs, with the programs that are declared as tools.
        outs: outputs, with the depfile and the response file.
        root: of the project.
        found: what a depfile named; not what was traced, or nothing is ever undeclared.
        after: order-only inputs.
    """
    opened, wrote = list(dict.fromkeys(opened)), list(dict.fromkeys(wrote))
    inputs, outputs, later = _Set(declared), _Set(outs), _Set(after)
    known = _Set((*declared, *found, *outs))
    root = root.rstrip("/")
    groups: dict[Kind, list[str]] = {}

    def note(kind: Kind, path: str) -> None:
        groups.setdefault(kind, []).append(path)

    for kind, path in opened:
        if not _is_below(path, root):
            if kind == "file" and path not in known:
                note("input-outside", path)
        elif kind == "absent" and path not in known:
            note("absent-input", path)
        elif kind == "list" and path not in known and f"{path}/" not in known:
            note("undeclared-list", path)
        elif kind == "file" and path not in known:
            note("order-only-input" if path in later else "undeclared-input", path)
    for path in wrote:
        # The directories on the way to an output are no outputs of their own.
        if path not in outputs and not any(out.startswith(f"{path}/") for out in (*outs, *wrote)):
            note("undeclared-output" if _is_below(path, root) else "output-outside", path)
    for path in inputs.unused({path for _, path in opened}):
        note("unused-input", path)
    return [_finding(kind, node.name, groups[kind], root) for kind in _TEXTS if kind in groups]


def lines(findings: Iterable[Finding]) -> list[str]:
    """For people: one line each, warnings first."""
    return [str(finding) for finding in sorted(findings, key=lambda finding: not finding.is_warning)]


def as_json(findings: Iterable[Finding]) -> str:
    """For programs: an array of objects with `kind`, `node`, `is_warning`, `paths`, `counts`."""
    said = [
        {
            "kind": finding.kind,
            "node": finding.node,
            "is_warning": finding.is_warning,
            "paths": list(finding.paths),
            "counts": list(finding.counts),
        }
        for finding in findings
    ]
    return json.dumps(said, indent=2, ensure_ascii=True)  # names that are no text stay loadable


class _Set:
    """Paths, and all that is below those that end with "/"."""

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = dict.fromkeys(paths)
        self._trees = tuple(path for path in self._paths if path.endswith("/"))

    def __contains__(self, path: str) -> bool:
        return path in self._paths or f"{path}/" in self._paths or path.startswith(self._trees)

    def unused(self, seen: Collection[str]) -> list[str]:
        """Those that none of what was seen is, or is below."""
        return [
            path
            for path in self._paths
            if path not in seen
            and not (path.endswith("/") and any(f"{name}/".startswith(path) for name in seen))
        ]


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _finding(kind: Kind, node: str, paths: Sequence[str], root: str) -> Finding:
    if kind not in ("input-outside", "output-outside"):
        return Finding(kind, node, tuple(sorted(_name(path, root) for path in paths)))
    groups = Counter("/".join(os.path.dirname(path).split("/")[:3]) or "/" for path in paths)
    named = sorted(groups.items(), key=lambda item: (-item[1], item[0]))
    return Finding(kind, node, tuple(name for name, _ in named), tuple(count for _, count in named))


def _name(path: str, root: str) -> str:
    if path == root:
        return "."
    return path[len(root) + 1 :] if path.startswith(f"{root}/") else path
