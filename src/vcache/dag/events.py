"""What happens in a run, as typed events. Frozen data, no I/O.

The runner emits them in one thread, in order, to every `Listener`; progress, journal, trace file,
metrics and a web page are listeners. Times are epoch nanoseconds. Named tuples, since every build
defines them all: as dataclasses they would take 4 ms of what an incremental one has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from vcache.dag.node import Node

__all__ = [
    "INTERRUPTED",
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

INTERRUPTED: Final = 130
"""The status of a run that was stopped, as a shell has it after Ctrl-C."""


class RunStarted(NamedTuple):
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


class Planned(NamedTuple):
    """More nodes are wanted than was known; `count` is how many with work there are so far."""

    at_ns: int
    count: int  # type: ignore[assignment]  # instead of the method of a tuple


class UpToDate(NamedTuple):
    """Nothing to do: the tree holds what the node makes."""

    at_ns: int
    node: Node


class Hit(NamedTuple):
    """The result came from the cache. Its output follows as one `Output`, if there is any.

    Attributes:
        result: its name.
        saved_ns: what the run once took.
        took_ns: what finding and restoring took.
        log: the digest of its output.
        origin: the run that made it; "" when that is not known.
    """

    at_ns: int
    node: Node
    result: str
    saved_ns: int
    took_ns: int
    log: bytes = b""
    origin: str = ""


class Missed(NamedTuple):
    """It has to run.

    Attributes:
        reason: one line for people: "changed file src/a.h", "never built", "output a.o is gone".
    """

    at_ns: int
    node: Node
    reason: str


class Started(NamedTuple):
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


class Output(NamedTuple):
    """What a node wrote, whole and in order: emitted once, after it ended or was replayed.

    Attributes:
        chunks: (1 for standard output or 2 for standard error, ns since its start, bytes).
        started_ns: what their times count from. Of what is replayed it lies so far back that the
            command would have ended now: what it says has the distances that it had, and none is
            in the future.
        origin: of what is replayed, the run that wrote it; "" when that is not known.
        action: the key of the result in hex; of a failure, that of all that was known before it ran.
        program: the first word of the command.
        status: the exit status.
    """

    at_ns: int
    node: Node
    chunks: tuple[tuple[int, int, bytes], ...]
    is_replayed: bool
    started_ns: int = 0
    origin: str = ""
    action: str = ""
    program: str = ""
    status: int = 0


class Finished(NamedTuple):
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


class Skipped(NamedTuple):
    """It could not be made since something it needs failed, or the run was stopped."""

    at_ns: int
    node: Node
    because: str


class Noted(NamedTuple):
    """Something worth a line that fails nothing: an undeclared input, a cache fault.

    Attributes:
        is_detail: only for who wants to know all.
    """

    at_ns: int
    text: str
    node: Node | None = None
    is_detail: bool = False


class RunEnded(NamedTuple):
    """The end.

    Attributes:
        status: 0 when all goals are made; 1 when something failed; 2 for a wrong build file;
            130 after an interrupt.
        saved_ns: what hits once took, together.
        error: why it stopped, in words; "" for success.
        is_partial: only what may have changed was looked at.
    """

    at_ns: int
    status: int
    n_run: int
    n_hit: int
    n_up_to_date: int
    n_failed: int
    saved_ns: int
    error: str = ""
    is_partial: bool = False


Event: TypeAlias = (
    RunStarted | Planned | UpToDate | Hit | Missed | Started | Output | Finished | Skipped | Noted | RunEnded
)


class Listener(Protocol):
    """Takes events, in order, in the runner's thread. It must be quick and raises nothing."""

    def on_event(self, event: Event) -> None: ...
