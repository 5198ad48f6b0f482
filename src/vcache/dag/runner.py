"""The suspending scheduler: makes the nodes that are wanted, asking the cache before a slot is taken.

One thread decides; work runs in the executor's and in worker threads, and comes back through one
inbox. It knows no front end, no terminal and no wire: what happens is told as events.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol

from vcache.action import Actions
from vcache.dag import events
from vcache.dag.completion import Completed, Completion
from vcache.dag.evaluate import Evaluator, words_of
from vcache.dag.executor import Ended, Executor, Job
from vcache.dag.graph import find_cycle
from vcache.dag.node import CONSOLE, Call, Command, Made, Need, Node, Pool, Script
from vcache.dag.pools import Pools
from vcache.dag.state import State
from vcache.dag.task import Task
from vcache.entry import Dep
from vcache.errors import FingerprintError, GraphError, UsageError, VcacheError
from vcache.kit.retry import Backoff
from vcache.kit.taskpool import TaskPool

if TYPE_CHECKING:
    from vcache.action import Result
    from vcache.dag.files import Files
    from vcache.dag.node import Graph
    from vcache.making import Keeper

__all__ = ["Memory", "Options", "Runner", "Tokens"]

INTERRUPTED: Final = 130
_LOAD_POLL_S: Final = 0.2
_TOKEN_POLL_S: Final = 0.02


class Memory(Protocol):
    """What the runner asks of a tree's memory."""

    def last(self, name: str) -> Made | None: ...

    def record(self, name: str, made: Made) -> None: ...

    def forget(self, name: str) -> None: ...


