"""Values: functions whose result is a Python value, kept by the step machinery of the cache.

Who depends on a value depends on what it is, not on what it was made of: early cut-off.
It knows calls, nodes and steps of a cache; it makes no command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypedDict, TypeVar, cast

from vcache.dag.front.asking import Asking
from vcache.dag.front.calls import Asked, Maker, as_bytes
from vcache.dag.front.driving import Stage, turns
from vcache.dag.front.scene import Frame
from vcache.dag.front.targets import Handle, Promise, replaced
from vcache.dag.node import Call, Need, Node
from vcache.errors import GraphError, NodeFailed, UsageError
from vcache.kit.data import dataclass
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from vcache.dag.front.graph import PyGraph
    from vcache.fingerprint.inputs import Spec
    from vcache.making import Duration
    from vcache.step import Step

__all__ = ["ValueFunction", "ValueOptions", "ValueWords", "answered"]

P = ParamSpec("P")
R = TypeVar("R")

_log = logger("vcache.dag")

Result = tuple[object, bool]


class ValueWords(TypedDict, total=False):
    """The keywords of `build.value`: see `ValueOptions`."""

    inputs: Iterable[Spec | str | os.PathLike[str]] | Literal["traced"]
    outs: Iterable[str | os.PathLike[str]]
    after: Iterable[object]
    version: str | int
    ttl: Duration | None
    pool: str
    slots: int
    memory: float | str | None
    description: str
    tags: Iterable[str]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueOptions:
    """What can be said of a value.

    Attributes:
        inputs: "traced": the files it opens are seen and count; or what it reads besides its arguments.
        outs: files that it makes besides its value; `{parameter}` stands for an argument.
        after: what must be made before it.
        version: part of its key: change it to forget what was remembered.
        ttl: how long it may be used.
        pool, slots, memory, description, tags, name: as of a step.
    """

    inputs: Iterable[Spec | str | os.PathLike[str]] | Literal["traced"] = "traced"
    outs: Iterable[str | os.PathLike[str]] = ()
    after: Iterable[object] = ()
    version: str | int = ""
    ttl: Duration | None = None
    pool: str = ""
    slots: int = 1
    memory: float | str | None = None
    description: str = ""
    tags: Iterable[str] = ()
    name: str = ""


def answered(step: Step[..., R], args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[R, bool]:
    """What a step gives, and whether it was remembered."""
    from vcache.outcome import Hit
    from vcache.step import aside

    keeper = step._keeper  # of one package: what a `Step` stands on
    if keeper.is_disabled:
        return step(*args, **kwargs), False
    with aside() as outer:
        found = step.find(step.identify(args, kwargs), outer=outer)
    if isinstance(found, Hit) and not found.is_expired:
        keeper.count(found)
        return cast("R", found.use()), True
    return step(*args, **kwargs), False


class ValueFunction(Maker, Generic[P, R]):
    """A function of values. To a type checker a call of it gives the value that it will have."""

    is_goal = False

    def __init__(self, graph: PyGraph, function: Callable[P, object], options: ValueOptions) -> None:
        self.outs = tuple(os.fspath(out) for out in options.outs)
        self.options = options
        super().__init__(graph, function, (*self.outs, options.description))
        self.name = options.name or self.name
        if self.is_async and self.outs:
            raise GraphError(f"{self.place}: {self.name}: a value with outs= is no `async def`")
        self._memory_bytes = as_bytes(options.memory, self.place, "memory")
        self._step: Step[..., object] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The handle of the value that this call will have."""
        return cast("R", self.ask(args, kwargs))

    def make(self, asked: Asked) -> tuple[Node, Handle]:
        """The node of a call."""
        graph, inputs = self.graph, asked.inputs
        if not isinstance(self.options.inputs, str):
            inputs.take(tuple(self.options.inputs), is_path=True)
        outs = tuple(graph.out(self.fill(template, asked.bound), self.place) for template in self.outs)
        after = type(inputs)()
        after.take(tuple(self.options.after), is_path=True)
        wants = tuple({**inputs.nodes, **after.nodes})
        run = self._later if self.is_async else self._run
        node = Node(
            name=outs[0] if outs else self.unique_name(asked.shown),
            outs=outs,
            ins=tuple(path for path in inputs.paths if path not in outs),
            after=tuple(path for path in after.paths if path not in inputs.paths),
            work=Call(lambda *results: run(node, asked, dict(zip(wants, results, strict=True))), wants),
            pool=self.options.pool,
            slots=self.options.slots,
            memory_bytes=self._memory_bytes,
            rule=self.name,
            text=self.fill(self.options.description, asked.bound),
            place=self.place,
        )
        graph.add(node, tags=tuple(self.options.tags))
        self.made.append((asked.shown, node))
        return node, Promise(node)

    def _run(self, node: Node, asked: Asked, results: Mapping[Node, object]) -> Result:
        """In a worker thread: the value, remembered or made now."""
        args, kwargs = _plain(asked, results)
        stage = Stage(self.graph, Frame(node))
        try:
            if self.graph.keeper is None:
                return stage.run(self.function, *args, **kwargs), False
            return stage.run(answered, self._remembered(), args, kwargs)
        except GraphError as error:
            raise NodeFailed(f"{node.name}: {error}") from error.__cause__

    @turns
    def _later(
        self, node: Node, asked: Asked, results: Mapping[Node, object]
    ) -> Generator[Need, tuple[object, ...], Result]:
        """A function that asks for more while it runs."""
        args, kwargs = _plain(asked, results)
        keeper = self.graph.keeper
        if keeper is None or keeper.is_disabled:
            return (yield from self._driven(Stage(self.graph, Frame(node)), args, kwargs, None)), False
        step = self._remembered()
        asking = Asking(self.graph, keeper, owner=step.name, base=step.identify(args, kwargs).base)
        found = yield from asking.find()
        if found is not None:
            keeper.count(found)
            return found.use(), True
        started = time.perf_counter_ns()
        stage = Stage(self.graph, Frame(node))
        with stage.recording() as recording:
            value = yield from self._driven(
                stage, args, kwargs, lambda need, answers: asking.note(need, answers, recording)
            )
        remark = asking.keep(value, recording, cost_ns=time.perf_counter_ns() - started)
        if remark:
            _log.warning("%s: %s: not kept", node.name, remark)
        return value, False

    def _driven(
        self,
        stage: Stage,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        note: Callable[[Need, tuple[object, ...]], None] | None,
    ) -> Generator[Need, tuple[object, ...], object]:
        """The function's value, turn by turn."""
        turns_left = stage.drive(
            cast("Coroutine[Any, Any, object]", stage.run(self.function, *args, **kwargs))
        )
        answer: tuple[object, ...] | None = None
        while True:
            try:
                request = turns_left.send(answer)  # type: ignore[arg-type]  # it begins with None
            except StopIteration as end:
                stage.refuse_unawaited()
                return end.value
            answer = yield request
            if note is not None:
                note(request, answer)

    def _remembered(self) -> Step[..., object]:
        step = self._step
        if step is None:
            from vcache.step import Step, StepOptions  # imported with the first value that is wanted

            options = self.options
            assert self.graph.keeper is not None
            try:
                chosen = StepOptions.of(
                    {
                        "inputs": options.inputs, "outs": self.outs, "version": options.version,
                        "ttl": options.ttl, "tags": options.tags,
                    }
                )  # fmt: skip
            except UsageError as error:
                raise GraphError(f"{self.place}: {error}") from None
            step = self._step = Step(self.graph.keeper, self.function, chosen)
        return step


def _plain(asked: Asked, results: Mapping[Node, object]) -> tuple[tuple[object, ...], dict[str, object]]:
    """Arguments with values for promises, and files for targets: what they hold is what counts."""
    args = cast("tuple[object, ...]", replaced(asked.args, results, plain=True))
    return args, cast("dict[str, object]", replaced(dict(asked.kwargs), results, plain=True))
