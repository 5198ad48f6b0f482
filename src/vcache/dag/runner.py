"""The suspending scheduler: makes the nodes that are wanted, asking the cache before a slot is taken.

One thread decides; work runs in the executor's and in worker threads, and comes back through one
inbox. It knows no front end, no terminal and no wire: what happens is told as events.
"""

from __future__ import annotations

import heapq
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from vcache.action import Actions
from vcache.dag import events
from vcache.dag.bodies import Bodies, Called, Nothing, traceback_of
from vcache.dag.completion import Completed, Completion
from vcache.dag.evaluate import Evaluator, program_of, words_of
from vcache.dag.executor import BY_SIGNAL, NOT_RUNNABLE, TIMED_OUT, Ended, Executor, Job
from vcache.dag.judge import Judge, Verdict
from vcache.dag.node import CONSOLE, Command, Node, Script
from vcache.dag.run import Memory, Options, Run
from vcache.dag.slots import Slots
from vcache.dag.state import State
from vcache.dag.wanted import Wanted
from vcache.errors import FingerprintError, NodeFailed, UsageError, VcacheError

if TYPE_CHECKING:
    from collections import deque

    from vcache.dag.files import Files
    from vcache.dag.jobserver import Tokens
    from vcache.dag.node import Graph
    from vcache.dag.task import Task
    from vcache.entry import Dep, Key
    from vcache.making import Keeper

__all__ = ["Runner"]

_FOLLOWING: Final = ("vcache.recipes", "vcache.serialize.writing")
# A signal that comes just before a wait begins does not end it: CPython notes it, and runs its handler
# when the wait is over. Measured on a busy machine: one Ctrl-C in ten, where it came with a start.
_DEAF_S: Final = 0.2
# Fewer ready nodes are looked up one by one.
_FEW: Final = 4
_ASKED_AT_ONCE: Final = 500


