"""`build`: what a vcachefile says of its graph.

A face over the graph that is being written. It knows steps, values and queries, and makes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, overload

from vcache.dag.front.calls import as_bytes
from vcache.dag.front.graph import PyGraph
from vcache.dag.front.scene import current_frame, current_graph
from vcache.dag.front.steps import Body, StepFunction, StepOptions, StepWords, checked
from vcache.dag.front.targets import Inputs, handle_of
from vcache.dag.front.trouble import caller
from vcache.dag.front.values import ValueFunction, ValueOptions, ValueWords
from vcache.dag.front.words import Cmd, Program, Word, frame_or_refuse, sh
from vcache.dag.node import Call, Need, Node, Pool, Script
from vcache.errors import GraphError
from vcache.fingerprint.inputs import File, Glob

if TYPE_CHECKING:
    from typing import Unpack

    from vcache.dag.capture import Record
    from vcache.dag.front.jobs import JobFunction, JobWords
    from vcache.dag.front.logs import LogFunction
    from vcache.dag.front.targets import Target
    from vcache.dag.reports import Rows

__all__ = ["Build", "build"]

P = ParamSpec("P")
R = TypeVar("R")


Payload: TypeAlias = Mapping[str, object] | Coroutine[Any, Any, Mapping[str, object]]


class Build:
    """The build file's vocabulary. There is one, `build`; it speaks of the graph being loaded.

    Without a load, as when a test imports a build file, it speaks of a graph of its own, based at
    the current directory.
    """

    def __init__(self) -> None:
        self._stray: PyGraph | None = None

    # -- nodes ---------------------------------------------------------------------------------------

    @overload
    def step(self, function: Callable[P, Body], /) -> StepFunction[P]: ...

    @overload
    def step(
        self, function: None = None, /, **options: Unpack[StepWords]
    ) -> Callable[[Callable[P, Body]], StepFunction[P]]: ...

    def step(
        self, function: Callable[..., Body] | None = None, /, **options: Unpack[StepWords]
    ) -> StepFunction[...] | Callable[[Callable[..., Body]], StepFunction[...]]:
        """A function that gives the command, or commands, which make its `outs`.

        Each call with other arguments is a node. Files among the arguments are its inputs. An
        `async def` may `await need(…)`. Options are those of `StepOptions`.

        Raises:
            GraphError: an option that is none, or a template that asks for an unknown parameter.
        """
        graph = self._graph()
        checked(options, StepOptions, caller(graph.base), "build.step")
        chosen = StepOptions(**options)

        def wrap(wrapped: Callable[..., Body]) -> StepFunction[...]:
            made = StepFunction(graph, wrapped, chosen)
            graph.add_function(made)
            graph.pool_users.append((chosen.pool, made.place))
            return made

        return wrap if function is None else wrap(function)

    @overload
    def value(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> ValueFunction[P, R]: ...

    @overload
    def value(self, function: Callable[P, R], /) -> ValueFunction[P, R]: ...

    @overload
    def value(self, function: None = None, /, **options: Unpack[ValueWords]) -> _Values: ...

    def value(
        self, function: Callable[..., object] | None = None, /, **options: Unpack[ValueWords]
    ) -> object:
        """A function whose result is kept by its code, its arguments and what it reads.

        Who uses the value is made anew only if the value changed. Options are those of `ValueOptions`.

        Raises:
            GraphError: an option that is none.
        """
        graph = self._graph()
        checked(options, ValueOptions, caller(graph.base), "build.value")
        wrap = _Values(graph, ValueOptions(**options))
        return wrap if function is None else wrap(function)

    @overload
    def job(
        self, kind: str | Callable[..., object], /, *, payload: Mapping[str, object],
        **options: Unpack[JobWords],
    ) -> Any: ...  # fmt: skip

    @overload
    def job(
        self, kind: str | Callable[..., object], /, *, payload: None = None, **options: Unpack[JobWords]
    ) -> Callable[[Callable[P, Payload]], JobFunction[P]]: ...

    def job(
        self, kind: str | Callable[..., object], /, *, payload: Mapping[str, object] | None = None,
        **options: Unpack[JobWords],
    ) -> object:  # fmt: skip
        """A job of a queue, whose result is kept by its kind, its payload and what it needs.

        With `payload`, the job; without, a decorator of a function that gives the payload: each call with
        other arguments is a job. What is known is not asked for again; jobs with one key that are under
        way at the same time, in whatever builds, are one. Options are those of `JobOptions`.

        Args:
            kind: which handler is to run it; or the handler's function, whose code then counts.
            payload: the handler's arguments by name: plain values, and values and files of this build.

        Raises:
            GraphError: an option that is none, or what is no kind.
        """
        from vcache.dag.front.jobs import JobFunction, JobOptions, job_node  # for who has jobs

        graph = self._graph()
        place = caller(graph.base)
        checked(options, JobOptions, place, "build.job")
        chosen = JobOptions(**options)
        if payload is not None:
            with graph.writing():
                return job_node(graph, kind, payload, chosen, place)

        def wrap(wrapped: Callable[..., Payload]) -> JobFunction[...]:
            made: JobFunction[...] = JobFunction(graph, kind, wrapped, chosen)
            graph.add_function(made)
            return made

        return wrap

    @overload
    def log(
        self, *, of: Iterable[object], where: str = "", tags: Iterable[str] = ()
    ) -> Callable[[Callable[[Sequence[Record]], R]], LogFunction[R]]: ...

    @overload
    def log(
        self, *, of: Iterable[object], query: str, tags: Iterable[str] = ()
    ) -> Callable[[Callable[[Rows], R]], LogFunction[R]]: ...

    def log(
        self, *, of: Iterable[object], where: str = "", query: str = "", tags: Iterable[str] = ()
    ) -> Callable[[Callable[..., R]], LogFunction[R]]:
        """A function over the records of what steps wrote: `def warnings(records): …`.

        Args:
            of: steps (all their nodes) and targets.
            where: which records it is given, such as "level >= warning and file ~ 'src/'"
                (docs/reference/vcachefile.md).
            query: a question; the function is given the rows that answer it: `def report(rows): …`.

        Raises:
            GraphError: a condition or query that is none, with the place in it.
        """
        from vcache.dag.front.logs import LogFunction  # with the query language, for who asks about logs

        graph = self._graph()

        def wrap(wrapped: Callable[..., R]) -> LogFunction[R]:
            return LogFunction(graph, wrapped, of=of, where=where, query=query, tags=tags)

        return wrap

    def log_report(
        self, path: str | os.PathLike[str], *, of: Iterable[object], query: str,
        format: str = "", tags: Iterable[str] = (),  # noqa: A002 - the word of `vcache logs query`
    ) -> Target:  # fmt: skip
        """A file that holds the answer to a question over what steps wrote.

        Args:
            of: steps (all their nodes) and targets.
            query: such as "level >= warning | count by file | sort -count".
            format: "text", "csv" or "json" (an object a line); by default as the file's name ends.

        Raises:
            GraphError: a query or format that is none.
        """
        from vcache.dag.front.logs import LogReport  # as above

        graph = self._graph()
        place = caller(graph.base)
        return LogReport(graph, os.fspath(path), place, of=of, query=query, form=format, tags=tags).target

    def logs_seal(self, *, name: str = "logs-seal", tags: Iterable[str] = ()) -> Target:
        """A node that seals the log store of this build, as `vcache logs seal` does.

        It is made only where it is asked for, and then always.

        Raises:
            GraphError: there is something of that name.
        """
        from vcache.dag.front.upkeep import logs_node  # for who has a use for it

        graph = self._graph()
        return logs_node(graph, "seal", (), name=name, place=caller(graph.base), tags=tags)

    def logs_gc(
        self, *, max_age: str | None = None, max_bytes: str | None = None,
        keep: Mapping[str, str] | None = None, name: str = "logs-gc", tags: Iterable[str] = (),
    ) -> Target:  # fmt: skip
        """A node that seals the log store of this build and drops what is due, as `vcache logs gc` does.

        It is made only where it is asked for, and then always. Without bounds, the settings say them.

        Args:
            max_age: of all records, such as "30d".
            max_bytes: of all sources together, such as "2GB".
            keep: by pattern of sources, bounds such as "7d", "100MB", "1000000", or several with commas between.

        Raises:
            GraphError: a bound that is none, or there is something of that name.
        """
        from vcache.dag.front.upkeep import bounds_of, logs_node  # as above

        graph = self._graph()
        place = caller(graph.base)
        bounds = tuple(bounds_of(place, max_age, max_bytes, keep or {}))
        return logs_node(graph, "gc", bounds, name=name, place=place, tags=tags)

    def phony(self, name: str, *targets: object) -> Target:
        """A name for others: paths, patterns, targets, steps that need no arguments.

        Raises:
            GraphError: it is no name, or there already.
        """
        graph, inputs = self._graph(), Inputs()
        place = caller(graph.base)
        if not isinstance(name, str) or not name:
            raise GraphError(f"{place}: phony({name!r:.80}): a name is text")
        if name in graph.functions:
            raise GraphError(f"{place}: {name!r} is there already: {graph.functions[name].place}")
        with graph.writing():
            for target in targets:
                inputs.take(target, is_path=True)
        nodes = tuple(inputs.nodes)
        node = Node(
            name=name,
            outs=() if nodes else (name,),
            ins=tuple(inputs.paths),
            work=Script(lambda: _waiting(nodes)) if nodes else None,
            rule="phony",
            place=place,
        )
        graph.add(node)
        from vcache.dag.front.targets import Target

        return Target(node)

    def default(self, *targets: object) -> None:
        """What `vcache build` makes if it is not told: targets, steps, names of targets, and lists of these.

        Raises:
            GraphError: something that is no target, or (when the file is read) an unknown name.
        """
        graph = self._graph()
        place = caller(graph.base)
        for target in targets:
            for each in target if isinstance(target, list | tuple) else (target,):
                graph.wanted.append(_Wanted(graph, each, place))

    # -- what a body may ask -------------------------------------------------------------------------

    def out(self, index: int = 0) -> Path:
        """One of the outputs of the node whose body runs.

        Raises:
            GraphError: there are fewer, or no body runs.
        """
        outs = self.outs
        if not -len(outs) <= index < len(outs):
            node = frame_or_refuse("build.out").node
            raise GraphError(f"{node.place}: build.out({index}): {node.rule} has {len(outs)} output(s)")
        return outs[index]

    @property
    def outs(self) -> tuple[Path, ...]:
        """The outputs of the node whose body runs; raises as `out` does where none runs."""
        return tuple(map(Path, frame_or_refuse("build.outs").node.outs))

    @property
    def depfile(self) -> Path:
        """The depfile of the node whose body runs.

        Raises:
            GraphError: the step has none, or no body runs.
        """
        frame = frame_or_refuse("build.depfile")
        if not frame.depfile:
            raise GraphError(f"{frame.node.place}: {frame.node.rule} has no depfile=: give the step one")
        return Path(frame.depfile)

    # -- the world -------------------------------------------------------------------------------------

    def tool(self, name: str | os.PathLike[str]) -> Program:
        """A program, as the first or another word of a command. What it is counts."""
        graph = self._graph()
        program = Program(name, caller(graph.base))
        graph.program_names.add(program.name)
        return program

    def glob(self, pattern: str, *, hidden: bool = False) -> list[File]:
        """The files that a pattern matches, sorted, as `vcache.Glob` describes. Which there are counts."""
        return list(map(File, self._graph().matches(Glob(pattern, hidden=hidden))))

    @overload
    def env(self, name: str) -> str: ...

    @overload
    def env(self, name: str, default: R) -> str | R: ...

    def env(self, name: str, default: object = "") -> object:
        """A variable of who runs the build. The build file is read anew when it changes."""
        found = self._graph().env(name)
        return default if found is None else found

    @overload
    def option(self, name: str) -> str: ...

    @overload
    def option(self, name: str, default: R) -> str | R: ...

    def option(self, name: str, default: object = "") -> object:
        """What `-D name=value` said."""
        graph = self._graph()
        frame = current_frame()
        if frame is not None and isinstance(frame.node.work, Call):
            # The value's key could not know it.
            place = caller(graph.base)
            raise GraphError(f"{place}: build.option({name!r}) in a value: take it as an argument")
        found = graph.options.get(name)
        graph.asked_options[name] = found
        return default if found is None else found

    def pool(self, name: str, *, slots: int = 0, memory: float | str | None = None) -> Pool:
        """A bound on what runs at once: `pool="name"` of a step takes part in it.

        Args:
            slots: how many slots its nodes share; 0 for no bound.
            memory: how much memory they share.
        """
        graph = self._graph()
        place = caller(graph.base)
        if slots < 0 or not name:
            raise GraphError(f"{place}: pool({name!r}, slots={slots}): give a name, and 0 slots or more")
        pool = Pool(name, slots, as_bytes(memory, place, "memory"))
        graph.add_pool(pool)
        return pool

    def sh(
        self, line: str, *words: Word, cwd: str | None = None, env: Mapping[str, object] | None = None
    ) -> Cmd:
        """As `sh`."""
        return sh(line, *words, cwd=cwd, env=env)

    @property
    def base(self) -> Path:
        """The directory of the build file."""
        return Path(self._graph().base)

    def _graph(self) -> PyGraph:
        graph = current_graph()
        if isinstance(graph, PyGraph):
            return graph
        if self._stray is None:
            self._stray = PyGraph(os.getcwd())
        return self._stray

    def __repr__(self) -> str:
        return "<vcache.dag.build>"


build = Build()


class _Values:
    """The decorator that `build.value(…)` gives."""

    def __init__(self, graph: PyGraph, options: ValueOptions) -> None:
        self._graph, self._options = graph, options

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> ValueFunction[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> ValueFunction[P, R]: ...

    def __call__(self, function: Callable[P, object], /) -> ValueFunction[P, Any]:
        made: ValueFunction[P, Any] = ValueFunction(self._graph, function, self._options)
        self._graph.add_function(made)
        self._graph.pool_users.append((self._options.pool, made.place))
        return made


class _Wanted:
    """A default goal, looked up when the whole file has been read."""

    def __init__(self, graph: PyGraph, target: object, place: str) -> None:
        self._graph, self._target, self._place = graph, target, place

    def __call__(self) -> Sequence[Node]:
        if isinstance(self._target, str | File):
            try:
                return self._graph.targets([str(self._target)])
            except GraphError as error:
                raise GraphError(f"{self._place}: default: {error}") from None
        handle = handle_of(self._target)
        if handle is None:
            raise GraphError(f"{self._place}: default({self._target!r:.80}): that is no target")
        return (handle.node,)


async def _waiting(nodes: tuple[Node, ...]) -> None:
    """Nothing, once these are made."""
    await _All(nodes)


class _All:
    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._nodes = nodes

    def __await__(self) -> Any:
        yield Need(self._nodes)
