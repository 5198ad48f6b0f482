"""Cached commands: a program's outputs and words, remembered by everything that went into them.

It reads no arguments of a user and prints nothing: what a program writes goes to a sink that the
caller brings. It knows the protocol of a cache that `making` names, and nothing of graphs.
"""

from __future__ import annotations

import os
import shlex
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache import artifacts
from vcache.discovery import Discovery
from vcache.entry import Dep
from vcache.errors import FingerprintError, UsageError
from vcache.fingerprint import inputs
from vcache.fingerprint.depfile import parse_depfile
from vcache.fingerprint.globs import escape, has_magic
from vcache.fingerprint.manifest import Manifest
from vcache.fingerprint.outputs import safe_target
from vcache.hash import digest
from vcache.outcome import Hit, Miss, Reason
from vcache.valuables import Conditions

# A hit is a process of its own, a hundred times in a build: it loads nothing that only a run needs.
if TYPE_CHECKING:
    from vcache.kit.child import Chunk, Finished, Sink
    from vcache.making import Keeper
    from vcache.recipes import Why

__all__ = ["STAMP_CLOCK", "CachedCommand", "Command", "Done", "spec_of"]

RECIPE_VERSION: Final = b"1"
_COUNT: Final = struct.Struct("<I")
# What file systems stamp with lags behind the precise clock by up to a tick: linux/time.h's
# CLOCK_REALTIME_COARSE, which Python has no name for. Elsewhere stamps are precise.
STAMP_CLOCK: Final = 5 if sys.platform == "linux" else time.CLOCK_REALTIME
_NOT_FOUND: Final = Miss(Reason.ABSENT)

OnStart = Callable[[int], object]


