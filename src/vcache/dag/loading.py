"""Finds a vcachefile and reads it: it gives a graph, and what the reading depended on.

The file is a module of its own, run in its directory, under the eyes of the audit hook. It knows
the front end, and nothing of running nodes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final

from vcache.dag.front.graph import PyGraph
from vcache.dag.front.trouble import explained, shown_path
from vcache.dag.frozen import DIRECTORY
from vcache.entry import Dep
from vcache.errors import FingerprintError, GraphError
from vcache.fingerprint import traced
from vcache.fingerprint.inputs import Absent, File, Glob, Spec
from vcache.fingerprint.origin import Origin, Project, origin
from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec

    from vcache.dag.errands import JobPlace
    from vcache.dag.node import Node
    from vcache.fingerprint.observe import Observer
    from vcache.making import Keeper

__all__ = ["Loaded", "inside", "load"]

_MODULE: Final = "vcachefile"


@dataclass(slots=True)
class Loaded:
    """A build file that was read.

    Attributes:
        graph: what it made; it grows while bodies run.
        file: the absolute path of the file.
    """

    graph: PyGraph
    file: str
    _watch: _Imports = field(repr=False)

    def targets(self, words: Sequence[str] = ()) -> list[Node]:
        """The nodes that words name; without any, what the file says is to be made by default."""
        with inside(self.graph.base):
            return self.graph.targets(words)

    @property
    def specs(self) -> tuple[Spec | Dep, ...]:
        """What reading the file, and all bodies and values that ran so far, looked at. Ask after the run.

        Of a `Glob` only the names count. What changed while it was read is a `Dep` that never holds.
        """
        seen = self.graph.seen
        assert seen is not None
        seen.finish()
        specs: dict[str, Spec] = {}
        for spec in (*seen.deps_specs(), *self._watch.specs(), *self.graph.specs):
            if not (isinstance(spec, File) and spec.path in seen.unstable):
                specs[repr(spec)] = spec
        doubts = (
            Dep("file", shown_path(path, self.graph.base), b"", note="changed while it was read")
            for path in sorted(seen.unstable)
        )
        return (*specs.values(), *doubts)

    @property
    def front(self) -> tuple[Dep, ...]:
        """`specs` as they are now: one record for each. Ask after the run."""
        keeper = self.graph.keeper
        if keeper is None:
            raise GraphError(f"{self.file}: what it depends on is known to a cache only: load it with one")
        found: dict[tuple[str, str], Dep] = {}
        for each in self.specs:
            for dep in (each,) if isinstance(each, Dep) else _seen(each, keeper.observer):
                found[dep.kind, dep.name] = dep
        return tuple(found.values())


def _seen(spec: Spec, observer: Observer) -> Sequence[Dep]:
    try:
        found = observer.observe(spec)
    except FingerprintError as error:  # such as a file that is gone since
        return (Dep("file", getattr(spec, "path", repr(spec)), b"", note=str(error)),)
    return found[:1] if isinstance(spec, Glob) else found


def load(
    file: str | os.PathLike[str], *, cache: Keeper | None = None, defines: Mapping[str, str] | None = None,
    log_words: Callable[[], Sequence[str]] = tuple, jobs: JobPlace | None = None,
) -> Loaded:  # fmt: skip
    """Read a build file. Its directory is the current one meanwhile, and the first to import from.

    Args:
        file: the file.
        cache: where its values are kept; its root should be the file's directory.
        defines: what `-D name=value` said.
        log_words, jobs: as `PyGraph` has them.

    Raises:
        GraphError: it is not there, it raised (with the user's own lines), or what it says is wrong.
    """
    path = os.path.abspath(file)
    base = os.path.dirname(path)
    ignore = [os.path.join(base, DIRECTORY)]
    directory = getattr(cache, "directory", None)
    if directory is not None:
        ignore.append(os.fspath(directory))
    graph = PyGraph(base, keeper=cache, options=defines, log_words=log_words, jobs=jobs)
    watch = _Imports(base)
    with inside(base), watch, traced.record(ignore=ignore) as seen, graph.writing():
        graph.seen = seen
        seen.opened(path, os.O_RDONLY)
        _run(path, base)
        graph.check()
    return Loaded(graph, path, watch)


@contextmanager
def inside(base: str) -> Iterator[None]:
    """Within, a directory is the current one, and the first to import from.

    Bodies and values take paths to be relative to it: a run happens within, too. It is the
    process's own, for all threads.
    """
    try:
        before = os.getcwd()
    except FileNotFoundError:  # removed under our feet: there is no way back
        before = base
    os.chdir(base)
    sys.path.insert(0, base)
    try:
        yield
    finally:
        if base in sys.path:
            sys.path.remove(base)
        os.chdir(before)


def _run(path: str, base: str) -> None:
    """Carry the file out as the module `vcachefile`."""
    try:
        with traced.paused(), open(path, "rb") as source:
            text = source.read()
    except OSError as error:
        raise GraphError(f"{path}: cannot be read ({error.strerror}): name a build file with -f") from None
    module = ModuleType(_MODULE)
    module.__file__ = path
    # Found by name: classes of values that are read back from the cache, and what inspects a function.
    sys.modules[_MODULE] = module
    _forget_lines(path)
    try:
        exec(compile(text, path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - it is a program
    except SystemExit as error:
        raise GraphError(f"{os.path.basename(path)}: it called exit({error.code!r})") from None
    except Exception as error:
        raise explained(error, base, what=f"while {os.path.basename(path)} was read") from error


def _forget_lines(path: str) -> None:
    """Let nobody show lines of an earlier state of the file."""
    lines = sys.modules.get("linecache")
    if lines is not None:
        lines.checkcache(path)


_brought: set[str] = set()
"""Names of the project modules that earlier loads brought in: what they were may have changed."""


class _Imports:
    """Which modules a build file imports: the project's own by content, others by their entry file.

    A finder at the end of `sys.meta_path` hears of what nobody found.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._before: frozenset[str] = frozenset()
        self._missing: set[str] = set()

    def __enter__(self) -> None:
        for name in _brought:
            sys.modules.pop(name, None)
        _brought.clear()
        self._before = frozenset(sys.modules)
        sys.meta_path.append(self)
        import importlib

        importlib.invalidate_caches()

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)
        _brought.update(name for name, _ in self._own())

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Asked last: nobody has the module."""
        if "." not in name:
            self._missing.add(name)
        return None

    def specs(self) -> Iterable[Spec]:
        """What was imported, and what was looked for in vain in the file's directory."""
        own = dict(self._own())
        _brought.update(own)
        yield from map(File, own.values())
        yield from map(File, self._foreign())
        for name in sorted(self._missing):
            yield Absent(os.path.join(self._base, f"{name}.py"))
            yield Absent(os.path.join(self._base, name, "__init__.py"))

    def _own(self) -> list[tuple[str, str]]:
        """The project's modules, with their files."""
        prefix = os.path.join(self._base, "")
        project = Project(self._base, "")
        found = []
        for name, module in sorted(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name in self._before or name == _MODULE or not isinstance(path, str):
                continue
            if path.startswith(prefix) and origin(name, path, project) in (Origin.USER, Origin.EXTENSION):
                found.append((name, path))
        return found

    def _foreign(self) -> Iterator[str]:
        """The entry files of distributions: an upgrade replaces them."""
        own = {name for name, _ in self._own()}
        for name in sorted(sys.modules.keys() - self._before - own):
            path = getattr(sys.modules[name], "__file__", None)
            if "." in name or name == "vcache" or not isinstance(path, str):
                continue
            if origin(name, path) is Origin.DISTRIBUTION:
                yield path
