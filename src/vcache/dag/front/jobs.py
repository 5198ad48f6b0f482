"""Job nodes: jobs of a queue whose results are kept by what they were asked for.

It knows calls, nodes and steps of a cache; where a job is done is its graph's affair (`errands`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypedDict, cast

from vcache.dag.errands import Answer, Errand, NotInADryRun
from vcache.dag.front.calls import Asked, Maker, as_seconds
from vcache.dag.front.driving import Stage, turns
from vcache.dag.front.scene import Frame
from vcache.dag.front.targets import Handle, Inputs, Promise, Target, replaced
from vcache.dag.node import Call, Need, Node, Told
from vcache.dag.nodelogs import keep, recall
from vcache.entry import Dep, make_key
from vcache.errors import GraphError, NodeFailed, UsageError
from vcache.fingerprint.inputs import Dir, File
from vcache.kit.data import dataclass, replace

if TYPE_CHECKING:
    from vcache.calls import Call as Asking
    from vcache.dag.front.graph import PyGraph
    from vcache.making import Duration, Keeper
    from vcache.step import Step

__all__ = ["JobFunction", "JobOptions", "JobWords", "job_node"]

P = ParamSpec("P")

_LOGS: Final = ".job-logs"
_MARK: Final = "__vcache_job__"
"""What a function has that runs jobs of a kind: an object with its `kind` and `function`."""


class JobWords(TypedDict, total=False):
    """The keywords of `build.job`: see `JobOptions`."""

    needs: Iterable[object]
    outs: Iterable[str | os.PathLike[str]]
    after: Iterable[object]
    version: str | int
    ttl: Duration | None
    priority: str
    timeout: float | str | None
    retries: int | None
    description: str
    tags: Iterable[str]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What can be said of a job node.

    Attributes:
        needs: files, patterns, targets and values that it depends on besides its payload.
        outs: files that its result is written to: text or bytes for one file, a mapping by name for more.
        after: what must be made before it, and does not count.
        version: part of its key: change it when the handler gives something else.
        ttl: how long a result may be used.
        priority: "critical", "high", "medium" or "low".
        timeout: how long an attempt may take; what the handler says when left out.
        retries: how many attempts may follow a failed one; what the handler says when left out.
        description, tags, name: as of a step.
    """

    needs: Iterable[object] = ()
    outs: Iterable[str | os.PathLike[str]] = ()
    after: Iterable[object] = ()
    version: str | int = ""
    ttl: Duration | None = None
    priority: str = "medium"
    timeout: float | str | None = None
    retries: int | None = None
    description: str = ""
    tags: Iterable[str] = ()
    name: str = ""


def asked(kind: str, payload: Mapping[str, object]) -> object:
    """Stands for a handler that is known by its kind alone."""
    raise AssertionError(f"{kind} is run by a worker: {payload!r:.80}")


