"""Runs the bodies of a build file: in their own context, one turn at a time, errors explained.

It knows frames and graphs, and nothing of steps or caches.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from vcache.dag.front.scene import Frame, frame_var, graph_var
from vcache.dag.front.trouble import explained
from vcache.dag.node import Need
from vcache.errors import GraphError

if TYPE_CHECKING:
    from vcache.dag.front.graph import PyGraph
    from vcache.fingerprint.traced import Recording

__all__ = ["Stage", "turns"]

P = ParamSpec("P")
R = TypeVar("R")


class Stage:
    """Where one body runs.

    Args:
        frame: what `build.out` and `need` refer to.

    What the body reads is an input of the build file's evaluation.
    """

    __slots__ = ("_context", "_frame", "_graph")

    def __init__(self, graph: PyGraph, frame: Frame) -> None:
        self._graph, self._frame = graph, frame
        with nullcontext() if graph.seen is None else _resumed(graph.seen):
            self._context: Context = copy_context()
        self._context.run(self._enter)

    def _enter(self) -> None:
        graph_var.set(self._graph)
        frame_var.set(self._frame)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a function gives.

        Raises:
            GraphError: what it raised, explained.
        """
        try:
            return self._context.run(function, *args, **kwargs)
        except Exception as error:
            raise self._explained(error) from error

    def drive(self, coroutine: Coroutine[object, object, R]) -> Coroutine[Need, tuple[object, ...], R]:
        """A coroutine that awaits nothing but `need`, turn by turn in this context."""
        return _Driven(self._turns(coroutine))

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """Within, what the body reads is recorded, turn by turn."""
        from vcache.fingerprint.traced import record  # installs an audit hook on use

        recorder = record()
        seen = self._context.run(recorder.__enter__)
        try:
            yield seen
        finally:
            self._context.run(recorder.__exit__, None, None, None)

    def refuse_unawaited(self) -> None:
        """Refuse a `need` that nobody awaited.

        Raises:
            GraphError: with its place.
        """
        for place in self._frame.unawaited.values():
            raise GraphError(f"{place}: need(…) without await: write `await need(…)` in an `async def`")

    def _turns(self, inner: Coroutine[Any, Any, R]) -> Generator[Need, tuple[object, ...], R]:
        answer: tuple[object, ...] | None = None
        try:
            while True:
                try:
                    request = self._context.run(inner.send, answer)
                except StopIteration as end:
                    return cast("R", end.value)
                except Exception as error:
                    raise self._explained(error) from error
                if not isinstance(request, Need):
                    raise GraphError(
                        f"{self._frame.node.place}: {self._frame.node.rule} awaits {type(request).__qualname__}: "
                        "in a build file only need(…) and targets can be awaited"
                    )
                answer = yield request
        finally:
            inner.close()

    def _explained(self, error: Exception) -> GraphError:
        return explained(error, self._graph.base, what=f"while {self._frame.node.name} was worked out")


def _resumed(seen: Recording) -> AbstractContextManager[None]:
    from vcache.fingerprint.traced import resumed  # who set `seen` has it loaded

    return resumed(seen)


class _Driven(Coroutine[Need, "tuple[object, ...]", R]):
    """A generator with a coroutine's face: the runner sends into it as into any other."""

    __slots__ = ("_turns",)

    def __init__(self, turns: Generator[Need, tuple[object, ...], R]) -> None:
        self._turns = turns

    def send(self, value: tuple[object, ...], /) -> Need:
        return self._turns.send(value)

    def throw(self, *args: Any) -> Need:
        return self._turns.throw(*args)

    def close(self) -> None:
        self._turns.close()

    def __await__(self) -> Generator[Need, tuple[object, ...], R]:
        return self._turns


def turns(
    generator: Callable[P, Generator[Need, tuple[object, ...], R]],
) -> Callable[P, Coroutine[Need, tuple[object, ...], R]]:
    """A function that yields needs, as a coroutine function."""

    def start(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Need, tuple[object, ...], R]:
        return _Driven(generator(*args, **kwargs))

    return start
