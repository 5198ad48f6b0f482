"""Log queries: functions over what nodes wrote, kept by the digests of it.

It knows nodes and captured output; where that comes from is the runner's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from vcache.dag.capture import Chunk, Records
from vcache.dag.front.calls import Maker
from vcache.dag.front.driving import Stage, turns
from vcache.dag.front.scene import Frame
from vcache.dag.front.targets import Promise, handle_of
from vcache.dag.front.trouble import place_of
from vcache.dag.front.values import answered
from vcache.dag.node import Call, Need, Node
from vcache.dag.where import Condition, condition
from vcache.errors import GraphError, NodeFailed

if TYPE_CHECKING:
    from vcache.dag.capture import Record
    from vcache.dag.front.graph import PyGraph
    from vcache.step import Step

__all__ = ["LogFunction"]

R = TypeVar("R")


class LogFunction(Generic[R]):
    """A query over captured output. To a type checker a call of it gives the value that it will have.

    Attributes:
        of: the steps and targets whose output it sees.
        where: which records it is given; None for all.
    """

    is_goal = False

    def __init__(
        self, graph: PyGraph, function: Callable[[Sequence[Record]], R], *, of: Iterable[object], where: str,
        tags: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self.graph, self.function = graph, function
        self.name = self.__name__ = getattr(function, "__name__", "")
        self.__doc__, self.__module__ = function.__doc__, function.__module__
        self.__wrapped__ = function
        self.place = place_of(function, graph.base)
        if isinstance(of, str) or not isinstance(of, Iterable):
            raise GraphError(f"{self.place}: of={of!r:.80}: give a list of steps and targets")
        self.of = tuple(of)
        if not self.of:
            raise GraphError(f"{self.place}: of=[]: whose output is {self.name} to see?")
        for each in self.of:
            if not isinstance(each, Maker) and handle_of(each) is None:
                raise GraphError(f"{self.place}: of={each!r:.80}: give steps, or what calls of steps gave")
        try:
            self.where: Condition | None = condition(where) if where else None
        except GraphError as error:
            raise GraphError(f"{self.place}: where: {error}") from None
        self._text = where
        self._step: Step[..., R] | None = None
        self.node = Node(name=self.name, work=Call(self._gather), rule=self.name, place=self.place)
        graph.add_function(self)
        self.made: list[tuple[Mapping[str, str], Node]] = [({}, self.node)]
        graph.add(self.node, tags=tuple(tags))

    def __call__(self) -> R:
        """The handle of what the query gives."""
        return cast("R", Promise(self.node))

    def __vcache_bare__(self) -> Promise:
        return Promise(self.node)

    def bare(self) -> Node | None:
        """The query's node."""
        return self.node

    def spelled(self, arguments: Mapping[str, str]) -> Node:
        """The query's node.

        Raises:
            GraphError: it takes no arguments.
        """
        if arguments:
            raise GraphError(f"{self.name} ({self.place}) takes no arguments: write {self.name}")
        return self.node

    def again(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Node:
        """The query's node."""
        return self.node

    def __repr__(self) -> str:
        return f"<LogFunction {self.name}>"

    @turns
    def _gather(self) -> Generator[Need, tuple[object, ...], tuple[object, bool]]:
        """Wait for all whose output counts; bodies that run meanwhile may add to them."""
        done: dict[Node, None] = {}
        while missing := [node for node in self._nodes() if node not in done]:
            yield Need(tuple(missing))
            done.update(dict.fromkeys(missing))
        nodes = tuple(sorted(done, key=lambda node: node.name))
        query = Node(
            name=f"{self.name}: query",
            work=Call(self._query, wants_logs=nodes),
            rule=self.name,
            place=self.place,
        )
        (value,) = yield Need((query,))
        # What was made was the query; this node only says over what.
        return value, True

    def _nodes(self) -> list[Node]:
        found: dict[Node, None] = {}
        for each in self.of:
            if isinstance(each, Maker):
                bare = each.bare()
                if bare is not None:
                    found[bare] = None
                found.update((node, None) for _, node in each.made)
            else:
                handle = handle_of(each)
                assert handle is not None
                found[handle.node] = None
        return list(found)

    def _query(self, logs: Sequence[tuple[Node, Sequence[Chunk]]]) -> tuple[object, bool]:
        """In a worker thread: the function over the records."""
        records = Records([(node.name, chunks) for node, chunks in logs], where=self.where, text=self._text)
        stage = Stage(self.graph, Frame(self.node))
        keeper = self.graph.keeper
        try:
            if keeper is None:
                return stage.run(self.function, records), False
            if self._step is None:
                from vcache.step import Step, StepOptions

                self._step = Step(keeper, self.function, StepOptions.of({"inputs": "traced"}))
            return stage.run(answered, self._step, (records,), {})
        except GraphError as error:
            raise NodeFailed(f"{self.name}: {error}") from error.__cause__