class _Kind:
    """What is asked for, and how its results are kept.

    Args:
        kind: which handler; or its function, whose code then counts.
    """

    def __init__(self, graph: PyGraph, kind: object, options: JobOptions, place: str) -> None:
        self.graph, self.options, self.place = graph, options, place
        handler = getattr(kind, _MARK, None)
        self.function: Callable[..., object] | None = None
        if handler is not None:
            # A step's own function: a step that is looked at by another one counts by its result.
            self.function = getattr(handler.function, "function", handler.function)
            kind = handler.kind
        if not isinstance(kind, str) or not kind:
            raise GraphError(
                f"{place}: build.job({kind!r:.80}): give the kind of job as text, or a function that "
                "@job of vcache.jobs made its handler"
            )
        self.kind = kind
        self.outs = tuple(os.fspath(out) for out in options.outs)
        self._timeout_s = as_seconds(options.timeout, place, "timeout") or 0.0
        self._step: Step[..., object] | None = None

    def gather(
        self, node: Node, payload: object, needs: Inputs
    ) -> Generator[Need, tuple[object, ...], tuple[object, None]]:
        """Wait for what the payload names, then for the job."""
        if not isinstance(payload, Mapping):
            raise GraphError(
                f"{self.place}: {node.name}: the payload is {payload!r:.80}: give a mapping by name"
            )
        inputs = Inputs()
        with self.graph.writing():  # paths in it are of this graph
            inputs.take(payload)
        nodes = tuple({**inputs.nodes, **needs.nodes})
        paths = tuple({**inputs.paths, **needs.paths})
        results = dict(zip(nodes, (yield Need(nodes, paths)), strict=True)) if nodes or paths else {}
        plain = cast("dict[str, object]", replaced(dict(payload), results, plain=True))
        values = {each.name: results[each] for each in needs.nodes}
        query = Node(
            name=f"{node.name}: job",
            work=Call(lambda: self._answer(node, plain, tuple(needs.paths), values)),
            rule=node.rule,
            text=f"job {self.kind}",
            place=self.place,
        )
        (value,) = yield Need((query,))
        # What was made, or remembered, is the job.
        return value, None

    def _answer(
        self, node: Node, payload: dict[str, object], paths: Sequence[str], values: Mapping[str, object]
    ) -> tuple[object, bool, Told]:
        """In a worker thread: the result, whether it was remembered, and what was said when it was made."""
        from vcache.outcome import Hit
        from vcache.step import aside

        keeper = self.graph.keeper
        if keeper is None:
            value, told = self._run(node, payload, "")
            return value, False, told
        with aside() as outer:
            try:
                call = self._call(keeper, node, payload, paths, values)
            except (TypeError, UsageError) as error:
                raise NodeFailed(f"{node.name}: {error}") from None
            step = self._remembered(keeper)
            key = step.lead_key(call).hex()
            found = None if keeper.is_disabled else step.find(call, outer=outer)
            if isinstance(found, Hit) and not found.is_expired:
                keeper.count(found)
                return found.use(), True, _recalled(keeper, key)
            if found is not None:
                keeper.count(found)
            started_ns, began_ns = time.perf_counter_ns(), step.begin()
            value, told = self._run(node, payload, key)
            if not keeper.is_disabled:
                _remember(keeper, key, told)
                step.keep(call, value, time.perf_counter_ns() - started_ns, began_ns, outer=outer)
        return value, False, told

    def _run(self, node: Node, payload: dict[str, object], key: str) -> Answer:
        """What the job gave.

        Raises:
            NodeFailed: it gave nothing.
        """
        options, place = self.options, self.graph.jobs
        if place is None:
            raise NotInADryRun(f"{node.name}: only a run would tell")
        retries = -1 if options.retries is None else options.retries
        errand = Errand(
            self.kind, cast("Mapping[str, object]", _texts(payload)), key, node.name, options.priority,
            self._timeout_s, retries,
        )  # fmt: skip
        answer = place.run(errand)
        if node.outs:
            _write(node, answer.value)
        return answer

    def _call(
        self, keeper: Keeper, node: Node, payload: dict[str, object], paths: Sequence[str],
        values: Mapping[str, object],
    ) -> Asking:  # fmt: skip
        """All that identifies the job."""
        from vcache.artifacts import output_name
        from vcache.fingerprint.arguments import identity
        from vcache.fingerprint.manifest import Manifest

        step = self._remembered(keeper)
        call = (
            step.identify((self.kind, payload), {}) if self.function is None else step.identify((), payload)
        )
        specs = [Dir(path) if path.endswith("/") else File(path) for path in paths]
        outs = tuple(output_name(keeper.root, os.path.join(self.graph.base, out)) for out in node.outs)
        deps = [
            *call.base.deps,
            Dep("job", self.kind, b"1"),
            *keeper.observer.observe_all(specs),
            *(Dep("value", name, identity(value)) for name, value in values.items()),
            *(Dep("out", name, b"") for name in outs),
        ]
        return replace(call, base=Manifest(deps), outs=outs)

    def _remembered(self, keeper: Keeper) -> Step[..., object]:
        step = self._step
        if step is None:
            from vcache.step import Step, StepOptions  # imported with the first job that is wanted

            try:
                chosen = StepOptions.of(
                    {"version": self.options.version, "ttl": self.options.ttl, "tags": self.options.tags}
                )
            except UsageError as error:
                raise GraphError(f"{self.place}: {error}") from None
            step = self._step = Step(keeper, self.function or asked, chosen)
        return step


