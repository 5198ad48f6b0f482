"""Cached commands: a program's outputs and words, remembered by everything that went into them.

It reads no arguments of a user and prints nothing: what a program writes goes to a sink that the
caller brings. It knows the protocol of a cache that `making` names, and nothing of graphs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vcache import artifacts
from vcache.action import Actions
from vcache.discovery import begin, named_by_depfile
from vcache.entry import Dep
from vcache.errors import UsageError
from vcache.fingerprint import inputs
from vcache.fingerprint.globs import escape, has_magic
from vcache.fingerprint.manifest import Manifest
from vcache.fingerprint.outputs import safe_place
from vcache.kit.data import dataclass, replace
from vcache.portable import RECIPE, argv_dep, cwd_dep, depfile_dep, names_root, out_dep

# A hit is a process of its own, a hundred times in a build: it loads nothing that only a run needs.
if TYPE_CHECKING:
    from vcache.action import Chunk as Stamped
    from vcache.action import Result
    from vcache.kit.child import Chunk, Finished, Sink
    from vcache.making import Keeper
    from vcache.recipes import Why

__all__ = ["CachedCommand", "Command", "Done", "spec_of"]

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
        self._actions = Actions(keeper)

    @property
    def name(self) -> str:
        """Under which the result is kept, as far as it is known before a run."""
        return self._actions.name(self.owner, self.base)

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
        lead = keeper.flight.lead(keeper.key(f"{self.owner}:{self._actions.fingerprint(self.base).hex()}"))
        with nullcontext() if lead is None else lead:
            # Somebody may have run it while this caller waited.
            return self._replayed(sink, is_second=True) or self.run(
                sink, on_start=on_start, may_keep=may_keep
            )

    def find(self) -> Done | None:
        """The remembered result with its outputs put back, or None. Not counted."""
        result = self._find()
        return None if result is None else _done(result)

    def run(
        self, sink: Sink, *, on_start: OnStart = _unattended, may_keep: Callable[[], bool] = _always
    ) -> Done:
        """A run, kept if it succeeded and nothing changed meanwhile."""
        from vcache.kit.child import run_captured

        began_ns = begin(waits=self._depfile is not None)
        timed = _Timed(sink)
        finished = run_captured(self.command.argv, cwd=self._cwd, sink=timed, on_start=on_start)
        done = Done(finished.status, finished.chunks, is_hit=False)
        if finished.status or self._keeper.is_disabled:
            return done
        missing = tuple(name for name in self.outs if not os.path.lexists(self._full(name)))
        if missing:
            return replace(done, missing=missing)
        if not may_keep():
            return replace(done, remark="it was sent a signal")
        name, remark = self._keep(finished, timed.stamped(finished.chunks), began_ns)
        return replace(done, name=name, remark=remark)

    def explain(self) -> Why:
        """What is different from the nearest earlier run of the same command."""
        program = ":".join(self.owner.split(":")[:2])
        return self._actions.explain(self.owner, self.base, like=f"{program}:")

    # -- what identifies it --------------------------------------------------------------------

    def _observe(self) -> Iterator[Dep]:
        """Everything known before it runs, by names that are equal in every checkout."""
        command, observer = self.command, self._keeper.observer
        yield RECIPE
        yield argv_dep(command.argv, os.fspath(self._keeper.root))
        yield cwd_dep(self._cwd_name())
        if command.is_bound_to_cwd:
            yield Dep("cwd", "absolute", os.fsencode(self._cwd), note=os.fspath(self._cwd))
        for tool in dict.fromkeys((command.argv[0], *command.tools)):
            path = os.path.join(self._cwd, tool) if "/" in tool else tool
            yield from observer.observe(inputs.Tool(path))
        yield from observer.observe_all(command.inputs)
        yield from observer.observe_all(inputs.Env(name) for name in command.env)
        yield from map(out_dep, self.outs)
        if self._depfile is not None:
            yield depfile_dep(self._depfile)

    def _cwd_name(self) -> str:
        name = os.path.relpath(self._cwd, self._keeper.root)
        return os.fspath(self._cwd) if name.startswith("..") else name

    def _out(self, path: str) -> str:
        """An output's name below the root, checked as it stands now."""
        name = artifacts.output_name(self._keeper.root, os.path.join(self._cwd, path))
        safe_place(self._keeper.root, name)
        return name

    def _full(self, name: str) -> str:
        return os.path.join(self._keeper.root, name)

    # -- from the cache ------------------------------------------------------------------------

    def _replayed(self, sink: Sink, *, is_second: bool = False) -> Done | None:
        result = self._find()
        if result is None:
            if not is_second:  # one look-up of two
                self._actions.count(None)
            return None
        self._actions.count(result)
        done = _done(result)
        for stream, data in done.chunks:
            sink(stream, data)
        return done

    def _find(self) -> Result | None:
        result = self._actions.find(self.owner, self.base)
        return None if result is None or self._actions.put_back(result) is None else result

    # -- into the cache ------------------------------------------------------------------------

    def _keep(self, finished: Finished, chunks: Sequence[Stamped], began_ns: int) -> tuple[str, str]:
        """The name of the kept result, or why it was not kept."""
        keeper, command = self._keeper, self.command
        if keeper.is_read_only:
            return "", "the cache is read-only"
        if finished.gap:
            return "", finished.gap
        stale = keeper.observer.first_stale(self.base)
        if stale is not None:
            return "", f"{stale.dep.kind} {stale.dep.name} {stale.reason} while it ran{self._hint(stale.dep)}"
        found = self._discovered(began_ns)
        if isinstance(found, str):
            return "", found
        kept = self._actions.publish(
            self.owner,
            self.base,
            found,
            self.outs,
            chunks,
            cost_ns=finished.duration_ns,
            tags=command.tags,
            ttl_ns=command.ttl_ns,
            names_root=names_root(command.argv, os.fspath(keeper.root)),
            has_discovery=self._depfile is not None,
        )
        return ("", kept) if isinstance(kept, str) else (kept.name, "")

    def _discovered(self, began_ns: int) -> list[Dep] | str:
        """What the depfile names, or why that is not certain."""
        if self._depfile is None:
            return []
        cwd = os.fspath(self._cwd)
        return named_by_depfile(self._keeper, self._depfile, outs=self.outs, began_ns=began_ns, cwd=cwd)

    def _hint(self, dep: Dep) -> str:
        """For the usual slip: an input directory that the outputs are written to."""
        if dep.kind not in ("dir", "glob", "glob-all"):
            return ""
        inside = [out for out in self.outs if dep.name == "." or out.startswith(f"{dep.name}/")]
        return f" (it holds the output {inside[0]}: name the inputs more closely)" if inside else ""


class _Timed:
    """Passes on what a command writes, and notes when each run of one stream began."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._started_ns = time.perf_counter_ns()
        self._stream, self._times = 0, list[int]()

    def __call__(self, stream: int, data: bytes) -> None:
        if stream != self._stream:
            self._stream = stream
            self._times.append(time.perf_counter_ns() - self._started_ns)
        self._sink(stream, data)

    def stamped(self, chunks: Iterable[Chunk]) -> list[Stamped]:
        """The chunks, neighbours of one stream joined, with their times."""
        return [(stream, at, data) for (stream, data), at in zip(chunks, self._times, strict=False)]


def _done(result: Result) -> Done:
    chunks = tuple((stream, data) for stream, _, data in result.chunks)
    return Done(0, chunks, is_hit=True, name=result.name, saved_ns=result.cost_ns)
