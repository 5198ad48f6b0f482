"""What a run wants: a task for each node, who waits for whom, and who is urgent.

It knows graphs and states, and nothing of caches, slots and processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from vcache.dag import events
from vcache.dag.graph import find_cycle
from vcache.dag.node import Call, Command
from vcache.dag.state import State
from vcache.dag.stored import StoredGraph
from vcache.dag.task import Task
from vcache.errors import GraphError

if TYPE_CHECKING:
    from vcache.dag.node import Need, Node
    from vcache.dag.run import Run

__all__ = ["Wanted"]

# What a node takes whose time is not known: that those with more behind them come first.
_USUAL_NS: Final = 1_000_000


class Wanted:
    """The tasks of one run.

    Attributes:
        ready: those whose needs are all at an end, to be taken in this order.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tasks: dict[str, Task] = {}
        self.ready: deque[Task] = deque()
        self._count = self._count_told = 0
        # Over the graph of the last run it is known whether anything that was found is made: reading
        # that of each node would take as long as all else here.
        self._finds_sources = isinstance(run.graph, StoredGraph) and not run.tree.generated()
        self._found: dict[str, Node | None] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def get(self, name: str) -> Task | None:
        """The task of the node of a name."""
        return self._tasks.get(name)

    def task(self, node: Node) -> Task:
        """The task of a node that is wanted."""
        return self._tasks[node.name]

    def want(self, node: Node) -> Task:
        """The task of a node, with all it needs."""
        known = self._tasks.get(node.name)
        if known is not None:
            return known
        task = self._new(node)
        self._want_all([task])
        return task

    def more(self, task: Task, nodes: Iterable[Node]) -> None:
        """Let a task wait for more nodes."""
        if task.state is not State.WAITING:
            task.move(State.WAITING)
        stack: list[Task] = []
        self._link(task, nodes, stack)
        self._want_all(stack)

    def complete(self, task: Task) -> None:
        """Let a task wait for what its dyndep file adds."""
        self.more(task, self._needs(task.node))

    def asked(self, task: Task, need: Need) -> None:
        """Let a task wait for what its script asks for."""
        found = [*need.nodes]
        for path in need.paths:
            found += self._makers(path)
        self.more(task, found)

    def end(self, task: Task, state: State) -> None:
        """A task is at an end: those that waited for it alone are ready."""
        task.move(state)
        for waiter in task.waiters:
            waiter.pending -= 1
            if not waiter.pending and waiter.state is State.WAITING:
                waiter.move(State.READY)
                self.ready.append(waiter)

    def in_order(self) -> deque[Task]:
        """`ready`, with those that are ready now in the order of their front end."""
        now = sorted(self.ready, key=lambda task: task.node.order)
        self.ready.clear()
        self.ready.extend(now)
        return self.ready

    def stands_for(self, path: str) -> tuple[str, ...]:
        """The files that count where a path is named: a phony name stands for what it names."""
        producer = self._run.graph.producer(path)
        task = None if producer is None else self._tasks.get(producer.name)
        if task is None or task.node.work is not None:
            return (path,)
        # A phony name may be a file as well: CMake lists its own inputs so, that a missing one be no error.
        seen = self._run.files.input(path)
        return (path, *task.stands_for) if seen is not None and seen.kind == "file" else task.stands_for

    def let_go(self) -> bool:
        """Free those that wait for ever only for what an earlier run had found; False for nobody.

        What was a source then may be made from this very node today.
        """
        freed = False
        for task in [task for task in self if task.state is State.WAITING]:
            for other in [each for each in task.hinted if not each.is_ended]:
                other.waiters.remove(task)
                task.needs.remove(other)
                task.hinted.remove(other)
                task.pending -= 1
                freed = True
            if not task.pending:
                task.move(State.READY)
                self.ready.append(task)
        return freed

    def cycle(self) -> GraphError | None:
        """The error that tasks which wait for ever are; None where none do."""
        waiting = [task for task in self if not task.is_ended]
        if not waiting:
            return None
        found = find_cycle(waiting, lambda task: [need for need in task.needs if not need.is_ended])
        return GraphError(f"dependency cycle: {' -> '.join(task.node.name for task in found or waiting)}")

    def tell(self) -> None:
        """Say how many nodes with work are wanted, if that is news."""
        if self._count != self._count_told:
            self._count_told = self._count
            self._run.emit(events.Planned(self._run.clock(), self._count))

    def rank(self) -> None:
        """Set priorities by critical path, from how long each node took the last time."""
        costs: dict[str, float] = {}
        for task in self:
            if task.node.work is not None:
                made = self._run.tree.last(task.node.name)
                costs[task.node.name] = made.took_ns or _USUAL_NS if made else _USUAL_NS
        # From the ends backwards: who has no waiter is an end.
        left = {task.node.name: len(task.waiters) for task in self}
        ends = [task for task in self if not task.waiters]
        while ends:
            task = ends.pop()
            task.priority += costs.get(task.node.name, 0.0)
            for need in task.needs:
                need.priority = max(need.priority, task.priority)
                left[need.node.name] -= 1
                if not left[need.node.name]:
                    ends.append(need)

    def _new(self, node: Node) -> Task:
        task = self._tasks[node.name] = Task(node)
        self._count += node.work is not None
        return task

    def _want_all(self, stack: list[Task]) -> None:
        """Link tasks and, in turn, those that they need."""
        while stack:
            task = stack.pop()
            needs = self._needs(task.node)
            hinted = [node for node in self._found_makers(task.node) if node not in needs]
            self._link(task, (*needs, *hinted), stack)
            task.hinted = [self._tasks[node.name] for node in hinted]
            for path in task.node.checks:
                check = self._run.graph.producer(path)
                if check is not None and check.name not in self._tasks:
                    stack.append(self._new(check))

    def _link(self, task: Task, needs: Iterable[Node], stack: list[Task]) -> None:
        """Let a task wait for nodes; those that nobody wanted yet are put on the stack."""
        known = set(map(id, task.needs))
        for need in needs:
            other = self._tasks.get(need.name)
            if other is None:
                other = self._new(need)
                stack.append(other)
            if id(other) not in known:
                known.add(id(other))
                task.wait_for(other)
        if not task.pending and task.state is State.WAITING:
            task.move(State.READY)
            self.ready.append(task)

    def _needs(self, node: Node) -> dict[Node, None]:
        found: dict[Node, None] = {}
        for path in (*node.ins, *node.after, *((node.dyndep,) if node.dyndep else ())):
            found.update(dict.fromkeys(self._makers(path)))
        if isinstance(node.work, Call):
            found.update(dict.fromkeys((*node.work.wants, *node.work.wants_logs)))
        return found

    def _found_makers(self, node: Node) -> Iterator[Node]:
        """Who makes what a node was found to read the last time, as ninja orders by its deps log."""
        if self._finds_sources:
            return
        made = self._run.tree.last(node.name) if isinstance(node.work, Command) else None
        for dep in made.found if made is not None else ():
            if dep.kind == "file":
                maker = self._maker_of(dep.name)
                if maker is not None and maker.name != node.name:
                    yield maker

    def _maker_of(self, name: str) -> Node | None:
        """Who makes the file of a portable name: many nodes read the same few headers."""
        try:
            return self._found[name]
        except KeyError:
            path = self._run.files.path(name)
            maker = None if path is None else self._run.graph.producer(path)
            if maker is not None and maker.work is None:
                maker = None  # a name that CMake gives to a source
            self._found[name] = maker
            return maker

    def _makers(self, path: str) -> Iterator[Node]:
        if path[-1:] == "/":
            yield from self._run.graph.producers(path)
        producer = self._run.graph.producer(path)
        if producer is not None:
            yield producer
