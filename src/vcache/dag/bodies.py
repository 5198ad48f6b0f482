"""Python bodies in a run: scripts that say which command to run, and functions whose value counts.

A coroutine is driven by hand, from one `Need` to the next. Functions run in threads and come back
through the runner's inbox.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vcache.dag import events
from vcache.dag.errands import NotInADryRun
from vcache.dag.node import Call, Command, Made, Need, Script, Told
from vcache.dag.nodelogs import log_digest, recall
from vcache.dag.state import State
from vcache.entry import Dep
from vcache.errors import NodeFailed, VcacheError
from vcache.hash import digest
from vcache.kit.data import NamedTuple
from vcache.kit.taskpool import TaskPool

if TYPE_CHECKING:
    from vcache.dag.nodelogs import Chunks
    from vcache.dag.run import Run
    from vcache.dag.task import Task
    from vcache.dag.wanted import Wanted

__all__ = ["Bodies", "Called", "Nothing", "traceback_of"]


class Called(NamedTuple):
    """A function of a `Call` has ended, or turned out to be a coroutine, which is set in its task.

    Attributes:
        is_hit: it was remembered; None where another node's value was handed on.
        is_unknown: in a dry run, only a run would tell its value.
        told: what was said when it was made.
    """

    task: Task
    value: object = None
    is_hit: bool | None = False
    error: str = ""
    took_ns: int = 0
    is_coroutine: bool = False
    is_unknown: bool = False
    told: Told = Told()


class Nothing:
    """A script that has nothing to run is done."""


class Bodies:
    """Carries out the Python bodies of one run.

    Args:
        inbox: takes what functions came to, from any thread.
        say: takes what was said.
    """

    def __init__(
        self, run: Run, wanted: Wanted, inbox: Callable[[Called], None], say: Callable[[events.Output], None]
    ) -> None:
        self._run, self._wanted, self._inbox, self._say = run, wanted, inbox, say
        self._threads = TaskPool("vcache-call")

    def close(self) -> None:
        """Wait for functions that run."""
        self._threads.shutdown()

    # -- scripts -------------------------------------------------------------------------------------

    def start(self, task: Task, work: Script) -> Command | Nothing | None:
        """Begin a script: the command to run, nothing, or None while it waits for more.

        Raises:
            NodeFailed: it raised, or returned something else.
        """
        started = work.start()
        if started is None or isinstance(started, Command):
            return self._command(task, started)
        task.coroutine = started
        return self.go_on(task)

    def go_on(self, task: Task) -> Command | Nothing | None:
        """Drive a coroutine to its next need, or its end; as `start`.

        Raises:
            NodeFailed: it raised, awaited or returned what it must not.
        """
        assert task.coroutine is not None
        if task.asked is not None and self._is_unknown(task.asked):
            task.coroutine.close()
            task.is_unknown = True
            return Nothing()
        answer: tuple[object, ...] | None = None if task.asked is None else self._answer(task, task.asked)
        task.asked = None
        try:
            request: object = task.coroutine.send(answer)  # type: ignore[arg-type]  # a coroutine begins with None
        except StopIteration as end:
            task.coroutine = None
            return self._returned(task, end.value)
        except VcacheError as error:
            raise NodeFailed(str(error)) from error
        except Exception as error:  # the user's own code: shown as Python would
            raise NodeFailed(traceback_of(error)) from error
        if not isinstance(request, Need):
            task.coroutine.close()
            raise NodeFailed(
                f"{task.node.name} awaited {request!r:.80}: only `need(…)` can be awaited in a build file"
            )
        task.asked = request
        self._wanted.asked(task, request)
        return None

    def _is_unknown(self, asked: Need) -> bool:
        """Whether, in a dry run, a value is asked for that only a run would give."""
        return any(isinstance(node.work, Call) and self._wanted.task(node).is_unknown for node in asked.nodes)

    def _answer(self, task: Task, asked: Need) -> tuple[object, ...]:
        """The results of what a coroutine asked for; all of it counts for its own result."""
        task.extra_ins += asked.paths
        return tuple(self._result_for(task, self._wanted.task(node)) for node in asked.nodes)

    def _result_for(self, task: Task, other: Task) -> object:
        if isinstance(other.node.work, Call):
            task.extra_deps.append(Dep("value", other.node.name, other.identity))
            if isinstance(task.node.work, Call):
                task.log = other.log  # of a value that is handed on; else its own comes
            return other.value
        found = other.stands_for if other.node.work is None else other.outs
        task.extra_ins += found
        return found

    def _returned(self, task: Task, value: object) -> Command | Nothing | None:
        if isinstance(task.node.work, Script):
            return self._command(task, value)
        assert isinstance(value, tuple)
        self.called(Called(task, value[0], value[1]))
        return None

    def _command(self, task: Task, value: object) -> Command | Nothing:
        if isinstance(value, Command):
            return value
        if value is not None:
            raise NodeFailed(f"{task.node.name} returned {value!r:.80}: return cmd(…) or None")
        task.stands_for = tuple(task.extra_ins)
        task.is_changed = any(need.is_changed for need in task.needs)
        return Nothing()

    # -- functions -----------------------------------------------------------------------------------

    def call(self, task: Task, work: Call) -> bool:
        """Begin a function in a thread; False where, in a dry run, what it is given is not known."""
        if self._run.options.is_dry_run and any(need.is_unknown for need in task.needs):
            task.is_unknown = True
            return False
        arguments = [self._result_for(task, self._wanted.task(node)) for node in work.wants]
        if work.wants_logs:
            arguments.append([(node, self._log_of(self._wanted.task(node))) for node in work.wants_logs])
        task.was = {path: self._run.files.out(path) for path in task.node.outs}
        task.started_ns = self._run.clock()
        task.move(State.RUNNING)
        self._threads.spawn(lambda: self._inbox(self._carried_out(task, work, arguments)))
        return True

    def _log_of(self, task: Task) -> Chunks:
        """What a node wrote, also where it was up to date before anybody asked."""
        return task.chunks or recall(self._run.keeper, task.log.hex()) or ()

    def _carried_out(self, task: Task, work: Call, arguments: list[object]) -> Called:
        begun_ns = time.perf_counter_ns()
        try:
            result = work.run(*arguments)
        except NotInADryRun:
            if self._run.options.is_dry_run:
                return Called(task, is_unknown=True)
            return Called(task, error=f"{task.node.name}: who opened this build gave it no place for jobs")
        except VcacheError as error:
            return Called(task, error=str(error))
        except BaseException as error:
            return Called(task, error=traceback_of(error))
        if not isinstance(result, tuple):
            task.coroutine = result
            return Called(task, is_coroutine=True)
        told = result[2] if len(result) > 2 else Told()
        return Called(task, result[0], result[1], took_ns=time.perf_counter_ns() - begun_ns, told=told)

    def called(self, ended: Called) -> None:
        """A function's value is there.

        Raises:
            NodeFailed: it raised.
            FingerprintError: its value has no identity.
        """
        task, run = ended.task, self._run
        if ended.error:
            raise NodeFailed(ended.error)
        if ended.is_unknown:
            self._would_run(task)
            return
        from vcache.fingerprint.arguments import identity

        if ended.is_hit is not None:
            task.chunks, task.log = ended.told.chunks, log_digest(ended.told.chunks)
        task.value = ended.value
        task.identity = identity(ended.value, where=f"the value of {task.node.name}")
        run.files.made(task.node.outs)
        outs = tuple(map(run.files.out, task.node.outs))
        base = digest(task.identity)
        last = run.tree.last(task.node.name)
        task.is_changed = last is None or (last.base, last.outs) != (base, outs)
        now = run.clock()
        if ended.is_hit is False:
            run.tally.n_run += 1
            run.emit(events.Finished(now, task.node, 0, ended.took_ns, log=task.log))
            self._tell(task, ended.told, now, is_replayed=False)
        elif ended.is_hit is None:
            run.tally.n_up_to_date += 1
            run.emit(events.UpToDate(now, task.node))
        elif task.is_changed or outs != tuple(task.was.values()):
            run.tally.n_hit += 1
            run.emit(events.Hit(now, task.node, "", 0, ended.took_ns, task.log, ended.told.origin))
            self._tell(task, ended.told, now, is_replayed=True)
        else:  # remembered, and what it last was in this tree
            run.tally.n_up_to_date += 1
            run.emit(events.UpToDate(now, task.node))
        if task.is_changed:
            run.tree.record(task.node.name, Made(base=base, outs=outs, took_ns=ended.took_ns, log=task.log))
        self._wanted.end(task, State.MADE)

    def _tell(self, task: Task, told: Told, now_ns: int, *, is_replayed: bool) -> None:
        if not told.chunks:
            return
        lasted_ns = max(at_ns for _, at_ns, _ in told.chunks)
        self._say(
            events.Output(
                now_ns, task.node, told.chunks, is_replayed,
                started_ns=now_ns - lasted_ns if is_replayed else task.started_ns,
                origin=told.origin if is_replayed else "",
            )
        )  # fmt: skip

    def _would_run(self, task: Task) -> None:
        """In a dry run: it would run, and what it gives is not known."""
        task.is_unknown = task.is_changed = True
        self._run.tally.n_run += 1
        now = self._run.clock()
        self._run.emit(events.Started(now, task.node, task.node.text or task.node.name))
        self._run.emit(events.Finished(now, task.node, 0, 0))
        self._wanted.end(task, State.MADE)


def traceback_of(error: BaseException) -> str:
    """An error as Python shows it; in short where not even that can be loaded any more."""
    try:
        import traceback  # 5 ms, for who made an error

        return "".join(traceback.format_exception(error)).rstrip()
    except (ImportError, OSError):  # no descriptor is left to read source lines, or the module, with
        return f"{type(error).__name__}: {error}"
