"""What a run would do, as data: every wanted node, where it stands, and what it needs.

A plan comes from a dry run, so that it knows dynamic dependencies as well as static ones. It changes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from vcache import recipes
from vcache.dag import events
from vcache.dag.completion import owner_of
from vcache.dag.graph import critical_path, reach
from vcache.dag.state import State
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from vcache.action import Actions
    from vcache.cache import Cache
    from vcache.dag.files import Files
    from vcache.dag.node import Command, Node
    from vcache.dag.run import Memory
    from vcache.dag.runner import Runner
    from vcache.dag.task import Task
    from vcache.recipes import Why

__all__ = ["Plan", "Planned", "Reasons", "Standing"]


Standing: TypeAlias = Literal["up to date", "in the cache", "has to run", "a name", "not known"]
"""Where a node stands."""


class Reasons:
    """A listener that keeps what a dry run said of each node."""

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self.reason: dict[str, str] = {}
        self.result: dict[str, str] = {}

    def on_event(self, event: events.Event) -> None:
        """Take note of where a node stands."""
        if isinstance(event, events.UpToDate):
            self.standing[event.node.name] = "up to date"
        elif isinstance(event, events.Hit):
            self.standing[event.node.name] = "in the cache"
            self.result[event.node.name] = event.result
        elif isinstance(event, events.Missed):
            self.reason[event.node.name] = event.reason
        elif isinstance(event, events.Started):
            self.standing[event.node.name] = "has to run"
        elif isinstance(event, events.Skipped):
            self.standing[event.node.name] = "not known"
            self.reason[event.node.name] = event.because


@dataclass(frozen=True, slots=True)
class Planned:
    """One node of a plan.

    Attributes:
        outs: what it makes, and what it was found to make.
        needs: names of the nodes it needs.
        sources: files it reads that nobody makes.
        standing: where it stands.
        reason: why it has to run; "" where it has not.
        cost_ns: how long it took the last time, whoever ran it; 0 when unknown.
        command: what it runs, where that is known.
    """

    node: Node
    outs: tuple[str, ...]
    needs: tuple[str, ...]
    sources: tuple[str, ...]
    standing: Standing
    reason: str
    cost_ns: int
    command: Command | None

    @property
    def name(self) -> str:
        return self.node.name


class Plan:
    """The nodes that goals want, by name.

    Attributes:
        goals: names of the nodes that were asked for.
        nodes: all that are wanted for them, by name.
    """

    def __init__(
        self,
        runner: Runner,
        goals: Sequence[Node],
        said: Reasons,
        *,
        keeper: Cache,
        actions: Actions,
        tree: Memory,
        files: Files,
    ) -> None:
        self._keeper, self._actions, self._tree, self._files = keeper, actions, tree, files
        self._tasks = {task.node.name: task for task in runner.tasks}
        self.goals = tuple(node.name for node in goals)
        self.nodes = {name: self._planned(task, said) for name, task in self._tasks.items()}

    def _planned(self, task: Task, said: Reasons) -> Planned:
        node = task.node
        made = self._tree.last(node.name)
        result = said.result.get(node.name, "") or (made.result if made else "")
        outs = {out for need in task.needs for out in need.outs}
        paths = dict.fromkeys((*node.ins, *task.extra_ins))
        return Planned(
            node=node,
            outs=task.outs,
            needs=tuple(need.node.name for need in task.needs),
            sources=tuple(path for path in paths if path not in outs),
            standing=self._standing(task, said),
            reason=said.reason.get(node.name, ""),
            cost_ns=self._cost_ns(result) or (made.took_ns if made else 0),
            command=task.command,
        )

    def _standing(self, task: Task, said: Reasons) -> Standing:
        if task.node.work is None:
            return "a name"
        return said.standing.get(task.node.name, "up to date" if task.state is State.MADE else "not known")

    def _cost_ns(self, result: str) -> int:
        entry = self._keeper.entry_of(self._keeper.key(result)) if result else None
        return 0 if entry is None else entry.cost_ns

    def find(self, word: str) -> list[Planned]:
        """The nodes of a name, or that make a path."""
        return [planned for planned in self.nodes.values() if word == planned.name or word in planned.outs]

    def below(self, names: Sequence[str]) -> list[Planned]:
        """Some nodes and all that they need, in the plan's order."""
        wanted = reach(names, lambda name: self.nodes[name].needs)
        return [planned for name, planned in self.nodes.items() if name in wanted]

    def critical(self, names: Sequence[str]) -> list[str]:
        """The dearest chain of nodes behind some nodes, the first to run first."""
        path = critical_path(
            names, lambda name: self.nodes[name].needs, lambda name: self.nodes[name].cost_ns
        )
        return path[::-1]

    def why(self, name: str) -> Why | None:
        """What is different from the nearest earlier result of a node; None for what has no such."""
        task = self._tasks[name]
        if task.lookup is None:
            return None
        return self._actions.explain(owner_of(task.node, self._files), task.lookup)

    def last_why(self, name: str) -> tuple[str, Why] | None:
        """How the result that is here differs from the nearest one before it: why it was made."""
        made = self._tree.last(name)
        if made is None or not made.result:
            return None
        manifest = recipes.load(self._keeper, made.result)
        entry = self._keeper.entry_of(self._keeper.key(made.result))
        if manifest is None:
            return None
        older = recipes.earlier(
            self._keeper,
            recipes.owner_of(made.result),
            before_ns=None if entry is None else entry.created_ns,
        )
        nearest = recipes.compare(
            (recipe for recipe in older if recipe.name != made.result), lambda _: manifest
        )
        if nearest is None:
            return made.result, recipes.Why(made.result, is_hit=False)
        return made.result, recipes.Why(
            made.result, is_hit=False, nearest=nearest[0].name, changes=nearest[1]
        )
