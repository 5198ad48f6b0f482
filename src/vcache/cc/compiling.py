"""One compile through the cache: looked up, or run and kept, by the keys of docs/design/build.md.

It knows a parsed command and the cache, and nothing of options of our own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache import config, discovery, recipes
from vcache.action import Actions
from vcache.artifacts import output_name
from vcache.cache import Cache
from vcache.cc import headers, launching, lean, records
from vcache.cc.running import Ran, run
from vcache.entry import Dep, make_key
from vcache.errors import UnsafePath, UsageError, VcacheError
from vcache.fingerprint import inputs
from vcache.fingerprint.compilers import HEEDED, compiler_tools
from vcache.fingerprint.depfile import parse_depfile
from vcache.fingerprint.manifest import Manifest
from vcache.fingerprint.outputs import safe_target
from vcache.fingerprint.tools import find_tool
from vcache.hash import digest
from vcache.opening import remotes_of
from vcache.portable import RECIPE, argv_dep, cwd_dep, depfile_dep, out_dep, place_dep, portable_name, set_dep

if TYPE_CHECKING:
    from vcache.action import Result
    from vcache.cc.arguments import Compile
    from vcache.config import Settings

__all__ = ["Compilation", "Unusable"]

_MARKS: Final = (".git", ".hg", "vcachefile.py", "vcache.toml")
_TOOLS: Final = ".tools"
_COLOR: Final = "-fdiagnostics-color=always"


class Unusable(Exception):
    """Why the cache cannot be used here; the compiler then runs as it is."""


class Compilation:
    """One parsed command of one compiler.

    Args:
        program: the path of the compiler.
        say: told what became of it.

    Raises:
        Unusable: there is no cache to be had, or the command names what is not there.
    """

    def __init__(self, program: str, command: Compile, *, say: Callable[[str], object]) -> None:
        self._program, self._command, self._say = program, command, say
        self._cwd = os.getcwd()
        self._began_ns = discovery.begin(waits=False)
        try:
            self._settings = config.load()
            self._root = _root_for(self._cwd, command.outs)
            self._cache = _opened(self._settings, self._root)
            self._tools, self._shadows = _programs(program, self._cache)
            self._names = tuple(output_name(self._root, os.path.join(self._cwd, out)) for out in command.outs)
            for name in self._names:
                safe_target(self._root, name)
                self._require_plain(name)
            self._base = Manifest(self._observe())
        except (VcacheError, OSError, UnsafePath) as error:
            raise Unusable(str(error)) from error
        self._actions = Actions(self._cache)
        self._owner = f"dag:{self._names[0]}"

    def explain(self) -> None:
        """Say what changed since the nearest earlier run."""
        why = self._actions.explain(self._owner, self._base)
        if why.is_hit:
            return  # said when it is put back
        if why.nearest is None:
            self._say("miss: no earlier run is known")
        else:
            for change in why.changes:
                for line in recipes.in_words(change):
                    self._say(line)
            self._say(f"miss: compared with {why.nearest}")

    def status(self, counts: records.Counts) -> int:
        """The compiler's status as in `Ran`, once the outputs are there and the cache is closed."""
        try:
            return self._status(counts)
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._cache.close()
        except (VcacheError, OSError) as error:
            self._say(f"a fault of vcache: {error!r}")

    def _status(self, counts: records.Counts) -> int:
        result = self._found()
        if result is not None:
            counts.add("full")
            for stream, _, data in result.chunks:
                _write(stream, data)
            self._say(f"hit: {result.name}")
            self._leave_record(
                result.found, result.files, [(stream, data) for stream, _, data in result.chunks]
            )
            return 0
        return self._run(counts)

    # -- what identifies it --------------------------------------------------------------------

    def _observe(self) -> Iterator[Dep]:
        command, observer, root = self._command, self._cache.observer, os.fspath(self._root)
        yield RECIPE
        yield argv_dep(self._argv(), root)
        yield cwd_dep(portable_name(self._cwd, root))
        for tool in self._tools:
            yield from observer.observe(inputs.Tool(tool))
        for variable in HEEDED:
            yield from observer.observe(inputs.Env(variable))
        for path in (command.source, *command.inputs):
            yield from observer.observe(inputs.File(os.path.join(self._cwd, path)))
        yield from map(out_dep, self._names)
        if command.depfile:
            yield depfile_dep(output_name(self._root, os.path.join(self._cwd, command.depfile)))
        if command.wants_cpu:
            cpu = lean.cpu()
            if not cpu:
                raise Unusable("nobody knows this processor")
            yield Dep("value", "cpu", digest(cpu))
        named = os.environ.get("PWD", "")
        if named and named != self._cwd and _is_same(named, self._cwd):
            yield set_dep("PWD", named, root)  # what debug information will name as its directory

    def _argv(self) -> list[str]:
        """The compiler's words, colours as they would be without a pipe in between."""
        words = list(self._command.argv)
        if not self._command.is_colored and os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb":
            words.append(_COLOR)
        return words

    def _require_plain(self, name: str) -> None:
        path = os.path.join(self._root, name)
        if not os.path.isdir(os.path.dirname(path)):
            raise Unusable("its output's directory is not there")  # as the compiler will say
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
            raise Unusable("its output is no regular file")

    # -- from the cache ------------------------------------------------------------------------

    def _found(self) -> Result | None:
        try:
            result = self._actions.find(self._owner, self._base)
            if result is not None and self._actions.put_back(result) is None:
                result = None
            self._actions.count(result)
        except Exception as error:  # a fault of ours must not be a fault of the build
            self._say(f"a fault of vcache: {error!r}")
            return None
        return result

    # -- into the cache ------------------------------------------------------------------------

    def _run(self, counts: records.Counts) -> int:
        with _Scratch() as scratch:
            lines = headers.IncludeLines() if self._command.sees == "partial" else None
            depfile = os.path.join(scratch, "d") if self._command.sees == "none" else self._command.depfile
            words = self._argv()[1:]
            if self._command.sees == "none":
                words += ["-MD", "-MF", depfile]
            elif lines is not None:
                words += ["-Xclang", "-H"] if _is_clang(self._program) else ["-H"]
            try:
                ran = run(
                    self._program, words, keep_line=None if lines is None else lines.keep, meanwhile=_load
                )
            except OSError as error:
                _write(2, os.fsencode(f"vcache cc: {self._program}: {error.strerror}\n"))
                return 127 if isinstance(error, FileNotFoundError) else 126
            if ran.status == 0:
                counts.add("miss")
                self._try_keep(ran, lines.with_predefined() if lines else None, depfile, counts)
            else:
                counts.add("failed")
                self._say(f"failed with {ran.status}")
        return ran.status

    def _try_keep(self, ran: Ran, names: list[str] | None, depfile: str, counts: records.Counts) -> None:
        try:
            why_not = self._keep(ran, names, depfile)
        except Exception as error:  # the object is made: whatever else fails is no fault of the build
            why_not = f"a fault of vcache: {error!r}"
        if why_not:
            counts.add(f"unkept {why_not.partition(':')[0]}")
            self._say(f"miss, and not kept: {why_not}")
        else:
            self._say("miss, and kept")

    def _keep(self, ran: Ran, names: list[str] | None, depfile: str) -> str:
        """Keep what was made; why not, in words."""
        if ran.was_signalled or not ran.is_whole:
            return "it was interrupted" if ran.was_signalled else "its words were not read to the end"
        if names is None:
            names = [] if self._command.sees == "never" else self._named_by(depfile)
        cache, command = self._cache, self._command
        stale = cache.observer.first_stale(self._base)
        if stale is not None:
            return f"{stale.dep.kind} {stale.reason} while it ran: {stale.dep.name}"
        known = {os.path.normpath(path) for path in (command.source, *command.inputs)}
        names = [name for name in names if os.path.normpath(name) not in known]
        found = discovery.found_files(cache, names, outs=self._names, began_ns=self._began_ns, cwd=self._cwd)
        if isinstance(found, str):
            return f"an include: {found}"
        asked, why_not = self._scan([command.source, *names])
        if why_not:
            return why_not
        absent = headers.missing_names(names, source=command.source, searched=command.searched, asked=asked)
        found += self._absences(absent)
        if command.is_bound:
            found.append(place_dep(self._root))
        kept = self._actions.publish(
            self._owner, self._base, found, self._names,
            [(stream, 0, data) for stream, data in ran.chunks],
            cost_ns=ran.took_ns,
            names_root=any(os.fspath(self._root) in word for word in command.argv),
        )  # fmt: skip
        if isinstance(kept, str):
            return kept
        self._leave_record(kept.found, kept.files, ran.chunks)
        if os.environ.get("VCACHE_CC_SHORT") != "0":
            launching.prepare(lean.home(), self._program)
        return ""

    def _named_by(self, depfile: str) -> list[str]:
        with open(os.path.join(self._cwd, depfile), encoding="utf-8", errors="surrogateescape") as file:
            return list(parse_depfile(file.read()))

    def _scan(self, names: Iterable[str]) -> tuple[list[str], str]:
        """What is asked for by `__has_include`, and why a result cannot be kept. The source comes first."""
        is_assembly = self._command.source.endswith((".s", ".S", ".sx"))
        may_say_time = bool(os.environ.get("SOURCE_DATE_EPOCH"))
        asked: dict[str, None] = {}
        command = self._command
        for number, name in enumerate(names):
            with open(os.path.join(self._cwd, name), "rb", buffering=0) as file:
                content = file.readall()
            if number == 0:
                wanted = [*command.forced, *headers.included(content)]
                found = headers.precompiled(wanted, source=command.source, searched=command.searched)
                if found:
                    return [], f"a precompiled header is there: {found}"
            why_not = headers.forbidding(content, is_assembly=is_assembly, may_say_time=may_say_time)
            if why_not:
                return [], f"{why_not} a file: {name}"
            asked.update(dict.fromkeys(headers.probed(content)))
        return list(asked), ""

    def _absences(self, paths: Iterable[str]) -> list[Dep]:
        """What was not there, by portable names; a path that leads through `..` is as it is."""
        observe = self._cache.observer.observe
        found = (observe(inputs.Absent(os.path.normpath(os.path.join(self._cwd, path)))) for path in paths)
        return [dep for (dep,) in found if not dep.identity]

    # -- the short cut -------------------------------------------------------------------------

    def _leave_record(
        self, found: Iterable[Dep], files: Iterable[list[object]], said: Iterable[tuple[int, bytes]]
    ) -> None:
        """Leave what `lean` answers from next time."""
        command, root = self._command, os.fspath(self._root)
        found = list(found)
        contents: list[str] = [os.path.join(self._cwd, path) for path in (command.source, *command.inputs)]
        contents += (os.path.join(root, dep.name) for dep in found if dep.kind == "file")
        try:
            records.leave(
                asked=lean.request(self._program, list(command.argv), self._cwd),
                files=contents,
                tools=self._tools,
                absent=[
                    *self._shadows,
                    *(os.path.join(root, dep.name) for dep in found if dep.kind == "absent"),
                ],
                outs=dict(zip(self._names, command.outs, strict=True)),
                root=root,
                artifacts=files,
                said=list(said),
                began_ns=self._began_ns,
                settings=self._settings,
            )
        except (OSError, ValueError) as error:
            self._say(f"no short cut: {error}")