class JobFunction(Maker, Generic[P]):
    """A function that gives payloads: each call with other arguments is a job of its own.

    To a type checker a call of it gives the result that it will have.
    """

    is_goal = False

    def __init__(
        self, graph: PyGraph, kind: object, function: Callable[P, object], options: JobOptions
    ) -> None:
        self.outs = tuple(os.fspath(out) for out in options.outs)
        super().__init__(graph, cast("Callable[..., object]", function), (*self.outs, options.description))
        self.name = options.name or self.name
        self.options = options
        self._kind = _Kind(graph, kind, options, self.place)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The handle of the result that this call will have."""
        return self.ask(args, kwargs)

    def make(self, asked: Asked) -> tuple[Node, Handle]:
        """The node of a call."""
        graph, options = self.graph, self.options
        outs = tuple(graph.out(self.fill(template, asked.bound), self.place) for template in self.outs)
        needs = _needed(options.needs, self.place)
        # What a payload function is given has to be there; that it counts is the payload's affair.
        wants = tuple(asked.inputs.nodes)
        node = Node(
            name=outs[0] if outs else self.unique_name(asked.shown),
            outs=outs,
            ins=tuple(path for path in needs.paths if path not in outs),
            after=tuple(_needed(options.after, self.place).paths),
            work=Call(
                lambda *results: self._later(node, asked, dict(zip(wants, results, strict=True)), needs),
                wants,
            ),
            rule=self.name,
            text=self.fill(options.description, asked.bound),
            place=self.place,
        )
        graph.add(node, tags=tuple(options.tags))
        self.made.append((asked.shown, node))
        return node, Target(node) if outs else Promise(node)

    @turns
    def _later(
        self, node: Node, asked: Asked, results: Mapping[Node, object], needs: Inputs
    ) -> Generator[Need, tuple[object, ...], tuple[object, None]]:
        args = cast("tuple[object, ...]", replaced(asked.args, results))
        kwargs = cast("dict[str, object]", replaced(dict(asked.kwargs), results))
        stage = Stage(self.graph, Frame(node))
        payload = stage.run(self.function, *args, **kwargs)
        if isinstance(payload, Coroutine):
            payload = yield from stage.drive(payload).__await__()
        stage.refuse_unawaited()
        return (yield from self._kind.gather(node, payload, needs))


def job_node(
    graph: PyGraph, kind: object, payload: Mapping[str, object], options: JobOptions, place: str
) -> Handle:
    """The node of one job, with its payload; its handle.

    Raises:
        GraphError: there is one of that name, or something makes no sense.
    """
    what = _Kind(graph, kind, options, place)
    outs = tuple(graph.out(out, place) for out in what.outs)
    needs = _needed(options.needs, place)
    # What is changed later in place is not what was given.
    payload = cast("dict[str, object]", replaced(dict(payload), _Itself()))
    name = outs[0] if outs else _unique(graph, options.name or what.kind)
    if options.name in graph.functions:
        raise GraphError(f"{place}: {options.name!r} is there already: {graph.functions[options.name].place}")

    @turns
    def work() -> Generator[Need, tuple[object, ...], tuple[object, None]]:
        return what.gather(node, payload, needs)

    node = Node(
        name=name,
        outs=outs,
        ins=tuple(path for path in needs.paths if path not in outs),
        after=tuple(_needed(options.after, place).paths),
        work=Call(work),
        rule=what.kind,
        text=options.description,
        place=place,
    )
    graph.add(node, tags=tuple(options.tags))
    return Target(node) if outs else Promise(node)


class _Itself(dict[Node, object]):
    """Lets promises be what they are."""

    def __missing__(self, node: Node) -> object:
        return Promise(node)


def _unique(graph: PyGraph, name: str) -> str:
    number, found = 2, name
    while found in graph.nodes:
        found, number = f"{name}#{number}", number + 1
    return found


def _needed(values: Iterable[object], place: str) -> Inputs:
    found = Inputs()
    for value in values:
        try:
            found.take(value, is_path=True)
        except GraphError as error:
            said = str(error)
            raise GraphError(said if said.startswith(place) else f"{place}: {said}") from None
    return found


def _texts(value: object) -> object:
    """A payload as it travels: files and directories by their names."""
    if isinstance(value, File | Dir):
        return value.path
    if isinstance(value, Mapping):
        return {key: _texts(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _remember(keeper: Keeper, key: str, told: Told) -> None:
    """Keep what was said beside the result of a key."""
    log = keep(keeper, told.chunks)
    if log and not keeper.is_read_only:
        keeper.put_key(make_key(key, namespace=_LOGS), {"log": log.hex(), "run": told.origin})


def _recalled(keeper: Keeper, key: str) -> Told:
    """What was said when the result of a key was made; nothing where that is gone."""
    from vcache.outcome import Hit

    found = keeper.peek_key(make_key(key, namespace=_LOGS))
    if not isinstance(found, Hit) or not isinstance(found.value, dict):
        return Told()
    log, run = found.value.get("log"), found.value.get("run")
    return Told(recall(keeper, str(log)) or (), str(run))


def _write(node: Node, value: object) -> None:
    """Write a result to the node's outputs.

    Raises:
        NodeFailed: it is not what can be written there.
    """
    if len(node.outs) == 1 and isinstance(value, str | bytes):
        files: Mapping[str, object] = {node.outs[0]: value}
    elif isinstance(value, Mapping):
        files = value
    else:
        raise NodeFailed(
            f"{node.name}: {value!r:.80} cannot be written to {', '.join(node.outs)}: give text or bytes, "
            "or a mapping of these by name"
        )
    for out in node.outs:
        content = files.get(out)
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogateescape")
        if not isinstance(content, bytes):
            raise NodeFailed(f"{node.name}: its result has no text or bytes for {out}: {value!r:.80}")
        os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
        with open(out, "wb") as file:
            file.write(content)