class Runner:
    """One run over one graph.

    Args:
        keeper: the cache.
        tree: what earlier runs left.
        files: how files look, for this run.
        executor: where commands run.
        emit: told what happens.
        tokens: a jobserver to obey.
        ask: told of what will be looked up, for many nodes at once, where asking for each takes long.
        run_id: under which the results say who made them.

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
        ask: Callable[[Sequence[Key]], None] | None = None,
        clock: Callable[[], int] = time.time_ns,
        run_id: str = "",
    ) -> None:
        actions = Actions(keeper, look=files.look, hard_links=options.hard_links)
        self._run = run = Run(
            graph=graph, keeper=keeper, actions=actions, tree=tree, files=files, emit=emit,
            options=options, clock=clock, id=run_id,
        )  # fmt: skip
        self.tally = run.tally
        self._executor = executor
        evaluator = Evaluator(
            files,
            keeper.observer,
            root=os.fspath(keeper.root),
            environ_names=options.env,
            backing=keeper.backing,
        )
        self._completion = Completion(run, evaluator)
        self._wanted = Wanted(run)
        self._slots = Slots(options, graph.pools, count=executor.slots, tokens=tokens)
        self._judge = Judge(run, self._wanted, evaluator, say=self._say)
        self._inbox: SimpleQueue[Completed | Called | None] = SimpleQueue()
        self._bodies = Bodies(run, self._wanted, self._inbox.put, self._say)
        self._ask, self._n_asked = ask, 0
        self._calls = 0
        self._timers: list[tuple[float, int, Task]] = []
        self._stopped_by = 0
        self._has_terminal_out = self._is_ranked = False
        self._unsaid: list[events.Output] = []

    def run(self, goals: Sequence[Node]) -> int:
        """Make the goals; the exit status: 0, 1 when something failed, 130 when it was stopped.

        Raises:
            GraphError: a cycle.
        """
        try:
            for node in goals:
                self._wanted.want(node)
            self._loop()
        except BaseException:
            self._kill_all()
            raise
        finally:
            self._drain()
            self._bodies.close()
        if self._stopped_by:
            self.tally.error = self.tally.error or "interrupted"
            return events.INTERRUPTED
        return 1 if self.tally.n_failed else 0

    def stop(self, signum: int = 2) -> None:
        """Stop what runs, and start no more."""
        self._stopped_by = signum
        self._inbox.put(None)

    def result(self, node: Node) -> Task | None:
        """How a node fared; None when it was not wanted."""
        return self._wanted.get(node.name)

    def looks(self, name: str) -> tuple[Dep, ...]:
        """What a node's base manifest holds; nothing for one that has none."""
        task = self._wanted.get(name)
        return () if task is None or task.base is None else task.base.deps

    @property
    def tasks(self) -> Iterable[Task]:
        """All nodes that were wanted."""
        return self._wanted

    # -- the loop ------------------------------------------------------------------------------

    def _loop(self) -> None:
        ready = self._wanted.in_order()
        self._wanted.tell()  # before the first hit: progress counts towards a total
        while True:
            while ready and not self._stopped_by:
                if self._ask is not None:
                    self._ask_ahead(self._ask, ready)
                self._advance(ready.popleft())
                if self._slots.running or self._calls:
                    self._take_in(block=False)
                if self._slots.has_room:
                    self._dispatch()
            if self._stopped_by:
                self._kill_all()
            self._wanted.tell()
            self._dispatch()
            if self._slots.running or self._calls or (self._timers and not self._stopped_by):
                _prepare()
                self._take_in(block=True)
            elif self._stopped_by or not (ready or (len(self._slots) and self._may_start())):
                break
        if self._stopped_by or not self._may_start():
            self._give_up()
        elif self._wanted.let_go():
            self._loop()
        elif (error := self._wanted.cycle()) is not None:
            raise error

    def _ask_ahead(self, ask: Callable[[Sequence[Key]], None], ready: deque[Task]) -> None:
        """Ask for what the next of the ready nodes are looked up by, before one of them is."""
        self._n_asked -= 1
        if self._n_asked > 0 or len(ready) < _FEW:
            return
        tasks = list(islice(ready, _ASKED_AT_ONCE))
        self._n_asked = len(tasks)
        ask([key for task in tasks for key in self._judge.keys(task)])

    def _give_up(self) -> None:
        self._slots.clear()
        self._timers.clear()
        self._wanted.ready.clear()
        why = "interrupted" if self._stopped_by else "too many failures"
        for task in tuple(self._wanted):
            if not task.is_ended and task.state is not State.RUNNING:
                self._skip(task, why)

    def _may_start(self) -> bool:
        limit = self._run.options.keep_going
        return not self._stopped_by and (not limit or self.tally.n_failed < limit)

    # -- one step of one node --------------------------------------------------------------------

    def _advance(self, task: Task) -> None:
        bad = next((need for need in task.needs if need.state in (State.FAILED, State.SKIPPED)), None)
        if bad is not None:
            if task.coroutine is not None:
                task.coroutine.close()
            self._skip(task, f"{bad.node.name} was not made")
            return
        try:
            self._advance_well(task)
        except (NodeFailed, UsageError, FingerprintError) as error:
            self._fail(task, str(error))

    def _advance_well(self, task: Task) -> None:
        if not task.is_completed:
            task.complete(self._run.graph.with_dyndep(task.node))
            self._wanted.complete(task)
            return
        work = task.node.work
        if task.coroutine is not None:
            self._scripted(task, self._bodies.go_on(task))
        elif work is None:
            self._phony(task)
        elif isinstance(work, Command):
            self._command(task, work)
        elif isinstance(work, Script):
            self._scripted(task, self._bodies.start(task, work))
        elif self._bodies.call(task, work):
            self._calls += 1
        else:
            self._wanted.end(task, State.MADE)

    def _phony(self, task: Task) -> None:
        """A name for others, or a file that is just there."""
        node, files = task.node, self._run.files
        named = (path for need in node.ins for path in self._wanted.stands_for(need))
        task.stands_for = tuple(dict.fromkeys(named))
        task.is_always = any(need.is_always for need in task.needs) or (
            not node.ins and not node.after and any(files.input(path) is None for path in node.outs)
        )
        task.is_changed = any(need.is_changed for need in task.needs)
        task.is_unknown = any(need.is_unknown for need in task.needs)
        self._wanted.end(task, State.MADE)

    def _scripted(self, task: Task, said: Command | Nothing | None) -> None:
        if isinstance(said, Command):
            self._command(task, said)
        elif said is not None:
            self._wanted.end(task, State.MADE)

    def _command(self, task: Task, command: Command) -> None:
        if self._judge.judge(task, command) is Verdict.MADE:
            self._wanted.end(task, State.MADE)
            return
        if not self._is_ranked:  # who is urgent matters once somebody has to wait
            self._is_ranked = True
            self._wanted.rank()
        self._slots.push(task)
        task.move(State.QUEUED)

    # -- starting ----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Start what fits."""
        while self._may_start():
            task = self._slots.pop()
            if task is None:
                return
            self._start(task)

    def _start(self, task: Task) -> None:
        node, command, files = task.node, task.command, self._run.files
        assert command is not None
        task.move(State.RUNNING)
        task.attempt += 1
        try:
            self._completion.prepare(task)
        except (FingerprintError, OSError) as error:  # such as a FIFO in its output's place
            self._slots.release(task)
            self._fail(task, str(error))
            return
        task.started_ns = self._run.clock()
        words = command.shell or " ".join(words_of(command))
        self._run.emit(events.Started(task.started_ns, node, words, task.attempt, task.lane))
        self._has_terminal_out |= node.pool == CONSOLE
        job = Job(
            node=node,
            command=command,
            base=self._run.graph.base,
            reads=tuple(map(files.full, (*node.ins, *task.extra_ins))),
            makes=tuple(map(files.full, node.outs)),
            has_terminal=node.pool == CONSOLE,
            key=self._key_of(task),
        )
        try:
            task.kill = self._executor.start(job, lambda ended: self._ended(task, ended))
        except (OSError, RuntimeError) as error:  # no descriptor, or no thread, is left
            self._inbox.put(
                Completed(task=task, ended=Ended(status=NOT_RUNNABLE), error=f"cannot be started: {error}")
            )

    def _key_of(self, task: Task) -> str:
        """What an executor may share a job's result by; "" where it is to run in any case."""
        if task.base is None or not task.node.is_kept or self._run.options.is_forced or task.attempt > 1:
            return ""
        return (task.fingerprint or task.base.fingerprint()).hex()

    def _ended(self, task: Task, ended: Ended) -> None:
        """In a thread of the executor: what needs hashing and storing is done beside the runner."""
        try:
            completed = self._completion.complete(task, ended)
        except BaseException as error:
            words = str(error) if isinstance(error, VcacheError) else traceback_of(error)
            completed = Completed(task=task, ended=ended, error=words)
        self._inbox.put(completed)

    # -- what comes back -------------------------------------------------------------------------

    def _take_in(self, *, block: bool) -> None:
        """Take what has come in; wait for the first if asked to, but not past the next timer."""
        timeout = self._patience_s() if block else 0.0
        while True:
            try:
                item = self._inbox.get_nowait() if timeout == 0.0 else self._inbox.get(timeout=timeout)
            except Empty:
                break
            if isinstance(item, Completed):
                self._completed(item)
            elif item is not None:
                self._called(item)
            timeout = 0.0
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._slots.push(heapq.heappop(self._timers)[2])

    def _patience_s(self) -> float:
        """How long to wait for news at most."""
        waits = [_DEAF_S]
        if self._timers:
            waits.append(self._timers[0][0] - time.monotonic())
        if self._may_start() and (patience_s := self._slots.patience_s()) is not None:
            waits.append(patience_s)
        return max(min(waits), 0.001)

    def _called(self, item: Called) -> None:
        self._calls -= 1
        try:
            if item.is_coroutine:
                item.task.move(State.READY)
                self._bodies.go_on(item.task)
            else:
                self._bodies.called(item)
        except (NodeFailed, UsageError, FingerprintError) as error:
            self._fail(item.task, str(error))

    def _completed(self, done: Completed) -> None:
        task, ended, node = done.task, done.ended, done.task.node
        self._slots.release(task)
        if node.pool == CONSOLE:
            self._has_terminal_out = False
        task.chunks, task.log = done.chunks, done.log
        now = self._run.clock()
        for text, is_detail in done.notes:
            self._run.emit(events.Noted(now, text, node, is_detail))
        if done.error:
            self._fail(task, done.error, done=done)
        elif ended.is_killed:
            self._run.tree.forget(node.name)
            self._skip(task, "interrupted")
        elif ended.status:
            self._went_wrong(task, done)
        else:
            self._went_well(task, done)
        self._flush()

    def _went_well(self, task: Task, done: Completed) -> None:
        run, node, ended = self._run, task.node, done.ended
        run.tally.n_run += 1
        task.is_run = True
        if done.made is None:
            run.tree.forget(node.name)
            task.is_changed = True
        else:
            run.tree.record(node.name, done.made)
            task.is_changed = tuple(task.was.values()) != done.made.outs
        now = run.clock()
        run.emit(
            events.Finished(
                now, node, 0, ended.took_ns, done.name, done.remark, done.log, lane=task.lane
            )
        )  # fmt: skip
        self._say(_output(now, done))
        self._wanted.end(task, State.MADE)

    def _went_wrong(self, task: Task, done: Completed) -> None:
        """Try again if the node says so, else fail."""
        ended, command = done.ended, task.command
        assert command is not None
        status, retry = ended.status or 1, command.retry
        is_worth_it = not retry.statuses or status in retry.statuses
        if task.attempt > retry.times or not is_worth_it or not self._may_start():
            self._fail(task, done.remark or _status_words(status), done=done)
            return
        from vcache.kit.retry import Backoff  # 2 ms with its randomness, for what hardly ever fails

        backoff = Backoff(times=retry.times, base_s=retry.base_s, most_s=retry.most_s)
        wait_s = backoff.wait_s(task.attempt) or 0.0
        remark = f"{_status_words(status)}; again in {wait_s:.1f} s"
        now = self._run.clock()
        self._run.emit(
            events.Finished(
                now, task.node, status, ended.took_ns, "", remark, done.log, will_retry=True, lane=task.lane
            )
        )
        self._say(_output(now, done, status=status))
        task.move(State.QUEUED)
        heapq.heappush(self._timers, (time.monotonic() + wait_s, id(task), task))

    # -- ends ------------------------------------------------------------------------------------

    def _fail(self, task: Task, why: str, *, done: Completed | None = None) -> None:
        run, node = self._run, task.node
        run.tally.n_failed += 1
        run.tally.error = run.tally.error or why
        run.tree.forget(node.name)
        now = run.clock()
        ended = None if done is None else done.ended
        status = (ended.status if ended else 0) or 1
        took_ns = ended.took_ns if ended else 0
        run.emit(events.Finished(now, node, status, took_ns, "", why, task.log, lane=task.lane))
        if done is not None:
            self._say(_output(now, done, status=status))
        self._wanted.end(task, State.FAILED)

    def _skip(self, task: Task, because: str) -> None:
        if task.node.work is not None:
            self._run.emit(events.Skipped(self._run.clock(), task.node, because))
        self._wanted.end(task, State.SKIPPED)

    def _say(self, output: events.Output) -> None:
        """Tell what a node wrote; if one of them has the terminal for itself, after that."""
        if output.chunks:
            self._unsaid.append(output)
            self._flush()

    def _flush(self) -> None:
        if not self._has_terminal_out:
            unsaid, self._unsaid = self._unsaid, []
            for output in unsaid:
                self._run.emit(output)

    def _kill_all(self) -> None:
        for task in self._slots.running:
            if task.kill is not None:
                task.kill()

    def _drain(self) -> None:
        """Wait for what was killed: nobody leaves while a command writes its outputs."""
        while self._slots.running or self._calls:
            item = self._inbox.get()
            if isinstance(item, Completed):
                self._slots.running.discard(item.task)
            elif item is not None:
                self._calls -= 1
        self._slots.return_tokens()


def _output(now_ns: int, done: Completed, *, status: int = 0) -> events.Output:
    """What a command wrote that has ended."""
    task, command = done.task, done.task.command
    assert command is not None
    action = done.name.rpartition(":")[2]
    if not action and task.base is not None:
        action = (task.fingerprint or task.base.fingerprint()).hex()
    return events.Output(
        now_ns, task.node, done.chunks, is_replayed=False, started_ns=task.started_ns, action=action,
        program=program_of(command), status=status,
    )  # fmt: skip


def _prepare() -> None:
    """Load what follows a command while it runs: 8 ms that nobody then waits for."""
    for name in _FOLLOWING:
        if name not in sys.modules:
            import_module(name)


def _status_words(status: int) -> str:
    if status == TIMED_OUT:
        return "it took too long"
    return f"signal {status - BY_SIGNAL}" if status > BY_SIGNAL else f"exit status {status}"
