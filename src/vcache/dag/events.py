"""What happens in a run, as typed events. Frozen data, no I/O.

The runner emits them in one thread, in order, to every `Listener`; progress, journal, trace file,
metrics and a web page are listeners. Times are epoch nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from vcache.dag.node import Node

__all__ = [
    "Event",
    "Finished",
    "Hit",
    "Listener",
    "Missed",
    "Noted",
    "Output",
    "Planned",
    "RunEnded",
    "RunStarted",
    "Skipped",
    "Started",
    "UpToDate",
]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins.

    Attributes:
        run: its id, a UUIDv7.
        base: the graph's base directory.
        goals: what was asked for.
        slots: how many nodes run at once.
    """

    run: str
    at_ns: int
    base: str
    goals: tuple[str, ...]
    slots: int


@dataclass(frozen=True, slots=True)
class Planned:
    """More nodes are wanted than was known; `count` is how many with work there are so far."""

    at_ns: int
    count: int


@dataclass(frozen=True, slots=True)
class UpToDate:
    """Nothing to do: the tree holds what the node makes."""

    at_ns: int
    node: Node


@dataclass(frozen=True, slots=True)
class Hit:
    """The result came from the cache. Its output follows as one `Output`, if there is any.

    Attributes:
        result: its name.
        saved_ns: what the run once took.
        took_ns: what finding and restoring took.
        log: the digest of its output.
    """

    at_ns: int
    node: Node
    result: str
    saved_ns: int
    took_ns: int
    log: bytes = b""


@dataclass(frozen=True, slots=True)
class Missed:
    """It has to run.

    Attributes:
        reason: one line for people: "changed file src/a.h", "never built", "output a.o is gone".
    """

    at_ns: int
    node: Node
    reason: str


@dataclass(frozen=True, slots=True)
class Started:
    """It got its slots and runs.

    Attributes:
        words: the command, for people.
        attempt: 1 for the first try.
        lane: the lowest slot number that was free: a row of a trace view.
    """

    at_ns: int
    node: Node
    words: str
    attempt: int = 1
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """What a node wrote, whole and in order: emitted once, after it ended or was replayed.

    Attributes:
        chunks: (1 for standard output or 2 for standard error, ns since its start, bytes).
    """

    at_ns: int
    node: Node
    chunks: tuple[tuple[int, int, bytes], ...]
    is_replayed: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of a node ended.

    Attributes:
        status: its exit status; 0 is success. 124 after a timeout, 128 + n after signal n.
        took_ns: wall time of the last try.
        result: under which name it was kept; "" when it was not.
        remark: why a success was not kept, or what a failure was; "" for nothing to say.
        log: the digest of its output.
        will_retry: another try follows.
    """

    at_ns: int
    node: Node
    status: int
    took_ns: int
    result: str = ""
    remark: str = ""
    log: bytes = b""
    will_retry: bool = False
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """It could not be made since something it needs failed, or the run was stopped."""

    at_ns: int
    node: Node
    because: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth a line that fails nothing: an undeclared input, a cache fault.

    Attributes:
        is_detail: only for who wants to know all.
    """

    at_ns: int
    text: str
    node: Node | None = None
    is_detail: bool = False


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end.

    Attributes:
        status: 0 when all goals are made; 1 when something failed; 2 for a wrong build file;
            130 after an interrupt.
        saved_ns: what hits once took, together.
        error: why it stopped, in words; "" for success.
    """

    at_ns: int
    status: int
    n_run: int
    n_hit: int
    n_up_to_date: int
    n_failed: int
    saved_ns: int
    error: str = ""


Event: TypeAlias = (
    RunStarted
    | Planned
    | UpToDate
    | Hit
    | Missed
    | Started
    | Output
    | Finished
    | Skipped
    | Noted
    | RunEnded
)


class Listener(Protocol):
    """Takes events, in order, in the runner's thread. It must be quick and raises nothing."""

    def on_event(self, event: Event) -> None: ...
