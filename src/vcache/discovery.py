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
from vcache.fingerprint.manifest import Manifest

if TYPE_CHECKING:
    from vcache.entry import Dep
    from vcache.fingerprint.observe import Observer

__all__ = ["Discovery"]

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
        known = self._shelf.get_key(self._key)
        return known if isinstance(known, list) else []

    def _look(self, kind: str, name: str) -> tuple[Dep, ...] | None:
        """The state of a name now; None when it cannot be what an earlier run saw."""
        make = _KINDS.get(kind)
        if make is None:
            return None
        try:
            return self._shelf.observer.observe(make(os.path.join(self._shelf.root, name)))
        except FingerprintError:
            return None


_KINDS: Final[Mapping[str, Callable[[str], inputs.Spec]]] = {
    "file": inputs.File,
    "absent": inputs.Absent,
    "list": inputs.Listing,
}