def _unattended(pid: int) -> None:
    """Nobody forwards signals."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program and what counts for it.

    Attributes:
        argv: the program and its arguments. They are kept in clear, for `why`.
        cwd: where it runs, and what its paths are relative to; by default the cache's root.
        inputs: what it reads.
        outs: the files it makes, below the cache's root.
        env: names of the environment variables it heeds. Their values are never kept.
        tools: further programs it runs.
        depfile: a Makefile rule that it writes, naming what else it read; an output, too.
        is_bound_to_cwd: its absolute working directory counts, as with `gcc -g`.
        ttl_ns: how long its result may be used; None for ever.
        tags: labels to invalidate by.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    inputs: tuple[inputs.Spec, ...] = ()
    outs: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    depfile: str | None = None
    is_bound_to_cwd: bool = False
    ttl_ns: int | None = None
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Done:
    """How a command came out.

    Attributes:
        status: its exit status as a shell has it.
        chunks: what it wrote, in order.
        is_hit: it was answered from the cache.
        name: under which its result is kept.
        missing: outputs that it promised and did not make.
        remark: why a successful run was not kept; empty otherwise.
        saved_ns: for a hit, what the run once took.
    """

    status: int
    chunks: tuple[Chunk, ...]
    is_hit: bool
    name: str = ""
    missing: tuple[str, ...] = ()
    remark: str = ""
    saved_ns: int = 0


def spec_of(path: str, *, cwd: Path) -> inputs.Spec:
    """What a path on a command line stands for: a directory, a pattern, or a file."""
    full = os.path.join(cwd, path)
    if os.path.isdir(full) or path.endswith("/"):
        return inputs.Dir(full)
    if has_magic(path) and not os.path.lexists(full):
        # Only the user's part is a pattern: the working directory may hold brackets.
        return inputs.Glob(path if os.path.isabs(path) else os.path.join(escape(os.fspath(cwd)), path))
    return inputs.File(full)


class CachedCommand:
    """One command over one cache.

    Args:
        keeper: the cache. Nothing is looked up or kept where it is disabled.
        command: what to run. What it names is looked at now.

    Raises:
        UsageError: nothing to run, or an output outside the root.
        UnsafePath: an output's name that passes through a link out of the root.
        FingerprintError: an input or tool that does not exist. The message names it.
    """

    def __init__(self, keeper: Keeper, command: Command) -> None:
        if not command.argv:
            raise UsageError("a command needs a program to run")
        self.command = command
        self._keeper = keeper
        self._cwd = keeper.root if command.cwd is None else command.cwd
        self._depfile = None if command.depfile is None else self._out(command.depfile)
        named = [self._out(name) for name in command.outs]
        self.outs = tuple(dict.fromkeys([*named, *([self._depfile] if self._depfile else [])]))
        program = os.path.basename(command.argv[0])
        self.owner = ":".join(["run", program, *named[:1]])
        self.base = Manifest(self._observe())

    @property
    def name(self) -> str:
        """Under which the result is kept, as far as it is known before a run."""
        return self._name_of(next(self._manifests(), self.base))

    def __call__(
        self, sink: Sink, *, on_start: OnStart = _unattended, may_keep: Callable[[], bool] = _always
    ) -> Done:
        """The remembered result, with outputs put back and words replayed; else a run, kept.

        Of all who want the same at once, in whatever process, one runs it.

        Args:
            sink: gets what the command writes, as it comes or once more.
            on_start: told the id of the process group when one is started.
            may_keep: asked after a successful run; False when somebody interfered with it.

        Raises:
            OSError: the program cannot be started.
        """
        keeper = self._keeper
        if keeper.is_disabled:
            return self.run(sink, on_start=on_start, may_keep=may_keep)
        if (done := self._replayed(sink)) is not None:
            return done
        lead = keeper.flight.lead(keeper.key(self._name_of(self.base)))
        with nullcontext() if lead is None else lead:
            # Somebody may have run it while this caller waited.
            return self._replayed(sink, is_second=True) or self.run(
                sink, on_start=on_start, may_keep=may_keep
            )

    def find(self) -> Done | None:
        """The remembered result with its outputs put back, or None. Not counted.

        Raises:
            UnsafePath: an output that was turned into a link out of the root since.
        """
        found = self._find()
        return None if found is None else found[1]

    def run(
        self, sink: Sink, *, on_start: OnStart = _unattended, may_keep: Callable[[], bool] = _always
    ) -> Done:
        """A run, kept if it succeeded and nothing changed meanwhile."""
        from vcache.kit.child import run_captured

        began_ns = time.clock_gettime_ns(STAMP_CLOCK)
        finished = run_captured(self.command.argv, cwd=self._cwd, sink=sink, on_start=on_start)
        done = Done(finished.status, finished.chunks, is_hit=False)
        if finished.status or self._keeper.is_disabled:
            return done
        missing = tuple(name for name in self.outs if not os.path.exists(self._full(name)))
        if missing:
            return replace(done, missing=missing)
        if not may_keep():
            return replace(done, remark="it was sent a signal")
        name, remark = self._keep(finished, began_ns)
        return replace(done, name=name, remark=remark)

    def explain(self) -> Why:
        """What is different from the nearest earlier run of the same command."""
        from vcache import recipes

        for manifest in self._manifests():
            name = self._name_of(manifest)
            if self._keeper.peek_key(self._keeper.key(name)):
                return recipes.Why(name, is_hit=True)
        seen_by = self._as_seen_by
        nearest = recipes.compare(recipes.earlier(self._keeper, self.owner), seen_by)
        if nearest is None:  # other outputs: any earlier run of the program is better than none
            program = ":".join(self.owner.split(":")[:2])
            nearest = recipes.compare(recipes.earlier(self._keeper, f"{program}:"), seen_by)
        if nearest is None:
            return recipes.Why(self.name, is_hit=False)
        recipe, changes = nearest
        return recipes.Why(self.name, is_hit=False, nearest=recipe.name, changes=changes)

    # -- what identifies it --------------------------------------------------------------------

    def _observe(self) -> Iterator[Dep]:
        """Everything known before it runs, by names that are equal in every checkout."""
        command, observer = self.command, self._keeper.observer
        yield Dep("recipe", "command", RECIPE_VERSION)
        packed = b"".join(_COUNT.pack(len(word)) + word for word in map(os.fsencode, command.argv))
        yield Dep("argv", "argv", digest(packed), note=shlex.join(command.argv))
        yield Dep("cwd", "cwd", os.fsencode(self._cwd_name()), note=self._cwd_name())
        if command.is_bound_to_cwd:
            yield Dep("cwd", "absolute", os.fsencode(self._cwd), note=os.fspath(self._cwd))
        for tool in dict.fromkeys((command.argv[0], *command.tools)):
            path = os.path.join(self._cwd, tool) if "/" in tool else tool
            yield from observer.observe(inputs.Tool(path))
        yield from observer.observe_all(command.inputs)
        yield from observer.observe_all(inputs.Env(name) for name in command.env)
        yield from (Dep("out", name, b"1") for name in self.outs)
        if self._depfile is not None:
            yield Dep("depfile", self._depfile, b"1")

    def _cwd_name(self) -> str:
        name = os.path.relpath(self._cwd, self._keeper.root)
        return os.fspath(self._cwd) if name.startswith("..") else name

    def _out(self, path: str) -> str:
        """An output's name below the root, checked as it stands now."""
        name = artifacts.output_name(self._keeper.root, os.path.join(self._cwd, path))
        safe_target(self._keeper.root, name)
        return name

    def _full(self, name: str) -> str:
        return os.path.join(self._keeper.root, name)

    def _manifests(self) -> Iterator[Manifest]:
        """The full manifests under which a result may be kept."""
        if self._depfile is None:
            return iter((self.base,))
        return Discovery(self._keeper, self.base).candidates()

    def _name_of(self, manifest: Manifest) -> str:
        return f"{self.owner}:{manifest.fingerprint().hex()}"

    def _as_seen_by(self, older: Manifest) -> Manifest:
        """The present manifest, with what an earlier run discovered looked at now."""
        if self._depfile is None:
            return self.base
        known = {(dep.kind, dep.name) for dep in self.base}
        found = [
            dep
            for old in older
            if old.kind == "file" and (old.kind, old.name) not in known
            for dep in self._look(self._full(old.name))
        ]
        return Manifest((*self.base, *found))

    def _look(self, full: str) -> tuple[Dep, ...]:
        try:
            return self._keeper.observer.observe(inputs.File(full))
        except FingerprintError:
            return ()  # gone, which the difference shows

    # -- from the cache ------------------------------------------------------------------------

    def _replayed(self, sink: Sink, *, is_second: bool = False) -> Done | None:
        found = self._find()
        if found is None:
            if not is_second:  # one look-up of two
                self._keeper.count(_NOT_FOUND)
            return None
        hit, done = found
        self._keeper.count(hit)
        for stream, data in done.chunks:
            sink(stream, data)
        return done

    def _find(self) -> tuple[Hit, Done] | None:
        for manifest in self._manifests():
            name = self._name_of(manifest)
            found = self._keeper.peek_key(self._keeper.key(name))
            if not isinstance(found, Hit) or found.is_expired:
                continue
            result = _result(found.value, self.outs)
            if result is None:
                continue
            chunks, files = result
            try:
                is_restored = artifacts.put_back(self._keeper, files)
            except OSError:
                continue  # a run finds the same obstacle, and names it in its own words
            if is_restored:
                done = Done(0, chunks, is_hit=True, name=name, saved_ns=found.entry.cost_ns)
                return found, done
        return None

    # -- into the cache ------------------------------------------------------------------------

    def _keep(self, finished: Finished, began_ns: int) -> tuple[str, str]:
        """The name of the kept result, or why it was not kept."""
        from vcache import recipes

        keeper = self._keeper
        if keeper.is_read_only:
            return "", "the cache is read-only"
        if finished.gap:
            return "", finished.gap
        stale = keeper.observer.first_stale(self.base)
        if stale is not None:
            return "", f"{stale.dep.kind} {stale.dep.name} {stale.reason} while it ran{self._hint(stale.dep)}"
        manifest = self.base
        if self._depfile is not None:
            found = self._discovered(began_ns)
            if isinstance(found, str):
                return "", found
            manifest = Discovery(keeper, self.base).learn(found)
        files = artifacts.collect(keeper, self.outs)
        if files is None:
            return "", "the cache could not take its outputs"
        name = self._name_of(manifest)
        command = self.command
        conditions = Conditions(ttl_ns=command.ttl_ns, cost_ns=finished.duration_ns, tags=command.tags)
        content = {"value": [list(chunk) for chunk in finished.chunks], "files": files}
        if not keeper.put_key(keeper.key(name), content, conditions):
            return "", "the cache could not take it"
        recipes.keep(keeper, name, manifest)
        return name, ""

    def _discovered(self, began_ns: int) -> list[Dep] | str:
        """What the depfile names, or why that is not certain."""
        assert self._depfile is not None
        with open(self._full(self._depfile), encoding="utf-8", errors="surrogateescape") as file:
            names = parse_depfile(file.read())
        outs = {self._full(name) for name in self.outs}
        deps: list[Dep] = []
        for name in names:
            full = os.path.normpath(os.path.join(self._cwd, name))
            if full in outs:
                continue
            try:
                status = os.stat(full)
            except OSError as error:
                return f"{name}, which its depfile names, cannot be read ({error.strerror})"
            # What was declared is compared by content; of these nobody knows what they held before.
            # By ctime: anybody may set an mtime, also to the future.
            if status.st_ctime_ns >= began_ns:
                return f"{name} changed while it ran"
            try:
                deps += self._keeper.observer.observe(inputs.File(full))
            except FingerprintError as error:
                return str(error)
        return deps

    def _hint(self, dep: Dep) -> str:
        """For the usual slip: an input directory that the outputs are written to."""
        if dep.kind not in ("dir", "glob", "glob-all"):
            return ""
        inside = [out for out in self.outs if dep.name == "." or out.startswith(f"{dep.name}/")]
        return f" (it holds the output {inside[0]}: name the inputs more closely)" if inside else ""


def _result(
    content: object, outs: Iterable[str]
) -> tuple[tuple[Chunk, ...], list[artifacts.Artifact]] | None:
    """The words and files of a kept result; None for anything else, such as a stranger's."""
    if not isinstance(content, dict):
        return None
    chunks, files = content.get("value"), content.get("files")
    if not isinstance(chunks, list) or not isinstance(files, list):
        return None
    if sorted(file[0] for file in files) != sorted(outs):
        return None
    return tuple((stream, data) for stream, data in chunks), files
