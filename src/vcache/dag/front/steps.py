"""Steps: functions that say which command makes which files.

It knows calls, commands and nodes; it runs no command and asks no cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypedDict, cast

from vcache.dag.front.calls import Asked, Maker, as_bytes, as_seconds
from vcache.dag.front.driving import Stage, turns
from vcache.dag.front.scene import Frame
from vcache.dag.front.targets import Handle, Inputs, Target, replaced
from vcache.dag.front.words import Cmd, environment, joined
from vcache.dag.node import Command, Need, Node, Retry, Script
from vcache.errors import GraphError
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from vcache.dag.front.graph import PyGraph

__all__ = ["Body", "StepFunction", "StepOptions", "StepWords", "checked"]

P = ParamSpec("P")

Body: TypeAlias = Cmd | Sequence[Cmd] | Coroutine[Any, Any, Cmd | Sequence[Cmd] | None] | None
"""What the function of a step gives, or awaits and then gives."""


class StepWords(TypedDict, total=False):
    """The keywords of `build.step`: see `StepOptions`."""

    outs: Iterable[str | os.PathLike[str]]
    ins: Iterable[object]
    after: Iterable[object]
    depfile: str | None
    pool: str
    slots: int
    memory: float | str | None
    timeout: float | str | None
    retries: int
    backoff: float | str
    backoff_most: float | str
    retry_on: Iterable[int]
    env: Mapping[str, object] | None
    heeds: Iterable[str]
    tools: Iterable[object]
    cwd: str | os.PathLike[str]
    trace: bool
    keep: bool
    description: str
    tags: Iterable[str]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What can be said of a step. `{parameter}` stands for an argument in outs, ins, depfile, cwd, description.

    Attributes:
        outs: files it makes; one that ends with "/" is a directory, with all that is below it.
        ins: files, patterns, directories and targets that it reads besides its arguments.
        after: what must be made before it and counts only if its depfile or trace names it, such as
            generated headers.
        depfile: a Makefile rule that its command writes, naming what it read.
        pool: the pool it takes slots of: "cpu" and "console" are there.
        slots: how many slots it takes.
        memory: how much memory it is expected to take.
        timeout: after which it is killed.
        retries: how often it is tried again after a failure.
        backoff, backoff_most: the wait before the first further try, which doubles, and the longest.
        retry_on: exit statuses worth another try; all failures by default. 124 is a timeout.
        env: variables set for it.
        heeds: names of variables of the caller that count; their values are never kept.
        tools: programs that it runs besides the first word of its commands.
        cwd: where it runs, below the build file's directory.
        trace: what its command opens is observed, and counts.
        keep: its result is kept and looked up.
        description: what is said when it runs.
        tags: words to ask for it by: `vcache build tag:slow`.
        name: how it is called on the command line; the function's name by default.
    """

    outs: Iterable[str | os.PathLike[str]] = ()
    ins: Iterable[object] = ()
    after: Iterable[object] = ()
    depfile: str | None = None
    pool: str = ""
    slots: int = 1
    memory: float | str | None = None
    timeout: float | str | None = None
    retries: int = 0
    backoff: float | str = 1.0
    backoff_most: float | str = 60.0
    retry_on: Iterable[int] = ()
    env: Mapping[str, object] | None = None
    heeds: Iterable[str] = ()
    tools: Iterable[object] = ()
    cwd: str | os.PathLike[str] = ""
    trace: bool = False
    keep: bool = True
    description: str = ""
    tags: Iterable[str] = ()
    name: str = ""


def checked(options: Mapping[str, object], cls: type, place: str, what: str) -> None:
    """Refuse names of options that are none, and text where a list of texts is meant.

    Raises:
        GraphError: with the nearest names.
    """
    known = [option.name for option in fields(cls)]
    for name, value in options.items():
        if name not in known:
            from vcache.kit.names import did_you_mean

            raise GraphError(f"{place}: {what} has no option {name!r}{did_you_mean(name, known)}")
        if name in ("outs", "heeds", "tags", "ins", "needs", "after", "tools") and isinstance(value, str):
            raise GraphError(f"{place}: {name}={value!r}: give a list such as [{value!r}]")


