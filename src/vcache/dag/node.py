"""What a graph is made of: nodes, and the work each of them stands for. Frozen data, no I/O.

Paths are as the build file gives them: relative to the graph's base directory, or absolute, with
"/" and without "." and ".." where that can be known. A path that ends with "/" is a directory.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from vcache.kit.data import NamedTuple, dataclass, field

if TYPE_CHECKING:
    from vcache.entry import Dep

__all__ = [
    "CONSOLE",
    "Call",
    "Command",
    "Graph",
    "Made",
    "Need",
    "Node",
    "Pool",
    "Retry",
    "Script",
    "Work",
]

CONSOLE: Final = "console"
"""The pool whose one node at a time has the terminal for itself."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failed command is tried again, and how long it waits before each try.

    Attributes:
        times: further tries after the first; 0 for none.
        base_s: the wait before the first further try; each next one doubles.
        most_s: the longest wait. A wait is drawn between half and all of it (jitter).
        statuses: exit statuses worth another try; empty for every failure. A timeout counts as 124.
    """

    times: int = 0
    base_s: float = 1.0
    most_s: float = 60.0
    statuses: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run.

    Attributes:
        argv: the program and its arguments; empty where `shell` is used.
        shell: a line for `/bin/sh -c`; empty where `argv` is used.
        cwd: where it runs, relative to the graph's base; "" for the base itself.
        env: variables that are set for it. Their values count, and are kept in clear for `why`.
        heeds: names of the caller's variables that count. Their values are never kept.
        tools: further programs it runs, by name or path, whose content counts.
        depfile: a Makefile rule that it writes, relative to the base; "" for none.
        deps: "gcc": the depfile is read and removed; "msvc": `/showIncludes` lines are taken out of
            its output; "": a depfile stays, and is an output.
        msvc_prefix: what such a line begins with.
        rspfile: a response file, written before it runs and removed after success.
        rsp_content: what the response file holds; it counts.
        timeout_s: after which it is killed; None for never.
        retry: what happens when it fails.
        is_traced: what it opens is observed, and counts.
    """

    argv: tuple[str, ...] = ()
    shell: str = ""
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    heeds: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    depfile: str = ""
    deps: Literal["", "gcc", "msvc"] = ""
    msvc_prefix: str = ""
    rspfile: str = ""
    rsp_content: str = ""
    timeout_s: float | None = None
    retry: Retry = Retry()
    is_traced: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """What a script asks of the runner: these nodes, made. It is resumed with their results.

    Attributes:
        nodes: in the order in which results are wanted.
        paths: files that somebody makes, or that are there.
    """

    nodes: tuple[Node, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """A Python body that says which command to run, once it has what it needs.

    Attributes:
        start: called when the node's inputs are made. Gives the command (None for nothing to run), or
            a coroutine that yields `Need`s and returns the command.
    """

    start: Callable[[], Command | Coroutine[Need, tuple[object, ...], Command | None] | None]


class Told(NamedTuple):
    """What was said when a value was made.

    Attributes:
        chunks: as of a command's output: stream, ns since the start, bytes.
        origin: the run in which it was; "" when that is not known.
    """

    chunks: tuple[tuple[int, int, bytes], ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A Python function whose value is the node's result; it brings its own cache.

    Attributes:
        run: called in a worker thread when the node's inputs are made, or, for a function that
            needs more nodes, a coroutine function driven by the runner. Gives the value and
            whether it came from the cache, None where it is another node's; and what was said when it
            was made, if it was.
        wants: nodes whose results it is given, in this order, besides the node's own inputs.
        wants_logs: nodes whose captured output it is given instead.
    """

    run: Callable[
        ...,
        tuple[object, bool]
        | tuple[object, bool, Told]
        | Coroutine[Need, tuple[object, ...], tuple[object, bool | None]],
    ]
    wants: tuple[Node, ...] = ()
    wants_logs: tuple[Node, ...] = ()


Work: TypeAlias = Command | Script | Call | None
"""What a node does. None is a phony node: a name for others, or a file that is just there."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Node:
    """One thing to be made. Two nodes are the same only if they are one object.

    Attributes:
        name: unique in its graph: the first output, or what was called with which arguments.
        outs: what it makes.
        hidden_outs: how many of the last `outs` the build file calls implicit: `$out` leaves them out.
        ins: what it reads: all of it counts.
        hidden_ins: how many of the last `ins` are implicit: `$in` leaves them out.
        after: what must be made before it, and does not count (order-only).
        checks: what is made as well when this is wanted, before or after it (validations).
        work: what it does.
        dyndep: the one of its inputs that holds more inputs and outputs; "" for none.
        pool: the pool it takes slots of; "" for none besides the run's own.
        slots: how many slots it takes, of the run and of its pool.
        memory_bytes: how much memory it is expected to take; 0 for not worth counting.
        rule: the rule or function it comes from.
        text: what is said when it runs; "" for its command.
        is_kept: its result is stored and looked up. False where outputs are not all declared.
        is_generator: it makes the build file itself; a change of its command alone does not rerun it.
        is_restat: declared so in a ninja file. Cut-off goes by content for every node.
        place: where it was defined, such as "build.ninja:12".
        order: of those that are as urgent as it is, the lowest starts first.
    """

    name: str
    outs: tuple[str, ...] = ()
    hidden_outs: int = 0
    ins: tuple[str, ...] = ()
    hidden_ins: int = 0
    after: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    work: Work = None
    dyndep: str = ""
    pool: str = ""
    slots: int = 1
    memory_bytes: int = 0
    rule: str = ""
    text: str = ""
    is_kept: bool = True
    is_generator: bool = False
    is_restat: bool = False
    place: str = ""
    order: int = 0

    def __repr__(self) -> str:
        return f"Node({self.name!r})"


@dataclass(frozen=True, slots=True)
class Pool:
    """A bound on what runs at once.

    Attributes:
        slots: how many slots its nodes share; 0 for no bound.
        memory_bytes: how much memory its nodes share; 0 for no bound.
    """

    name: str
    slots: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """What the last successful run of a node, or its restored result, left in this tree.

    Attributes:
        base: the fingerprint of everything known before it ran, without order-only inputs.
        found: inputs that showed while it ran, as they were.
        outs: a digest for each output, in the node's order; b"" for one that was not made.
        took_ns: how long the run took, whoever ran it; 0 when unknown.
        result: the name under which its result is kept; "" when it is not.
        log: the digest of what it wrote; b"" when it wrote nothing.
    """

    base: bytes
    found: tuple[Dep, ...] = ()
    outs: tuple[bytes, ...] = ()
    took_ns: int = 0
    result: str = ""
    log: bytes = b""


class Graph(Protocol):
    """What the runner asks of a graph, whichever front end made it."""

    @property
    def base(self) -> str:
        """The absolute directory that paths are relative to."""
        ...

    @property
    def pools(self) -> Mapping[str, Pool]: ...

    def producer(self, path: str) -> Node | None:
        """The node that makes a path; None for a source, or what is known to be up to date."""
        ...

    def producers(self, path: str) -> tuple[Node, ...]:
        """The nodes that make files below a directory path (ending with "/")."""
        ...

    def with_dyndep(self, node: Node) -> Node:
        """The node completed by its dyndep file, which exists. Also completes the file's other nodes.

        Raises:
            GraphError: the file is wrong, or makes a cycle or a second producer.
        """
        ...