# --- where it happens ------------------------------------------------------------------------


def _root_for(cwd: str, outs: Iterable[str]) -> Path:
    """The project's root; where an output lies elsewhere, what holds all of it."""
    named = os.environ.get("VCACHE_ROOT", "")
    root = os.path.realpath(named) if named else _marked(cwd)
    full = [os.path.abspath(os.path.join(cwd, out)) for out in outs]
    if all(path.startswith(f"{root.rstrip('/')}/") for path in full):
        return Path(root)
    return Path(os.path.commonpath([cwd, *map(os.path.dirname, full)]))


def _marked(cwd: str) -> str:
    """The nearest directory that looks like a project's top, or the working directory."""
    place = Path(cwd)
    for each in (place, *place.parents):
        if any(os.path.lexists(os.path.join(each, mark)) for mark in _MARKS):
            return os.fspath(each)
    return cwd


def _opened(settings: Settings, root: Path) -> Cache:
    if settings.is_disabled:
        raise UsageError("caching is disabled by the settings")
    compress = "never" if settings.compress == "none" else settings.compress
    remotes = remotes_of(settings) if settings.remotes else ()
    if settings.tiers:
        return Cache(*settings.tiers, *remotes, namespace=settings.namespace, root=root, compress=compress)  # type: ignore[arg-type]  # checked by config
    # No memory tier: a compiler asks for a thing once.
    from vcache.store.disk import DiskStore

    store = DiskStore(
        settings.dir,
        max_bytes=settings.max_bytes,
        max_entries=settings.max_entries,
        max_age_s=settings.max_age_s,
        read_only=settings.is_read_only,
    )
    return Cache(store, *remotes, namespace=settings.namespace, root=root, compress=compress)  # type: ignore[arg-type]  # checked by config


