"""One build of one tree: the lock, what earlier runs left, the graph, the run, and what is kept of it.

It joins the rooms below and decides nothing about nodes. It prints nothing: what happens is told as
events.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from vcache.dag import events
from vcache.dag.executor import Executor, Unused
from vcache.dag.files import Files
from vcache.dag.frozen import DIRECTORY
from vcache.dag.run import Options, Tally
from vcache.dag.runner import Runner
from vcache.dag.tree import Tree
from vcache.errors import GraphError, StoreBusy, VcacheError
from vcache.kit.data import replace
from vcache.kit.eventbus import EventBus
from vcache.kit.fs_atomic import LockFile
from vcache.kit.ids import uuid7
from vcache.kit.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcache.cache import Cache
    from vcache.dag.errands import JobPlace
    from vcache.dag.jobserver import Tokens
    from vcache.dag.loading import Loaded
    from vcache.dag.node import Graph, Node
    from vcache.dag.plan import Plan
    from vcache.dag.stored import Nodes, StoredGraph
    from vcache.dag.tree import Whole
    from vcache.entry import Dep, Key

__all__ = ["Build", "Options", "run_id"]

_TAG: Final = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# What builds of this directory remember. It may be removed at any time.\n"
)
_REGENERATIONS_MOST: Final = 100  # as ninja: a build file that is never up to date must come to an end


def run_id() -> str:
    """A new run's id."""
    return uuid7.text()


def _reader(tree: Tree, files: Files, path: str) -> str:
    """An output whose making was seen to read a path; "" for none. `foo.h^` asks for it, as in ninja."""
    wanted = ("file", files.name(path))
    for name in tree.names():
        made = tree.last(name)
        if made is not None and any((dep.kind, dep.name) == wanted for dep in made.found):
            return name
    return ""


def _words(defines: Mapping[str, str]) -> tuple[str, ...]:
    """Options of a vcachefile, as they are given."""
    return tuple(f"-D{name}={value}" for name, value in sorted(defines.items()))


def _nothing() -> None:
    """Nothing is to be stopped."""


def _unheard(_event: events.Event) -> None:
    """Nobody listens to a run that only finds out what there is."""


