"""What becomes of a node whose inputs are made: up to date, taken from the cache, or to be run.

It decides on content alone, and starts nothing.
"""

from __future__ import annotations

import os
import time
from enum import Enum
from typing import TYPE_CHECKING

from vcache.dag import events
from vcache.dag.completion import owner_of
from vcache.dag.evaluate import program_of, words_of
from vcache.dag.node import CONSOLE, Command, Made
from vcache.dag.nodelogs import log_digest
from vcache.errors import GraphError, UsageError
from vcache.kit.data import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vcache.action import Result
    from vcache.dag.evaluate import Evaluator
    from vcache.dag.run import Run
    from vcache.dag.task import Task
    from vcache.dag.wanted import Wanted
    from vcache.entry import Key
    from vcache.fingerprint.manifest import Manifest

__all__ = ["Judge", "Verdict"]


class Verdict(Enum):
    """What is to be done."""

    MADE = "made"
    """Nothing: what it makes is there."""
    RUN = "run"
    """Its command has to run."""


class Judge:
    """Judges the commands of one run.

    Args:
        say: told what a replayed node wrote.
    """

    def __init__(
        self,
        run: Run,
        wanted: Wanted,
        evaluator: Evaluator,
        *,
        say: Callable[[events.Output], None],
    ) -> None:
        self._run, self._wanted, self._evaluator = run, wanted, evaluator
        self._say = say

    def judge(self, task: Task, command: Command) -> Verdict:
        """What is to be done for a node; its result is restored if the cache has it.

        Raises:
            GraphError: an input that is missing and that nobody makes.
            FingerprintError: an input that cannot be read.
        """
        run = self._run
        task.is_traced_by_itself = command.is_traced
        task.command = command = self._traced(command)
        if run.options.is_dry_run and any(need.is_unknown for need in task.needs):
            return self._would_run(task)
        if not self._identify(task, command):
            return self._would_run(task)
        # What is gone has to be had in any case: what else differs is asked when it has to be run.
        is_lacking = self._is_lacking(task)
        reason = "" if is_lacking else self._reason(task)
        if not (is_lacking or reason):
            self._up_to_date(task)
            return Verdict.MADE
        if self._may_look_up(task):
            began_ns = time.perf_counter_ns()
            assert task.lookup is not None
            result = run.actions.find(owner_of(task.node, run.files), task.lookup)
            if result is not None and self._take(task, result, began_ns):
                return Verdict.MADE
            if not run.options.is_dry_run:
                run.actions.count(None)
        run.emit(events.Missed(run.clock(), task.node, reason or self._reason(task) or "an output was gone"))
        return self._would_run(task) if run.options.is_dry_run else Verdict.RUN

    def keys(self, task: Task) -> tuple[Key, ...]:
        """What a node that is ready will be looked up by first; nothing where it may not be looked up.

        It decides nothing, so that far tiers can be asked for many nodes at once.
        """
        work = task.node.work
        if not isinstance(work, Command) or not task.is_completed or not self._may_look_up(task):
            return ()
        if not self._is_lacking(task) or any(need.is_always for need in task.needs):
            return ()
        try:
            manifests = self._manifests(task, self._traced(work))
        except UsageError:
            return ()  # said when it is judged
        if isinstance(manifests, str):
            return ()
        return self._run.actions.keys(owner_of(task.node, self._run.files), manifests[1])

    # -- what identifies it ------------------------------------------------------------------------

    def _traced(self, command: Command) -> Command:
        """The command as this run runs it."""
        if self._run.options.trace and not command.is_traced:
            return replace(command, is_traced=True)
        return command

    def _identify(self, task: Task, command: Command) -> bool:
        """Set a task's manifests; False where, in a dry run, an input is still to be made."""
        manifests = self._manifests(task, command)
        if isinstance(manifests, str):
            return self._missing(task, manifests)
        task.base, task.lookup = manifests
        task.fingerprint = b""
        task.is_always = any(need.is_always for need in task.needs)
        return True

    def _manifests(self, task: Task, command: Command) -> tuple[Manifest, Manifest] | str:
        """What is known of it before it runs, and what it is looked up by; or an input that is not there."""
        node, files = task.node, self._run.files
        ins = [path for name in (*node.ins, *task.extra_ins) for path in self._wanted.stands_for(name)]
        base = self._evaluator.base(node, command, ins=ins, more=task.extra_deps)
        if isinstance(base, str) or not node.after or command.depfile or command.deps or command.is_traced:
            return base if isinstance(base, str) else (base, base)
        # It may read what it only waits for: that counts where another tree's result is taken.
        after = [path for name in node.after for path in self._wanted.stands_for(name)]
        there = [path for path in after if files.input(path) is not None]
        full = self._evaluator.base(node, command, ins=[*ins, *there], more=task.extra_deps)
        assert not isinstance(full, str)
        return base, full

    def _missing(self, task: Task, path: str) -> bool:
        producer = self._run.graph.producer(path)
        if self._run.options.is_dry_run and producer is not None:
            return False
        place = f"{task.node.place}: " if task.node.place else ""
        needed = f"{place}{path!r}, needed by {task.node.name!r}, "
        if producer is not None:
            raise GraphError(f"{needed}was not made by {producer.name!r}")
        raise GraphError(f"{needed}missing and no known rule to make it")

    # -- in this tree --------------------------------------------------------------------------------

    def _is_lacking(self, task: Task) -> bool:
        """Whether an output is gone. A generator's are judged by their times."""
        return not (task.node.is_generator or all(map(self._run.files.is_there, task.node.outs)))

    def _reason(self, task: Task) -> str:
        """Why this tree does not hold what a node makes; "" when it does."""
        node = task.node
        if self._run.options.is_forced:
            return "it is forced"
        if task.is_always:
            return "it depends on what is always out of date"
        reason = self._difference(task)
        # Who ran the generator by hand since has made what it makes: by the rule of times, as in ninja.
        return "" if reason and node.is_generator and self._is_newer(task) else reason

    def _difference(self, task: Task) -> str:
        """What is not as the last run left it."""
        node, files = task.node, self._run.files
        last = self._run.tree.last(node.name)
        if last is None:
            return "never built here"
        if last.base != self._fingerprint(task):
            changed = next((need.node.name for need in task.needs if need.is_changed), "")
            return f"changed {changed}" if changed else "its command or its inputs changed"
        if len(last.outs) != len(node.outs):
            return "it makes other files"
        for path, content in zip(node.outs, last.outs, strict=True):
            now = files.out(path)
            if not now:
                return f"output {path} is gone"
            if now != content:
                return f"output {path} is not what was made"
        for dep in last.found:
            seen = files.look(dep.kind, dep.name)
            if seen != (dep,):
                return f"{'changed' if seen else 'gone'} {dep.kind} {dep.name}"
        return ""

    def _is_newer(self, task: Task) -> bool:
        """The rule of times, for what was generated outside of any run: outputs as new as inputs."""
        full = self._run.files.full
        try:
            made = [os.stat(full(path)).st_mtime_ns for path in task.node.outs]
            read = [os.stat(full(path)).st_mtime_ns for path in task.node.ins]
        except OSError:
            return False
        return bool(made) and max(read, default=0) <= min(made)

    def _up_to_date(self, task: Task) -> None:
        run, node = self._run, task.node
        run.tally.n_up_to_date += 1
        last = run.tree.last(node.name)
        if last is None or node.is_generator:
            made = Made(base=self._fingerprint(task), outs=tuple(map(run.files.out, node.outs)))
            if last is None or (last.base, last.outs) != (made.base, made.outs):
                last = made
                run.tree.record(node.name, made)
        task.log = last.log
        run.emit(events.UpToDate(run.clock(), node))

    # -- in the cache --------------------------------------------------------------------------------

    def _may_look_up(self, task: Task) -> bool:
        node = task.node
        return (
            node.is_kept
            and node.pool != CONSOLE
            and not task.is_always
            and not self._run.options.is_forced
            and not self._run.keeper.is_disabled
        )

    def _take(self, task: Task, result: Result, began_ns: int) -> bool:
        """Restore a result; False when that cannot be done."""
        run, node = self._run, task.node
        written: tuple[str, ...] | None = None
        if run.options.is_dry_run:
            if not run.actions.has(result):
                return False
            for path, artifact in zip(node.outs, result.files, strict=False):
                content = artifact[2]
                run.files.pretend(path, content if isinstance(content, bytes) else b"")
            task.is_changed = True
        else:
            written = run.actions.put_back(result)
            if written is None:
                return False
            if written:
                run.files.made(node.outs)
            task.is_changed = bool(written)
        task.chunks, task.log = result.chunks, log_digest(result.chunks)
        if written is not None:
            self._remember(task, result, written)
            run.actions.count(result)
        run.tally.n_hit += 1
        run.tally.saved_ns += result.cost_ns
        now = run.clock()
        took_ns = time.perf_counter_ns() - began_ns
        run.emit(events.Hit(now, node, result.name, result.cost_ns, took_ns, task.log, result.origin))
        if result.chunks:
            self._say(self._replayed(task, result, now))
        return True

    def _replayed(self, task: Task, result: Result, now_ns: int) -> events.Output:
        """What a run wrote, as if it had ended now."""
        assert task.command is not None
        took_ns = max(result.cost_ns, *(at_ns for _, at_ns, _ in result.chunks))
        return events.Output(
            now_ns, task.node, result.chunks, is_replayed=True, started_ns=now_ns - took_ns, origin=result.origin,
            action=result.name.rpartition(":")[2], program=program_of(task.command),
        )  # fmt: skip

    def _remember(self, task: Task, result: Result, written: tuple[str, ...]) -> None:
        self._run.tree.record(
            task.node.name,
            Made(
                base=self._fingerprint(task),
                found=result.found,
                outs=tuple(self._outs(task, result, written)),
                took_ns=result.cost_ns,
                result=result.name,
                log=task.log,
            ),
        )

    def _outs(self, task: Task, result: Result, written: tuple[str, ...]) -> Iterator[bytes]:
        """What is at each output; of a file that was just written that is known."""
        files = self._run.files
        pieces = {output.name: output.pieces[0] for output in result.plan if not output.is_tree}
        for path in task.node.outs:
            piece = pieces.get(name) if (name := files.name(path)) in written else None
            if piece is not None and piece.is_file:
                files.restored(path, piece.content)
                yield piece.content
            else:
                yield files.out(path)

    def _fingerprint(self, task: Task) -> bytes:
        """That of its base, as the actions know it."""
        assert task.base is not None
        if not task.fingerprint:
            task.fingerprint = self._run.actions.fingerprint(task.base)
        return task.fingerprint

    def _would_run(self, task: Task) -> Verdict:
        """In a dry run: it would run, and what it makes is not known."""
        run = self._run
        task.is_unknown = task.is_changed = True
        assert task.command is not None
        run.tally.n_run += 1
        now = run.clock()
        run.emit(events.Started(now, task.node, " ".join(words_of(task.command))))
        run.emit(events.Finished(now, task.node, 0, 0))
        return Verdict.MADE