class Tokens(Protocol):
    """A make jobserver: one token for each job beyond the first."""

    def acquire(self) -> bool: ...

    def release(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run.

    Attributes:
        jobs: how many nodes run at once; None for what the executor says.
        keep_going: how many may fail before no more are started; 0 for any number.
        load_limit: no more are started while the machine's load is above it; None for no limit.
        memory_bytes: what the memory of all running nodes may sum up to; 0 for no bound.
        is_dry_run: nothing runs and nothing is restored; what would be is told.
        trace: "on": every command is traced; "audit": and what it read is compared with what was
            declared; "": as each node says.
        is_forced: what is up to date or in the cache runs all the same.
        keep_rsp, keep_depfile: leave response files, and depfiles that were read.
        env: names of variables of the caller that count for every command.
        is_strict: a promised output or depfile that was not made is a failure; ninja lets it pass.
    """

    jobs: int | None = None
    keep_going: int = 1
    load_limit: float | None = None
    memory_bytes: int = 0
    is_dry_run: bool = False
    trace: str = ""
    is_forced: bool = False
    keep_rsp: bool = False
    keep_depfile: bool = False
    env: tuple[str, ...] = ()
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class _Called:
    """A function of a `Call` has ended."""

    task: Task
    value: object
    is_hit: bool
    error: str
    took_ns: int


class Runner:
    """One run over one graph.

    Args:
        keeper: the cache.
        tree: what earlier runs left.
        files: how files look, for this run.
        executor: where commands run.
        emit: told what happens.
        tokens: a jobserver to obey.

    Threads: `run` in one; `stop` from any, and from signal handlers.
    """

    def __init__(
        self,
        graph: Graph,
        keeper: Keeper,
        tree: Memory,
        files: Files,
        executor: Executor,
        *,
        emit: Callable[[events.Event], None],
        options: Options,
        tokens: Tokens | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._graph, self._keeper, self._tree, self._files = graph, keeper, tree, files
        self._executor, self._emit, self._options, self._tokens = executor, emit, options, tokens
        self._clock = clock
        root = os.fspath(keeper.root)
        self._evaluator = Evaluator(files, keeper.observer, root=root, environ_names=options.env)
        self._actions = Actions(keeper, look=files.look)
        self._completion = Completion(keeper, self._actions, self._evaluator, files, options=options)
        slots = options.jobs or executor.slots
        self._pools = Pools(Pool("", slots, options.memory_bytes), graph.pools)
        self._tasks: dict[str, Task] = {}
        self._ready: deque[Task] = deque()
        self._running: set[Task] = set()
        self._calls = 0
        self._timers: list[tuple[float, int, Task]] = []
        self._inbox: SimpleQueue[Completed | _Called | None] = SimpleQueue()
        self._threads = TaskPool("vcache-call")
        self._stopped_by = 0
        self._planned = self._planned_said = 0
        self._tokens_held = 0
        self._is_free_slot_used = False
        self._has_terminal_out = False
        self._lines: list[events.Output] = []
        self.n_run = self.n_hit = self.n_up_to_date = self.n_failed = 0
        self.saved_ns = 0
        self.error = ""

    # -- the loop ------------------------------------------------------------------------------

    def run(self, goals: Sequence[Node]) -> int:
        """Make the goals; the exit status: 0, 1 when something failed, 130 when it was stopped.

        Raises:
            GraphError: a cycle, or an input that is missing and that nobody makes.
        """
        try:
            for node in goals:
                self._want(node)
            self._rank()
            self._loop()
        except BaseException:
            self._kill_all()
            raise
        finally:
            self._drain()
            self._threads.shutdown()
        if self._stopped_by:
            self.error = self.error or "interrupted"
            return INTERRUPTED
        return 1 if self.n_failed else 0

    def stop(self, signum: int = 2) -> None:
        """Stop what runs, and start no more."""
        self._stopped_by = signum
        self._inbox.put(None)

    def result(self, node: Node) -> Task | None:
        """How a node fared; None when it was not wanted."""
        return self._tasks.get(node.name)

    @property
    def tasks(self) -> Iterable[Task]:
        """All nodes that were wanted."""
        return self._tasks.values()

    def _loop(self) -> None:
        while True:
            while self._ready and not self._stopped_by:
                self._advance(self._ready.popleft())
                if self._running or self._calls:
                    self._take_in(block=False)
                if len(self._pools) and self._has_free_slot():
                    self._dispatch()
            if self._stopped_by:
                self._kill_all()
            self._plan_said()
            self._dispatch()
            if self._running or self._calls or (self._timers and not self._stopped_by):
                self._take_in(block=True)
            elif self._ready:
                continue
            elif len(self._pools):
                if self._may_start():
                    continue
                self._give_up()
            else:
                break
        self._finish()

    def _finish(self) -> None:
        """What still waits does so for ever: it is skipped, or goes round in a circle."""
        waiting = [task for task in self._tasks.values() if not task.is_ended]
        if not waiting:
            return
        if self._stopped_by or not self._may_start():
            self._give_up()
            return
        cycle = find_cycle(
            [task for task in waiting], lambda task: [need for need in task.needs if not need.is_ended]
        )
        path = " -> ".join(task.node.name for task in cycle or waiting)
        raise GraphError(f"dependency cycle: {path}")

    def _give_up(self) -> None:
        self._pools.clear()
        self._timers.clear()
        self._ready.clear()
        why = "interrupted" if self._stopped_by else "too many failures"
        for task in self._tasks.values():
            if not task.is_ended and task.state is not State.RUNNING:
                self._skip(task, why, quietly=task.node.work is None)

    # -- what is wanted ------------------------------------------------------------------------

    def _want(self, node: Node) -> Task:
        """The task of a node, with all it needs."""
        known = self._tasks.get(node.name)
        if known is not None:
            return known
        first = self._new(node)
        stack = [first]
        while stack:
            task = stack.pop()
            self._link(task, self._needs(task.node), stack)
            for path in task.node.checks:
                check = self._graph.producer(path)
                if check is not None and check.name not in self._tasks:
                    stack.append(self._new(check))
        return first

    def _new(self, node: Node) -> Task:
        task = self._tasks[node.name] = Task(node)
        if node.work is not None:
            self._planned += 1
        return task

    def _link(self, task: Task, needs: Iterable[Node], stack: list[Task]) -> None:
        """Let a task wait for nodes; those that nobody wanted yet are put on the stack."""
        known = {id(need) for need in task.needs}
        for need in needs:
            other = self._tasks.get(need.name)
            if other is None:
                other = self._new(need)
                stack.append(other)
            if id(other) not in known:
                known.add(id(other))
                task.wait_for(other)
        if not task.pending:
            self._is_ready(task)

    def _needs(self, node: Node) -> Iterable[Node]:
        paths = (*node.ins, *node.after, node.dyndep) if node.dyndep else (*node.ins, *node.after)
        found: dict[Node, None] = {}
        for path in paths:
            if path[-1:] == "/":
                found.update(dict.fromkeys(self._graph.producers(path)))
            producer = self._graph.producer(path)
            if producer is not None:
                found[producer] = None
        work = node.work
        if isinstance(work, Call):
            found.update(dict.fromkeys((*work.wants, *work.wants_logs)))
        return found

    def _rank(self) -> None:
        """Priorities by critical path, from how long each node took the last time."""
        costs: dict[str, float] = {}
        for name, task in self._tasks.items():
            if task.node.work is not None:
                made = self._tree.last(name)
                costs[name] = float(made.took_ns or _USUAL_NS) if made else float(_USUAL_NS)
        # From the ends backwards: who has no waiter is an end.
        left = {name: len(task.waiters) for name, task in self._tasks.items()}
        ends = [task for task in self._tasks.values() if not task.waiters]
        while ends:
            task = ends.pop()
            task.priority += costs.get(task.node.name, 0.0)
            for need in task.needs:
                need.priority = max(need.priority, task.priority)
                left[need.node.name] -= 1
                if not left[need.node.name]:
                    ends.append(need)

    def _is_ready(self, task: Task) -> None:
        if task.state is State.WAITING:
            task.move(State.READY)
            self._ready.append(task)

    # -- one step of one node --------------------------------------------------------------------

    def _advance(self, task: Task) -> None:
        bad = next((need for need in task.needs if need.state in (State.FAILED, State.SKIPPED)), None)
        if bad is not None:
            if task.coroutine is not None:
                task.coroutine.close()
            self._skip(task, f"{bad.node.name} was not made", quietly=task.node.work is None)
            return
        try:
            self._advance_well(task)
        except (GraphError, FingerprintError, UsageError) as error:
            self._fail(task, str(error))

    def _advance_well(self, task: Task) -> None:
        if not task.is_completed and self._complete_dyndep(task):
            return
        node = task.node
        work = node.work
        if task.coroutine is not None:
            self._drive(task)
        elif work is None:
            self._phony(task)
        elif isinstance(work, Command):
            self._evaluate(task, work)
        elif isinstance(work, Script):
            self._script(task, work)
        else:
            self._call(task, work)

    def _complete_dyndep(self, task: Task) -> bool:
        """Read a node's dyndep file; True when there is more to wait for."""
        task.node = self._graph.with_dyndep(task.node)
        task.outs = task.node.outs
        task.is_completed = True
        task.move(State.WAITING)
        stack: list[Task] = []
        self._link(task, self._needs(task.node), stack)
        self._want_all(stack)
        return True

    def _want_all(self, stack: list[Task]) -> None:
        while stack:
            task = stack.pop()
            self._link(task, self._needs(task.node), stack)

    def _phony(self, task: Task) -> None:
        """A name for others, or a file that is just there."""
        node = task.node
        task.stands_for = tuple(dict.fromkeys(path for need in node.ins for path in self._stands_for(need)))
        task.is_always = any(need.is_always for need in task.needs) or (
            not node.ins and not node.after and any(self._files.input(path) is None for path in node.outs)
        )
        task.is_changed = any(need.is_changed for need in task.needs)
        task.is_unknown = any(need.is_unknown for need in task.needs)
        self._settle(task, State.MADE)

    def _stands_for(self, path: str) -> Iterable[str]:
        """The files that count where a path is named: a phony name stands for what it names."""
        producer = self._graph.producer(path)
        task = None if producer is None else self._tasks.get(producer.name)
        if task is None or task.node.work is not None:
            return (path,)
        return task.stands_for

    def _script(self, task: Task, work: Script) -> None:
        started = work.start()
        if isinstance(started, Command) or started is None:
            self._scripted(task, started)
        else:
            task.coroutine = started
            self._drive(task)

    def _drive(self, task: Task) -> None:
        """Go on with a coroutine, with what it asked for."""
        assert task.coroutine is not None
        answer = None if task.asked is None else self._answer(task, task.asked)
        task.asked = None
        try:
            request = task.coroutine.send(answer)  # type: ignore[arg-type]
        except StopIteration as end:
            task.coroutine = None
            self._returned(task, end.value)
            return
        except VcacheError as error:
            self._fail(task, str(error))
            return
        except Exception as error:  # the user's own code: shown as Python would
            self._fail(task, _traceback(error))
            return
        if not isinstance(request, Need):
            task.coroutine.close()
            self._fail(task, f"{task.node.name} awaited {request!r:.80}: only `need(…)` can be awaited here")
            return
        task.asked = request
        task.move(State.WAITING)
        stack: list[Task] = []
        found = [*request.nodes]
        for path in request.paths:
            found += self._graph.producers(path) if path[-1:] == "/" else ()
            producer = self._graph.producer(path)
            found += () if producer is None else (producer,)
        self._link(task, found, stack)
        self._want_all(stack)

    def _answer(self, task: Task, asked: Need) -> tuple[object, ...]:
        """The results of what a coroutine asked for; all of it counts for its own result."""
        for path in asked.paths:
            task.extra_ins.append(path)
        return tuple(self._result_of(task, self._tasks[node.name]) for node in asked.nodes)

    def _result_of(self, task: Task, other: Task) -> object:
        if isinstance(other.node.work, Call):
            task.extra_deps.append(Dep("value", other.node.name, other.identity))
            return other.value
        if other.node.work is None:
            task.extra_ins += other.stands_for
            return other.stands_for
        task.extra_ins += other.outs
        return other.outs

    def _returned(self, task: Task, value: object) -> None:
        if isinstance(task.node.work, Script):
            if value is not None and not isinstance(value, Command):
                self._fail(task, f"{task.node.name} returned {value!r:.80}: return cmd(…) or None")
            else:
                self._scripted(task, value)
        else:
            assert isinstance(value, tuple)
            self._called(_Called(task, value[0], bool(value[1]), "", 0))

    def _scripted(self, task: Task, command: Command | None) -> None:
        if command is None:
            task.stands_for = tuple(task.extra_ins)
            for need in task.needs:
                if isinstance(need.node.work, Command | Script):
                    task.is_changed |= need.is_changed
            self._settle(task, State.MADE)
        else:
            self._evaluate(task, command)

    # -- functions -----------------------------------------------------------------------------

    def _call(self, task: Task, work: Call) -> None:
        if self._options.is_dry_run and any(need.is_unknown for need in task.needs):
            task.is_unknown = True
            self._settle(task, State.MADE)
            return
        arguments = [self._result_of(task, self._tasks[node.name]) for node in work.wants]
        logs = [(node, self._tasks[node.name].chunks) for node in work.wants_logs]
        started = self._clock()
        task.started_ns = started

        def carry_out() -> None:
            begun = time.perf_counter_ns()
            try:
                result = work.run(*arguments, *([logs] if work.wants_logs else []))
                if not isinstance(result, tuple):  # a coroutine: driven by the runner's own thread
                    task.coroutine = result
                    self._inbox.put(_Called(task, result, False, "", 0))
                    return
                value, is_hit = result
                took = time.perf_counter_ns() - begun
                self._inbox.put(_Called(task, value, is_hit, "", took))
            except VcacheError as error:
                self._inbox.put(_Called(task, None, False, str(error), 0))
            except BaseException as error:
                self._inbox.put(_Called(task, None, False, _traceback(error), 0))

        task.move(State.RUNNING)
        self._calls += 1
        self._threads.spawn(carry_out)

    def _called(self, ended: _Called) -> None:
        task = ended.task
        if ended.error:
            self._fail(task, ended.error)
            return
        task.value = ended.value
        from vcache.fingerprint.arguments import identity

        task.identity = identity(ended.value, where=f"the value of {task.node.name}")
        now = self._clock()
        if ended.is_hit:
            self.n_hit += 1
            self._emit(events.Hit(now, task.node, "", 0, ended.took_ns))
        else:
            self.n_run += 1
            self._emit(events.Finished(now, task.node, 0, ended.took_ns))
        last = self._tree.last(task.node.name)
        task.is_changed = last is None or last.outs != (task.identity,)
        if task.is_changed:
            self._tree.record(task.node.name, Made(base=b"", outs=(task.identity,), took_ns=ended.took_ns))
        self._settle(task, State.MADE)

    # -- commands ------------------------------------------------------------------------------

    def _evaluate(self, task: Task, command: Command) -> None:
        """Up to date, in the cache, or to be run."""
        node = task.node
        task.command = command
        if self._options.is_dry_run and any(need.is_unknown for need in task.needs):
            self._would_run(task, "what it reads would change")
            return
        ins = [path for name in (*node.ins, *task.extra_ins) for path in self._stands_for(name)]
        base = self._evaluator.base(node, command, ins=ins, more=task.extra_deps)
        if isinstance(base, str):
            self._missing(task, base)
            return
        task.base = task.lookup = base
        if not command.depfile and not command.deps and not command.is_traced and node.after:
            # Its command may read what it only waits for: that counts where another tree's result is taken.
            after = [path for name in node.after for path in self._stands_for(name)]
            full = self._evaluator.base(
                node, command, ins=[*ins, *(path for path in after if self._files.input(path))],
                more=task.extra_deps,
            )  # fmt: skip
            assert not isinstance(full, str)
            task.lookup = full
        task.is_always = any(need.is_always for need in task.needs)
        reason = self._reason(task)
        if not reason:
            self._up_to_date(task)
            return
        if self._may_look_up(task):
            began = time.perf_counter_ns()
            result = self._actions.find(self._owner(node), task.lookup)
            if result is not None and self._take(task, result, began):
                return
        self._emit(events.Missed(self._clock(), node, reason))
        if self._options.is_dry_run:
            self._would_run(task, reason)
            return
        self._enqueue(task)

    def _missing(self, task: Task, path: str) -> None:
        if self._options.is_dry_run and self._graph.producer(path) is not None:
            self._would_run(task, f"{path} is not there")
            return
        place = f"{task.node.place}: " if task.node.place else ""
        producer = self._graph.producer(path)
        if producer is not None:
            raise GraphError(
                f"{place}{path!r}, needed by {task.node.name!r}, was not made by {producer.name!r}"
            )
        raise GraphError(
            f"{place}{path!r}, needed by {task.node.name!r}, missing and no known rule to make it"
        )

    def _owner(self, node: Node) -> str:
        return f"dag:{self._files.name(node.outs[0]) if node.outs else node.name}"

    def _may_look_up(self, task: Task) -> bool:
        node = task.node
        return (
            node.is_kept
            and not task.is_always
            and not self._options.is_forced
            and not self._keeper.is_disabled
            and node.pool != CONSOLE
        )

    def _reason(self, task: Task) -> str:
        """Why this tree does not hold what a node makes; "" when it does."""
        node = task.node
        if self._options.is_forced:
            return "it is forced"
        if task.is_always:
            return "it depends on what is always out of date"
        last = self._tree.last(node.name)
        if last is None:
            return "" if node.is_generator and self._is_newer(task) else "never built here"
        assert task.base is not None
        if last.base != task.base.fingerprint():
            return self._changed_input(task) or "its command or its inputs changed"
        for path, content in zip(node.outs, last.outs, strict=False):
            now = self._files.out(path)
            if not now:
                return f"output {path} is gone"
            if now != content:
                return f"output {path} is not what was made"
        if len(last.outs) != len(node.outs):
            return "it makes other files"
        for dep in last.found:
            if (seen := self._files.look(dep.kind, dep.name)) != (dep,):
                return f"{'changed' if seen else 'gone'} {dep.kind} {dep.name}"
        return ""

    def _changed_input(self, task: Task) -> str:
        changed = [need.node.name for need in task.needs if need.is_changed]
        return f"changed {changed[0]}" if changed else ""

    def _is_newer(self, task: Task) -> bool:
        """The rule of times, for what was generated before the first run: outputs as new as inputs."""
        try:
            made = [os.stat(self._files.full(path)).st_mtime_ns for path in task.node.outs]
            read = [os.stat(self._files.full(path)).st_mtime_ns for path in task.node.ins]
        except OSError:
            return False
        return bool(made) and max(read, default=0) <= min(made)

    def _up_to_date(self, task: Task) -> None:
        self.n_up_to_date += 1
        last = self._tree.last(task.node.name)
        if last is None:
            assert task.base is not None
            outs = tuple(self._files.out(path) for path in task.node.outs)
            last = Made(base=task.base.fingerprint(), outs=outs)
            self._tree.record(task.node.name, last)
        task.log = last.log
        if last.log and self._is_log_wanted(task):
            task.chunks = self._completion.recall_log(last.log)
        self._emit(events.UpToDate(self._clock(), task.node))
        self._settle(task, State.MADE)

    def _is_log_wanted(self, task: Task) -> bool:
        return any(isinstance(waiter.node.work, Call) for waiter in task.waiters)

    def _take(self, task: Task, result: Result, began_ns: int) -> bool:
        """Restore a result; False when that cannot be done."""
        node = task.node
        if self._options.is_dry_run:
            if not self._actions.has(result):
                return False
            for path, artifact in zip(node.outs, result.files, strict=False):
                self._files.pretend(path, bytes(artifact[2]) if isinstance(artifact[2], bytes) else b"")
            task.is_changed = True
        else:
            written = self._actions.put_back(result)
            if written is None:
                return False
            if written:
                self._files.made(node.outs)
            task.is_changed = bool(written)
            self._remember(task, result.found, result.cost_ns, result.name, _log_digest(result.chunks))
        task.chunks, task.log = result.chunks, _log_digest(result.chunks)
        self.n_hit += 1
        self.saved_ns += result.cost_ns
        now = self._clock()
        took = time.perf_counter_ns() - began_ns
        self._emit(events.Hit(now, node, result.name, result.cost_ns, took, task.log))
        self._say(events.Output(now, node, result.chunks, is_replayed=True))
        self._settle(task, State.MADE)
        return True

    def _remember(self, task: Task, found: Sequence[Dep], took_ns: int, name: str, log: bytes) -> None:
        assert task.base is not None
        outs = tuple(self._files.out(path) for path in task.node.outs)
        made = Made(task.base.fingerprint(), tuple(found), outs, took_ns, name, log)
        self._tree.record(task.node.name, made)

    def _would_run(self, task: Task, reason: str) -> None:
        """In a dry run: it would run, and what it makes is not known."""
        task.is_unknown = task.is_changed = True
        now = self._clock()
        assert task.command is not None
        self.n_run += 1
        self._emit(events.Started(now, task.node, " ".join(words_of(task.command))))
        self._emit(events.Finished(now, task.node, 0, 0))
        self._settle(task, State.MADE)

    # -- slots ---------------------------------------------------------------------------------

    def _enqueue(self, task: Task) -> None:
        self._pools.push(task)
        task.move(State.QUEUED)

    def _may_start(self) -> bool:
        limit = self._options.keep_going
        return not self._stopped_by and (not limit or self.n_failed < limit)

    def _has_free_slot(self) -> bool:
        return len(self._running) < (self._options.jobs or self._executor.slots)

    def _dispatch(self) -> None:
        """Start what fits."""
        while self._may_start() and len(self._pools):
            if not self._has_token():
                return
            task = self._pools.pop()
            if task is None:
                return
            self._start(task)

    def _has_token(self) -> bool:
        """Whether one more job may start, for the jobserver and the machine's load."""
        if not self._running:
            return True
        limit = self._options.load_limit
        if limit is not None and os.getloadavg()[0] > limit:
            return False
        if self._tokens is None:
            return True
        # Each job holds a token but one: that is the slot that we were started with.
        if self._tokens_held < len(self._running):
            if not self._tokens.acquire():
                return False
            self._tokens_held += 1
        return True

    def _return_tokens(self) -> None:
        while self._tokens is not None and self._tokens_held > max(len(self._running) - 1, 0):
            self._tokens_held -= 1
            self._tokens.release()

    def _start(self, task: Task) -> None:
        node, command = task.node, task.command
        assert command is not None
        task.move(State.RUNNING)
        task.attempt += 1
        if self._options.trace and not command.is_traced:
            from dataclasses import replace

            command = task.command = replace(command, is_traced=True)
        self._completion.prepare(task)
        task.started_ns = self._clock()
        self._emit(
            events.Started(task.started_ns, node, " ".join(words_of(command)), task.attempt, task.lane)
        )
        self._running.add(task)
        has_terminal = node.pool == CONSOLE
        self._has_terminal_out |= has_terminal
        job = Job(
            node=node,
            command=command,
            base=self._graph.base,
            reads=tuple(map(self._files.full, (*node.ins, *task.extra_ins))),
            makes=tuple(map(self._files.full, node.outs)),
            has_terminal=has_terminal,
        )
        task.kill = self._executor.start(job, lambda ended: self._ended(task, ended))

    def _ended(self, task: Task, ended: Ended) -> None:
        """In a thread of the executor: what needs hashing and storing is done beside the runner."""
        try:
            completed = self._completion.complete(task, ended)
        except BaseException as error:
            completed = Completed(
                task=task,
                ended=ended,
                error=str(error) if isinstance(error, VcacheError) else _traceback(error),
            )
        self._inbox.put(completed)

    # -- what comes back -------------------------------------------------------------------------

    def _take_in(self, *, block: bool) -> None:
        """Take what has come in; wait for the first if asked to, but not past the next timer."""
        timeout = self._patience() if block else 0.0
        while True:
            try:
                item = (
                    self._inbox.get(timeout=timeout)
                    if timeout is None or timeout > 0
                    else self._inbox.get_nowait()
                )
            except Empty:
                break
            if isinstance(item, Completed):
                self._completed(item)
            elif isinstance(item, _Called):
                self._take_call(item)
            timeout = 0.0
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._enqueue_again(heapq.heappop(self._timers)[2])

    def _patience(self) -> float | None:
        """How long to wait for news at most."""
        waits = []
        if self._timers:
            waits.append(max(self._timers[0][0] - time.monotonic(), 0.001))
        if len(self._pools) and self._has_free_slot() and self._may_start():
            if self._tokens is not None:
                waits.append(_TOKEN_POLL_S)
            if self._options.load_limit is not None:
                waits.append(_LOAD_POLL_S)
        return min(waits, default=None)

    def _take_call(self, item: _Called) -> None:
        self._calls -= 1
        if item.task.coroutine is not None and item.value is item.task.coroutine:
            item.task.move(State.READY)
            self._drive(item.task)
        else:
            self._called(item)

    def _completed(self, done: Completed) -> None:
        task = done.task
        self._running.discard(task)
        self._pools.release(task)
        self._return_tokens()
        now = self._clock()
        node = task.node
        if node.pool == CONSOLE:
            self._has_terminal_out = False
        ended = done.ended
        task.chunks, task.log = done.chunks, done.log
        if done.error:
            self._say(events.Output(now, node, done.chunks, is_replayed=False))
            self._fail(task, done.error, took_ns=ended.took_ns, status=ended.status or 1)
            self._flush()
            return
        for text in done.notes:
            self._emit(events.Noted(now, text, node))
        if ended.status or ended.is_killed:
            self._went_wrong(task, done)
            self._flush()
            return
        self.n_run += 1
        if done.made is not None:
            self._tree.record(node.name, done.made)
        else:
            self._tree.forget(node.name)
        last = task.was
        self._files.made(node.outs)
        task.is_changed = not done.made or any(
            content != last.get(path) for path, content in zip(node.outs, done.made.outs, strict=False)
        )
        self._emit(
            events.Finished(now, node, 0, ended.took_ns, done.name, done.remark, done.log, lane=task.lane)
        )
        self._say(events.Output(now, node, done.chunks, is_replayed=False))
        self._flush()
        self._settle(task, State.MADE)

    def _went_wrong(self, task: Task, done: Completed) -> None:
        ended, retry = done.ended, task.command.retry if task.command else None
        now = self._clock()
        status = ended.status or 1
        again = (
            retry is not None
            and task.attempt <= retry.times
            and (not retry.statuses or status in retry.statuses)
            and not ended.is_killed
            and not self._stopped_by
        )
        if not again:
            self._fail(
                task,
                done.remark or _status_words(status),
                status=status,
                took_ns=ended.took_ns,
                chunks=done.chunks,
            )
            return
        assert retry is not None
        backoff = Backoff(times=retry.times, base_s=retry.base_s, most_s=retry.most_s)
        wait_s = backoff.wait_s(task.attempt) or 0.0
        self._emit(
            events.Finished(
                now, task.node, status, ended.took_ns, "", f"{_status_words(status)}; again in {wait_s:.1f} s",
                done.log, will_retry=True, lane=task.lane,
            )
        )  # fmt: skip
        self._say(events.Output(now, task.node, done.chunks, is_replayed=False))
        task.move(State.QUEUED)
        heapq.heappush(self._timers, (time.monotonic() + wait_s, id(task), task))

    def _enqueue_again(self, task: Task) -> None:
        self._pools.push(task)

    # -- ends ------------------------------------------------------------------------------------

    def _fail(
        self,
        task: Task,
        why: str,
        *,
        status: int = 1,
        took_ns: int = 0,
        chunks: tuple[tuple[int, int, bytes], ...] = (),
    ) -> None:
        self.n_failed += 1
        self._tree.forget(task.node.name)
        self.error = self.error or why
        now = self._clock()
        self._emit(events.Finished(now, task.node, status, took_ns, "", why, task.log, lane=task.lane))
        if chunks:
            self._say(events.Output(now, task.node, chunks, is_replayed=False))
        self._settle(task, State.FAILED)

    def _skip(self, task: Task, because: str, *, quietly: bool = False) -> None:
        if not quietly:
            self._emit(events.Skipped(self._clock(), task.node, because))
        self._settle(task, State.SKIPPED)

    def _settle(self, task: Task, state: State) -> None:
        task.move(state)
        for waiter in task.waiters:
            waiter.pending -= 1
            if not waiter.pending and waiter.state is State.WAITING:
                self._is_ready(waiter)

    def _plan_said(self) -> None:
        if self._planned != self._planned_said:
            self._planned_said = self._planned
            self._emit(events.Planned(self._clock(), self._planned))

    def _say(self, output: events.Output) -> None:
        """Tell what a node wrote, unless one of them has the terminal for itself: then after it."""
        if not output.chunks:
            return
        self._lines.append(output)
        self._flush()

    def _flush(self) -> None:
        if not self._has_terminal_out:
            lines, self._lines = self._lines, []
            for line in lines:
                self._emit(line)

    def _kill_all(self) -> None:
        for task in self._running:
            if task.kill is not None:
                task.kill()

    def _drain(self) -> None:
        """Wait for what was killed: nobody leaves while a command writes its outputs."""
        while self._running or self._calls:
            item = self._inbox.get()
            if isinstance(item, Completed):
                self._running.discard(item.task)
                self._completion.clean_up(item)
            elif isinstance(item, _Called):
                self._calls -= 1
        self._return_tokens()


_USUAL_NS: Final = 1_000_000


def _status_words(status: int) -> str:
    if status == 124:
        return "it took too long"
    return f"signal {status - 128}" if status > 128 else f"exit status {status}"


def _log_digest(chunks: Sequence[tuple[int, int, bytes]]) -> bytes:
    from vcache.dag.completion import log_digest

    return log_digest(chunks)


def _traceback(error: BaseException) -> str:
    import traceback  # 5 ms, for who made an error

    return "".join(traceback.format_exception(error)).rstrip()
