"""Inputs that only show while something runs: headers of a compile, files a function opens.

Two steps, as in ccache's direct mode: what was declared leads to the sets of names that were
seen in earlier runs; a set, looked at now, leads to the result of the run that saw the same.
It knows a small protocol of a cache, and nothing of what runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vcache.entry import Key, make_key
from vcache.errors import FingerprintError
from vcache.fingerprint import inputs
from vcache.fingerprint.globs import escape
from vcache.fingerprint.manifest import Manifest
from vcache.outcome import Hit

if TYPE_CHECKING:
    from vcache.entry import Dep
    from vcache.fingerprint.observe import Observer
    from vcache.outcome import Miss

__all__ = ["Discovery", "spec_of"]

_SEEN: Final = ".seen"
# Several branches of one project alternate in one cache: that many sets are kept per recipe.
_MOST_SETS: Final = 16

Names = list[list[str]]


class Shelf(Protocol):
    """What discovery needs of a cache."""

    @property
    def root(self) -> Path: ...

    @property
    def observer(self) -> Observer: ...

    def peek_key(self, key: Key) -> Hit | Miss: ...

    def get_key(self, key: Key, default: object = None) -> object: ...

    def put_key(self, key: Key, value: object) -> bool: ...


class Discovery:
    """The discovered inputs of one recipe.

    Args:
        shelf: where the sets of names are kept.
        base: what was declared.
    """

    def __init__(self, shelf: Shelf, base: Manifest) -> None:
        self._shelf = shelf
        self._base = base
        self._key = make_key(base.fingerprint(), namespace=_SEEN)

    def candidates(self) -> Iterator[Manifest]:
        """The full manifests that earlier runs would have now, the latest first."""
        looked_at: dict[tuple[str, str], tuple[Dep, ...] | None] = {}
        for names in self._sets():
            deps: list[Dep] = []
            for kind, name in names:
                if (kind, name) not in looked_at:
                    looked_at[kind, name] = self._look(kind, name)
                seen = looked_at[kind, name]
                if seen is None:
                    break
                deps += seen
            else:
                yield Manifest((*self._base, *deps))

    def learn(self, deps: Sequence[Dep]) -> Manifest:
        """Remember what a run saw; its full manifest."""
        names = sorted([dep.kind, dep.name] for dep in deps)
        others = [known for known in self._sets() if known != names]
        self._shelf.put_key(self._key, [names, *others][:_MOST_SETS])
        return Manifest((*self._base, *deps))

    def _sets(self) -> list[Names]:
        found = self._shelf.peek_key(self._key)  # a look-up on the way to one: not counted
        return found.value if isinstance(found, Hit) and isinstance(found.value, list) else []

    def _look(self, kind: str, name: str) -> tuple[Dep, ...] | None:
        """The state of a name now; None when it cannot be what an earlier run saw."""
        spec = spec_of(kind, name, self._shelf.root)
        if spec is None:
            return None
        try:
            return self._shelf.observer.observe(spec)
        except FingerprintError:
            return None


def spec_of(kind: str, name: str, root: Path) -> inputs.Spec | None:
    """What to look at to see a recorded input again; None for what is no input of its own, such as code."""
    if kind in _PATHS:
        return _PATHS[kind](os.path.join(root, name))
    if kind in ("glob", "glob-all"):
        pattern = name if name[:1] == "/" else f"{escape(str(root))}/{name}"
        return inputs.Glob(pattern, hidden=kind == "glob-all")
    if kind == "env":
        return inputs.Env(name)
    if kind == "tool":
        return inputs.Tool(os.path.join(root, name) if "/" in name else name)
    return None


_PATHS: Final[Mapping[str, Callable[[str], inputs.Spec]]] = {
    "file": inputs.File,
    "mtime": lambda path: inputs.File(path, by="mtime"),
    "absent": inputs.Absent,
    "list": inputs.Listing,
    "dir": inputs.Dir,
}