class Build:
    """Builds of one base directory.

    Args:
        cache: opened with the project's root.
        base: the absolute directory that the build file's paths are relative to.
        listeners: told what happens, in order.
        executor: where commands run; None for this machine.
        jobs: where job nodes are done.
        run: the id of the run.

    Threads: one; `stop` from any, and from signal handlers.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        base: str,
        listeners: Sequence[events.Listener] = (),
        options: Options | None = None,
        executor: Executor | None = None,
        jobs: JobPlace | None = None,
        run: str = "",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.run = run or run_id()
        self._cache, self._base, self._options = cache, base, options or Options()
        self._executor, self._clock = executor, clock
        self._jobs = None if self._options.is_dry_run else jobs
        self._bus: EventBus[events.Event] = EventBus()
        for listener in listeners:
            self._bus.subscribe(listener.on_event, name=type(listener).__name__)
        self._runner: Runner | None = None
        self._stopped_by = 0
        self._stops: Callable[[], None] = _nothing
        self._ask: Callable[[Sequence[Key]], None] | None = None
        self._is_partial = False
        self._tally = Tally()

    def stop(self, signum: int = 2) -> None:
        """Stop what runs, and start no more."""
        self._stopped_by = signum
        self._stops()
        if self._jobs is not None:
            self._jobs.stop()
        if self._runner is not None:
            self._runner.stop(signum)

    # -- front ends ------------------------------------------------------------------------------

    def ninja(self, file: str = "build.ninja", targets: Sequence[str] = ()) -> events.RunEnded:
        """Build targets of a ninja file.

        Raises:
            GraphError: the file is wrong, a target is unknown, or a source is missing.
        """
        from vcache.dag.ninja.scope import canonical

        return self._whole(
            targets, lambda tree: self._ninja(tree, canonical(file), tuple(targets)), file=canonical(file)
        )

    def vcachefile(
        self, file: str, targets: Sequence[str] = (), *, defines: Mapping[str, str] | None = None,
        log_words: Callable[[], Sequence[str]] = tuple,
    ) -> events.RunEnded:  # fmt: skip
        """Build targets of a vcachefile.

        Args:
            log_words: lead a `vcache logs` command to the log store of this build.

        Raises:
            GraphError: the file is wrong, a target is unknown, or a source is missing.
        """
        return self._whole(
            targets,
            lambda tree: self._vcachefile(tree, file, tuple(targets), defines or {}, log_words),
            file=file,
            words=_words(defines or {}),
        )

    def plan_ninja(self, file: str = "build.ninja", targets: Sequence[str] = ()) -> Plan:
        """What building targets of a ninja file would do. It must be asked of a dry run.

        Raises:
            GraphError: as `ninja`.
        """
        from vcache.dag.ninja.load import load

        graph = load(file, base=self._base)
        return self._planned(graph, self._nodes(graph.targets(targets)))

    def plan_vcachefile(
        self, file: str, targets: Sequence[str] = (), *, defines: Mapping[str, str] | None = None
    ) -> Plan:
        """What building targets of a vcachefile would do. It must be asked of a dry run.

        Raises:
            GraphError: as `vcachefile`.
        """
        from vcache.dag.loading import inside, load

        loaded = load(self._full(file), cache=self._cache, defines=defines or {})
        with inside(self._base):
            return self._planned(loaded.graph, self._goals(loaded, targets))

    def _goals(self, loaded: Loaded, targets: Sequence[str]) -> Sequence[Node]:
        """The nodes that targets name, also those that only a running body asks for.

        Raises:
            GraphError: nobody makes one of them.
        """
        try:
            return loaded.targets(targets)
        except GraphError:
            goals = loaded.targets(())
            tree = self._tree()
            runner = Runner(
                loaded.graph, self._cache, tree, self._files(), Unused(), emit=_unheard,
                options=replace(self._options, is_dry_run=True, keep_going=0), clock=self._clock,
            )  # fmt: skip
            runner.run(goals)
            return loaded.targets(targets)

    def _planned(self, graph: Graph, goals: Sequence[Node]) -> Plan:
        from vcache.action import Actions
        from vcache.dag.plan import Plan, Reasons

        assert self._options.is_dry_run
        said = Reasons()
        self._bus.subscribe(said.on_event)
        tree = self._tree()
        files = self._files()
        with self._executing() as self._executor:
            _, runner = self._make(graph, tree, files, goals)
        return Plan(
            runner,
            goals,
            said,
            keeper=self._cache,
            actions=Actions(self._cache, look=files.look),
            tree=tree,
            files=files,
        )

    def _whole(
        self, goals: Sequence[str], work: Callable[[Tree], int], *, file: str, words: Sequence[str] = ()
    ) -> events.RunEnded:
        """One run from its first event to its last."""
        status = 2
        with self._executing() as executor:
            self._executor = executor
            slots = self._options.jobs or executor.slots
            self._emit(events.RunStarted(self.run, self._clock(), self._base, tuple(goals), slots))
            try:
                with self._locked() as is_ours, self._ahead(file, (*goals, *words)):
                    status = work(self._tree()) if is_ours else events.INTERRUPTED
            except VcacheError as error:
                self._tally.error = str(error)
                raise
            finally:
                tally = self._tally
                ended = events.RunEnded(
                    self._clock(), status, tally.n_run, tally.n_hit, tally.n_up_to_date, tally.n_failed,
                    tally.saved_ns, tally.error, self._is_partial,
                )  # fmt: skip
                self._emit(ended)
                self._bus.close()
        return ended

    @property
    def _looks_at_all(self) -> bool:
        options = self._options
        return bool(options.is_forced or options.env or options.trace)

    # -- ninja -----------------------------------------------------------------------------------

    def _ninja(self, tree: Tree, file: str, targets: tuple[str, ...]) -> int:
        # What is asked of every node is not seen by who looks at changes only.
        stored = None if self._looks_at_all else tree.graph()
        if stored is not None:
            goals = stored.targets(targets)
            maker = stored.targets((file,))
            if goals is not None:
                return self._again(tree, stored, file, targets, goals, maker)
        return self._anew(tree, file, targets)

    def _again(
        self,
        tree: Tree,
        stored: StoredGraph,
        file: str,
        targets: tuple[str, ...],
        goals: Nodes,
        maker: Nodes | None,
    ) -> int:
        """Over the graph of the last run: only what may have changed is looked at."""
        changed = tree.changes()
        if maker is not None and stored.affected(changed, maker):
            return self._anew(tree, file, targets)
        affected = stored.affected(changed, goals)
        self._is_partial = True
        files = self._files()
        status, runner = self._make(stored, tree, files, affected)
        self._save(tree, runner, files, graph=stored, goals=targets if not status else None, file=file)
        return status

    def _anew(self, tree: Tree, file: str, targets: tuple[str, ...]) -> int:
        """Over the file itself, made anew first if it says how."""
        from vcache.dag.ninja.load import load

        for number in range(_REGENERATIONS_MOST):
            graph = load(file, base=self._base)
            for text in () if number else graph.warnings:
                self._emit(events.Noted(self._clock(), f"warning: {text}"))
            maker = graph.producer(file)
            if maker is None:
                break
            files = self._files()
            status, runner = self._make(graph, tree, files, [maker])
            if status == 1:
                raise GraphError(f"rebuilding '{file}': subcommand failed")
            if status:
                return status
            task = runner.result(maker)
            if self._options.is_dry_run or task is None or not task.is_run:
                break
            self._cache.digests.forget()
        else:
            raise GraphError(
                f"{file} is still not up to date after {_REGENERATIONS_MOST} times: check the clock"
            )
        files = self._files()
        # The file's own maker again: the next run must know by what it sees whether to ask for it.
        own = [] if maker is None else [maker]
        goals = graph.targets(targets, reader=partial(_reader, tree, files))
        status, runner = self._make(graph, tree, files, [*own, *self._nodes(goals)])
        front = tuple(self._cache.observer.observe_all(map(self._full, graph.files)))
        self._save(
            tree, runner, files, graph=graph, goals=targets if not status else None, front=front, file=file
        )
        return status

    def _nodes(self, found: Sequence[Node | str]) -> list[Node]:
        """The nodes among targets: a source that is there needs no making.

        Raises:
            GraphError: a source that is not there.
        """
        for path in found:
            if isinstance(path, str) and not os.path.lexists(self._full(path)):
                raise GraphError(f"{path!r} missing and no known rule to make it")
        return [node for node in found if not isinstance(node, str)]

    # -- vcachefile ------------------------------------------------------------------------------

    def _vcachefile(
        self, tree: Tree, file: str, targets: tuple[str, ...], defines: Mapping[str, str],
        log_words: Callable[[], Sequence[str]],
    ) -> int:  # fmt: skip
        from vcache.dag.loading import inside, load

        loaded = load(
            self._full(file), cache=self._cache, defines=defines, log_words=log_words, jobs=self._jobs
        )
        files = self._files()
        with inside(self._base):
            status, runner = self._make(loaded.graph, tree, files, self._goals(loaded, targets))
        words = (*targets, *_words(defines))
        self._save(
            tree,
            runner,
            files,
            graph=None,
            goals=words if not status else None,
            front=loaded.front if not status else (),
            file=file,
        )
        return status

    # -- what both share ---------------------------------------------------------------------------

    def _make(self, graph: Graph, tree: Tree, files: Files, goals: Sequence[Node]) -> tuple[int, Runner]:
        assert self._executor is not None
        runner = Runner(
            graph, self._cache, tree, files, self._executor, emit=self._emit, options=self._options,
            tokens=self._tokens, ask=self._ask, clock=self._clock, run_id=self.run,
        )  # fmt: skip
        self._runner = runner
        if self._stopped_by:
            runner.stop(self._stopped_by)
        try:
            status = runner.run(goals)
        finally:
            self._add(runner.tally)
        return status, runner

    def _add(self, tally: Tally) -> None:
        """Several runs, as where a build file is made first, count as one."""
        mine = self._tally
        mine.n_run += tally.n_run
        mine.n_hit += tally.n_hit
        mine.n_up_to_date += tally.n_up_to_date
        mine.n_failed += tally.n_failed
        mine.saved_ns += tally.saved_ns
        mine.error = mine.error or tally.error

    def _save(
        self,
        tree: Tree,
        runner: Runner,
        files: Files,
        *,
        graph: StoredGraph | Whole | None,
        goals: tuple[str, ...] | None,
        front: Sequence[Dep] = (),
        file: str,
    ) -> None:
        """Keep what the run brought. A directory that takes no files costs the next run its speed."""
        if self._options.is_dry_run:
            return
        try:
            tree.save(
                graph=graph,
                goals=goals,
                wanted=[task.node for task in runner.tasks],
                seen=files.seen,
                # What a function reads is known as a part of what its build file depends on.
                looks=runner.looks if graph is not None else lambda name: runner.looks(name) or front,
                front=front,
                file=file,
            )
        except OSError as error:
            self._emit(events.Noted(self._clock(), f"cannot remember this run in {DIRECTORY}: {error}"))

    def _files(self) -> Files:
        return Files(self._cache.observer, self._cache.digests, base=self._base, root=self._cache.root)

    def _full(self, path: str) -> str:
        return os.path.join(self._base, path)

    def _emit(self, event: events.Event) -> None:
        self._bus.publish(event)

    def _tree(self) -> Tree:
        return Tree.open(self._base, root=os.fspath(self._cache.root), digests=self._cache.digests)

    @contextmanager
    def _ahead(self, file: str, goals: Sequence[str]) -> Iterator[None]:
        """Fetch what is far meanwhile. Where nothing is, this is nothing."""
        options = self._options
        ahead = None
        if getattr(self._cache.store, "is_far", False) and not (options.is_dry_run or options.is_forced):
            from vcache.dag.prefetch import ahead_of

            name = os.path.relpath(self._full(file), self._cache.root)
            ahead = ahead_of(self._cache, name, goals)
        if ahead is None:
            yield
            return
        ahead.start()
        self._stops, self._ask = ahead.close, ahead.ask
        is_done = False
        try:
            yield
            is_done = True
        finally:
            tally = self._tally
            is_less = tally.n_up_to_date or tally.n_failed or tally.error or self._is_partial
            ahead.finish(is_whole=is_done and not is_less)
            if ahead.fetched:
                words = f"fetched {ahead.fetched} entries ahead ({format_bytes(ahead.fetched_bytes)})"
                self._emit(events.Noted(self._clock(), words, is_detail=True))

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """The tree for this run alone: a second one waits for the first. False if it was stopped meanwhile."""
        lock, is_had = self._lock()
        if not is_had:
            self._emit(events.Noted(self._clock(), "another build works in this directory: waiting for it"))
            while not self._stopped_by:
                try:
                    lock.acquire(timeout_s=0.5)
                    break
                except StoreBusy:
                    continue
            else:
                self._tally.error = "interrupted"
        try:
            yield lock.is_held
        finally:
            if lock.is_held:
                lock.release()

    def _lock(self) -> tuple[LockFile, bool]:
        """The lock of the tree, and whether it was free.

        Where none can be written, on a full disk or without permission, what is there is locked: it
        excludes others all the same, and the build goes on.

        Raises:
            OSError: there is nothing to lock.
        """
        directory = os.path.join(self._base, DIRECTORY)
        path = os.path.join(directory, "lock")
        try:
            _make_directory(directory)
            lock = LockFile(path)
            return lock, lock.try_acquire()
        except OSError:
            found = next((each for each in (path, directory) if os.path.exists(each)), self._base)
            lock = LockFile(found, is_found=True)
            return lock, lock.try_acquire()

    @contextmanager
    def _executing(self) -> Iterator[Executor]:
        """Where commands run, with the slots of the make above us, or for those below us."""
        from vcache.dag.jobserver import MOST_SLOTS, JobServer, inherited
        from vcache.dag.local import LocalExecutor, default_slots

        self._tokens: Tokens | None = None
        if self._executor is not None:
            yield self._executor
            return
        tokens = inherited(os.environ) if self._options.jobs is None else None
        self._tokens = (
            tokens
            if tokens is not None
            else JobServer(min(self._options.jobs or default_slots(), MOST_SLOTS))
        )
        executor = LocalExecutor(
            slots=self._options.jobs, tokens=self._tokens, keeps_rsp=self._options.keep_rsp
        )
        try:
            yield executor
        finally:
            executor.close()
            self._tokens.close()


def _make_directory(directory: str) -> None:
    """Where a tree keeps what it remembers, marked for those who make backups."""
    os.makedirs(directory, exist_ok=True)
    tag = os.path.join(directory, "CACHEDIR.TAG")
    if not os.path.exists(tag):
        with open(tag, "w", encoding="utf-8") as file:
            file.write(_TAG)
