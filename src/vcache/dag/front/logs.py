"""Log queries: functions over what nodes wrote, kept by the digests of it, and reports that are files.

It knows nodes and captured output; where that comes from is the runner's affair.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from vcache.dag.capture import Chunk, Records
from vcache.dag.front.calls import Maker
from vcache.dag.front.driving import Stage, turns
from vcache.dag.front.scene import Frame
from vcache.dag.front.targets import Promise, Target, handle_of
from vcache.dag.front.trouble import place_of
from vcache.dag.front.values import answered
from vcache.dag.node import Call, Need, Node
from vcache.dag.reports import Answer, Question, Rows, format_of, rendered
from vcache.dag.where import Condition, condition
from vcache.errors import GraphError, NodeFailed
from vcache.hash import digest

if TYPE_CHECKING:
    from vcache.dag.front.graph import PyGraph
    from vcache.step import Step

__all__ = ["LogFunction", "LogReport"]

R = TypeVar("R")


class _OverLogs:
    """A node over what others wrote. It runs again only when some of that has changed.

    Attributes:
        of: the steps and targets whose output it sees.
    """

    is_goal = False

    def __init__(
        self, graph: PyGraph, name: str, place: str, of: Iterable[object], outs: tuple[str, ...] = ()
    ) -> None:
        self.graph, self.name, self.place = graph, name, place
        if isinstance(of, str) or not isinstance(of, Iterable):
            raise GraphError(f"{place}: of={of!r:.80}: give a list of steps and targets")
        self.of = tuple(of)
        if not self.of:
            raise GraphError(f"{place}: of=[]: whose output is {name} to see?")
        for each in self.of:
            if not isinstance(each, Maker) and handle_of(each) is None:
                raise GraphError(f"{place}: of={each!r:.80}: give steps, or what calls of steps gave")
        self.node = Node(name=name, outs=outs, work=Call(self._gather), rule=name, place=place)
        self._steps: dict[str, Step[..., object]] = {}

    def value(self, logs: Sequence[tuple[str, Sequence[Chunk]]]) -> tuple[object, bool]:
        """In a worker thread: what it makes of logs, and whether that was remembered."""
        raise AssertionError("every kind has its own")

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
        try:
            return self.value([(node.name, chunks) for node, chunks in logs])
        except GraphError as error:
            raise NodeFailed(f"{self.name}: {error}") from error.__cause__

    def answered(
        self, function: Callable[..., R], *args: object, outs: tuple[str, ...] = (), is_pure: bool = False
    ) -> tuple[R, bool]:
        """What a function gives, remembered where there is a cache."""
        stage = Stage(self.graph, Frame(self.node))
        keeper = self.graph.keeper
        if keeper is None:
            return stage.run(function, *args), False
        key = getattr(function, "__qualname__", "")
        step = self._steps.get(key)
        if step is None:
            from vcache.step import Step, StepOptions

            options = StepOptions.of({"outs": outs} if is_pure else {"outs": outs, "inputs": "traced"})
            step = self._steps[key] = Step(keeper, function, options)
        return stage.run(answered, cast("Step[..., R]", step), args, {})

    def rows(self, question: Question, logs: Sequence[tuple[str, Sequence[Chunk]]]) -> Rows:
        """The answer to a question over logs: whoever uses it is not made again for one that is the same."""
        (columns, rows), _ = self.answered(_asked, question.text, Records(logs), is_pure=True)
        return Rows(tuple(columns), map(tuple, rows))

    def question(self, text: str) -> Question:
        """A question, as the build file has it.

        Raises:
            GraphError: it is none.
        """
        try:
            return Question(text)
        except GraphError as error:
            raise GraphError(f"{self.place}: query: {error}") from None


class LogFunction(_OverLogs, Generic[R]):
    """A function over captured output. To a type checker a call of it gives the value that it will have.

    Attributes:
        where: which records it is given; None for all.
        asks: what its rows answer; None for a function of records.
    """

    def __init__(
        self, graph: PyGraph, function: Callable[..., R], *, of: Iterable[object], where: str = "",
        query: str = "", tags: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self.function = function
        self.__name__ = getattr(function, "__name__", "")
        self.__doc__, self.__module__ = function.__doc__, function.__module__
        self.__wrapped__ = function
        super().__init__(graph, self.__name__, place_of(function, graph.base), of)
        if where and query:
            raise GraphError(f"{self.place}: where= and query=: write the condition in front of the query")
        try:
            self.where: Condition | None = condition(where) if where else None
        except GraphError as error:
            raise GraphError(f"{self.place}: where: {error}") from None
        self.asks = self.question(query) if query else None
        self._text = where
        graph.add_function(self)
        self.made: list[tuple[Mapping[str, str], Node]] = [({}, self.node)]
        graph.add(self.node, tags=tuple(tags))

    def __call__(self) -> R:
        """The handle of what the function gives."""
        return cast("R", Promise(self.node))

    def __vcache_bare__(self) -> Promise:
        return Promise(self.node)

    def bare(self) -> Node | None:
        """Its node."""
        return self.node

    def spelled(self, arguments: Mapping[str, str]) -> Node:
        """Its node.

        Raises:
            GraphError: it takes no arguments.
        """
        if arguments:
            raise GraphError(f"{self.name} ({self.place}) takes no arguments: write {self.name}")
        return self.node

    def again(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Node:
        """Its node."""
        return self.node

    def value(self, logs: Sequence[tuple[str, Sequence[Chunk]]]) -> tuple[object, bool]:
        """The function over the records, or over the answer to its question."""
        if self.asks is not None:
            return self.answered(self.function, self.rows(self.asks, logs))
        return self.answered(self.function, Records(logs, where=self.where, text=self._text))

    def __repr__(self) -> str:
        return f"<LogFunction {self.name}>"


class LogReport(_OverLogs):
    """The answer to a question over captured output, as a file."""

    def __init__(
        self, graph: PyGraph, path: str, place: str, *, of: Iterable[object], query: str, form: str,
        tags: Iterable[str] = (),
    ) -> None:  # fmt: skip
        out = graph.out(path, place)
        super().__init__(graph, out, place, of, (out,))
        self._asks = self.question(query)
        try:
            self._form = format_of(path, form)
        except GraphError as error:
            raise GraphError(f"{place}: {error}") from None
        graph.add(self.node, tags=tuple(tags))

    @property
    def target(self) -> Target:
        """The file, for who reads it."""
        return Target(self.node)

    def value(self, logs: Sequence[tuple[str, Sequence[Chunk]]]) -> tuple[object, bool]:
        """The file's digest, which stands for what it holds."""
        (out,) = self.node.outs
        rows = self.rows(self._asks, logs)
        outs = (out.replace("{", "{{").replace("}", "}}"),)
        return self.answered(_written, rows, out, self._form, outs=outs, is_pure=True)


def _asked(text: str, records: Records) -> Answer:
    return Question(text).answer(records)


def _written(rows: Rows, path: str, form: str) -> str:
    """Write a report; the digest of its text."""
    text = rendered(rows, form).encode("utf-8", "surrogateescape")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(text)
    return digest(text).hex()
