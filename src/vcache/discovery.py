"""Inputs that only show while something runs: headers of a compile, files a function opens.

Two steps, as in ccache's direct mode: what was declared leads to the sets of names that were
seen in earlier runs; a set, looked at now, leads to the result of the run that saw the same.
It knows a small protocol of a cache, and nothing of what runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vcache.entry import Key, make_key
from vcache.errors import FingerprintError, UsageError
from vcache.fingerprint import inputs
from vcache.fingerprint.depfile import parse_depfile
from vcache.fingerprint.globs import escape
from vcache.fingerprint.manifest import Manifest

if TYPE_CHECKING:
    from vcache.entry import Dep
    from vcache.fingerprint.observe import Observer
    from vcache.outcome import Hit, Miss

__all__ = [
    "Discovery",
    "begin",
    "found_files",
    "learn_names",
    "named_by_depfile",
    "seen_key",
    "sets_of",
    "spec_of",
]

_SEEN: Final = make_key(b"", namespace=".seen")
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

    def glance_key(self, key: Key) -> tuple[int, object]: ...

    def get_key(self, key: Key, default: object = None) -> object: ...

    def put_key(self, key: Key, value: object) -> bool: ...


def seen_key(base: bytes) -> Key:
    """Where the sets of names lie that were seen for a base of this fingerprint."""
    return _SEEN + base


def sets_of(shelf: Shelf, key: Key) -> list[Names]:
    """The sets of names that earlier runs saw, the latest first: each a sorted list of [kind, name]."""
    found = shelf.glance_key(key)[1]  # a look-up on the way to one: not counted
    return found if isinstance(found, list) else []


def learn_names(shelf: Shelf, key: Key, deps: Iterable[Dep]) -> bool:
    """Remember what a run saw, as the latest of the sets; whether the cache took it."""
    names = sorted([dep.kind, dep.name] for dep in deps)
    known = sets_of(shelf, key)
    if known[:1] == [names]:
        return True
    return shelf.put_key(key, [names, *(other for other in known if other != names)][:_MOST_SETS])


class Discovery:
    """The discovered inputs of one recipe.

    Args:
        shelf: where the sets of names are kept.
        base: what was declared.
    """

    def __init__(self, shelf: Shelf, base: Manifest) -> None:
        self._shelf = shelf
        self._base = base
        self._key = seen_key(base.fingerprint())

    def candidates(self) -> Iterator[Manifest]:
        """The full manifests that earlier runs would have now, the latest first."""
        looked_at: dict[tuple[str, str], tuple[Dep, ...] | None] = {}
        for names in sets_of(self._shelf, self._key):
            deps: list[Dep] = []
            try:
                for kind, name in names:
                    if (kind, name) not in looked_at:
                        looked_at[kind, name] = self._look(kind, name)
                    seen = looked_at[kind, name]
                    if seen is None:
                        break
                    deps += seen
                else:
                    yield Manifest((*self._base, *deps))
            except (TypeError, ValueError):
                continue  # another program's: no pairs of text

    def learn(self, deps: Sequence[Dep]) -> Manifest:
        """Remember what a run saw; its full manifest."""
        learn_names(self._shelf, self._key, deps)
        return Manifest((*self._base, *deps))

    def _look(self, kind: str, name: str) -> tuple[Dep, ...] | None:
        """The state of a name now; None when it cannot be what an earlier run saw."""
        spec = spec_of(kind, name, self._shelf.root)
        if spec is None:
            return None
        try:
            return self._shelf.observer.observe(spec)
        except FingerprintError:
            return None


def begin(*, waits: bool) -> int:
    """The time of files from which on a change counts as made while something ran.

    Args:
        waits: until the clock of files, which ticks some 4 ms behind the fine one, has passed the
            present. What was written just before, stamped by the one or the other (Linux 6.13:
            multigrain timestamps), could not be told from what is written just after.
    """
    now_ns = time.time_ns()
    deadline = time.monotonic() + _LAG_MOST_S
    while waits and time.clock_gettime_ns(_FILE_CLOCK) <= now_ns and time.monotonic() < deadline:
        time.sleep(_TICK_PART_S)
    return time.clock_gettime_ns(_FILE_CLOCK)


_TICK_PART_S: Final = 0.0005
_LAG_MOST_S: Final = 0.05  # a clock that was set back is not waited for
_FILE_CLOCK: Final = 5 if sys.platform == "linux" else time.CLOCK_REALTIME  # CLOCK_REALTIME_COARSE


def named_by_depfile(
    shelf: Shelf, depfile: str, *, outs: Iterable[str], began_ns: int, cwd: str | None = None
) -> list[Dep] | str:
    """What a depfile below the root names, or why that is not certain.

    Args:
        outs, began_ns, cwd: as `found_files`.

    Raises:
        UsageError: it was not written, or is none.
    """
    try:
        with open(os.path.join(shelf.root, depfile), encoding="utf-8", errors="surrogateescape") as file:
            names = parse_depfile(file.read())
    except FileNotFoundError:
        raise UsageError(f"the depfile {depfile!r} was promised and not written") from None
    except UsageError as error:
        raise UsageError(f"{depfile!r}: {error}") from None
    return found_files(shelf, names, outs=outs, began_ns=began_ns, cwd=cwd)


def found_files(
    shelf: Shelf, names: Iterable[str], *, outs: Iterable[str], began_ns: int, cwd: str | None = None
) -> list[Dep] | str:
    """The files that a run said it had read, or why they are not certain.

    Args:
        outs: names below the root that are made, and no inputs.
        began_ns: what changed since is not known to be what was read.
        cwd: where it ran. None where only this process knows: here, or in the project's root.
    """
    root = shelf.root
    made = {os.path.join(root, name) for name in outs}
    found: list[Dep] = []
    for name in names:
        full = os.path.join(cwd or os.getcwd(), name)
        if cwd is None and not os.path.exists(full):
            full = os.path.join(root, name)
        if os.path.normpath(full) in made:
            continue
        try:
            # Whatever changes content changes ctime as well; an mtime may be set to anything.
            if os.stat(full).st_ctime_ns >= began_ns:
                return f"{name} changed while it ran"
            found += shelf.observer.observe(inputs.File(full))
        except (OSError, FingerprintError) as error:
            return f"its depfile names {name}: {error}"
    return found


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