class StepFunction(Maker, Generic[P]):
    """A step: each call with other arguments is a node of its own."""

    def __init__(self, graph: PyGraph, function: Callable[P, Body], options: StepOptions) -> None:
        self.outs = tuple(os.fspath(out) for out in options.outs)
        self.options = options
        texts = [*self.outs, options.depfile or "", os.fspath(options.cwd), options.description]
        texts += [each for each in options.ins if isinstance(each, str)]
        super().__init__(graph, cast("Callable[..., object]", function), tuple(texts))
        self.name = options.name or self.name
        place = self.place
        if options.slots < 1:
            raise GraphError(f"{place}: slots={options.slots}: a step takes one slot at least")
        if options.retries < 0:
            raise GraphError(f"{place}: retries={options.retries}: give 0 or more")
        self._memory_bytes = as_bytes(options.memory, place, "memory")
        # What every command of it has in common.
        self._command = Command(
            env=environment(options.env, place) or {},
            heeds=tuple(options.heeds),
            tools=tuple(str(each) for each in options.tools),
            deps="gcc" if options.depfile else "",
            timeout_s=as_seconds(options.timeout, place, "timeout"),
            retry=Retry(
                times=options.retries,
                base_s=as_seconds(options.backoff, place, "backoff") or 0.0,
                most_s=as_seconds(options.backoff_most, place, "backoff_most") or 0.0,
                statuses=frozenset(options.retry_on),
            ),
            is_traced=options.trace,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Target:
        """The handle of what this call makes."""
        return cast("Target", self.ask(args, kwargs))

    def make(self, asked: Asked) -> tuple[Node, Handle]:
        """The node of a call, with its script."""
        graph, options = self.graph, self.options
        outs = tuple(graph.out(self.fill(template, asked.bound), self.place) for template in self.outs)
        inputs = asked.inputs
        self._take(options.ins, inputs, asked)
        after = Inputs()
        self._take(options.after, after, asked)
        for path in outs:
            inputs.paths.pop(path, None)
        # Only what has no path is asked for before the body starts.
        first = tuple({**inputs.nodes, **after.nodes})
        node = Node(
            name=outs[0] if outs else self.unique_name(asked.shown),
            outs=outs,
            ins=tuple(inputs.paths),
            after=tuple(path for path in after.paths if path not in inputs.paths),
            work=Script(lambda: self._start(node, asked, first)),
            pool=options.pool,
            slots=options.slots,
            memory_bytes=self._memory_bytes,
            rule=self.name,
            text=self.fill(options.description, asked.bound),
            is_kept=options.keep,
            place=self.place,
        )
        graph.add(node, tags=tuple(options.tags))
        self.made.append((asked.shown, node))
        return node, Target(node)

    def _take(self, values: Iterable[object], inputs: Inputs, asked: Asked) -> None:
        for value in values:
            try:
                inputs.take(self.fill(value, asked.bound) if isinstance(value, str) else value, is_path=True)
            except GraphError as error:
                raise GraphError(_at(self.place, error)) from None

    def _start(
        self, node: Node, asked: Asked, first: tuple[Node, ...]
    ) -> Command | Coroutine[Need, tuple[object, ...], Command | None] | None:
        """What the runner calls once the inputs are made."""
        command = self._command
        options = self.options
        if options.depfile or options.cwd:
            from dataclasses import replace

            depfile = (
                self.graph.out(self.fill(options.depfile, asked.bound), self.place) if options.depfile else ""
            )
            cwd = self.graph.path(self.fill(os.fspath(options.cwd), asked.bound) or ".").rstrip("/")
            command = replace(command, depfile=depfile, cwd="" if cwd == "." else cwd)
        frame = Frame(node, command.cwd, command.depfile)
        stage = Stage(self.graph, frame)
        if first or self.is_async:
            return self._later(node, asked, first, stage, frame, command)
        made, needs = self._finished(
            stage.run(self.function, *asked.args, **asked.kwargs), stage, frame, command
        )
        return self._with(made, needs) if needs is not None else made

    @turns
    def _later(
        self, node: Node, asked: Asked, first: tuple[Node, ...], stage: Stage, frame: Frame, command: Command
    ) -> Generator[Need, tuple[object, ...], Command | None]:
        args, kwargs = asked.args, asked.kwargs
        if first:
            results = dict(zip(first, (yield Need(first)), strict=True))
            args = cast("tuple[object, ...]", replaced(args, results))
            kwargs = cast("dict[str, object]", replaced(dict(kwargs), results))
        result = stage.run(self.function, *args, **kwargs)
        if isinstance(result, Coroutine):
            result = yield from stage.drive(result).__await__()
        made, needs = self._finished(result, stage, frame, command)
        if needs is not None:
            yield needs
        return made

    @turns
    def _with(self, made: Command | None, needs: Need) -> Generator[Need, tuple[object, ...], Command | None]:
        yield needs
        return made

    def _finished(
        self, result: object, stage: Stage, frame: Frame, command: Command
    ) -> tuple[Command | None, Need | None]:
        """The command, and what its words name that was not known before."""
        if isinstance(result, Coroutine):
            result.close()
            raise GraphError(
                f"{self.place}: {self.name} returned a coroutine: write `async def` and await it"
            )
        stage.refuse_unawaited()
        made, inputs = stage.run(joined, result, frame, self.graph, command)
        node = frame.node
        known = {*node.ins, *node.outs}
        paths = tuple(path for path in inputs.paths if path not in known)
        nodes = tuple(inputs.nodes)
        return made, Need(nodes, paths) if paths or nodes else None


def _at(place: str, error: GraphError) -> str:
    said = str(error)
    return said if said.startswith(place) else f"{place}: {said}"