def _is_clang(program: str) -> bool:
    """Whether a driver is clang, whose own `-H` would also put system headers into the user's depfile."""
    return sys.platform == "darwin" or "clang" in os.path.basename(os.path.realpath(program))


def _programs(program: str, cache: Cache) -> tuple[list[str], list[str]]:
    """The paths of a compiler and of the programs it starts; and those at which others would be found first."""
    found, shadows = [os.path.abspath(program)], []
    for name in compiler_tools(program, backing=_Memo(cache)):
        tool = find_tool(name, os.environ)
        if tool is None:
            continue
        found.append(os.path.abspath(tool[0]))
        if "/" not in name:
            for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
                path = os.path.join(directory or ".", name)
                if path == tool[0]:
                    break
                shadows.append(path)
    return found, shadows


class _Memo:
    """What a compiler answered about itself, from one process to the next."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def get(self, key: bytes) -> bytes | None:
        found = self._cache.glance_key(make_key(key, namespace=_TOOLS))[1]
        return found if isinstance(found, bytes) else None

    def put(self, key: bytes, value: bytes) -> None:
        self._cache.put_key(make_key(key, namespace=_TOOLS), value)


def _load() -> None:
    """Load what keeping a result needs: 3 ms for which nobody waits while the compiler runs."""
    with suppress(ImportError):  # who needs it says so
        import vcache.serialize.writing  # noqa: F401


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _write(stream: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(stream, data) :]
    except OSError:
        pass  # nobody reads it


class _Scratch:
    """A private directory for a file or two, for a moment. `tempfile` costs 5 ms of imports, `shutil` 1.5."""

    def __enter__(self) -> str:
        self._path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"vcache-cc-{os.urandom(8).hex()}")  # noqa: S108 - a directory of its own, mode 0700, that must not exist
        os.mkdir(self._path, 0o700)
        return self._path

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            for name in os.listdir(self._path):
                os.unlink(os.path.join(self._path, name))
            os.rmdir(self._path)
