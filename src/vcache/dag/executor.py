"""Where commands run: the protocol between the runner and whatever carries a command out.

It knows nothing of caches and graphs: a job says all that is to be known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from vcache.kit.data import NamedTuple, dataclass

if TYPE_CHECKING:
    from vcache.dag.node import Command, Node

__all__ = ["BY_SIGNAL", "NOT_FOUND", "NOT_RUNNABLE", "TIMED_OUT", "Ended", "Executor", "Job", "Unused"]

# Exit statuses that say more than a number: as timeout(1) and sh(1) have them.
TIMED_OUT: Final = 124
NOT_RUNNABLE: Final = 126
NOT_FOUND: Final = 127
BY_SIGNAL: Final = 128
"""And the signal's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One try of one command.

    Attributes:
        node: what it is for.
        command: what to run.
        base: the absolute directory of the graph.
        reads: every declared input, absolute. An executor elsewhere must bring them there.
        makes: every declared output, absolute. They must be here when the job ends well.
        has_terminal: it gets this process's own standard streams, and nothing is captured.
        key: two jobs with this one give the same result, as far as is known before they run; "" for not
            known, or where a result of another's will not do.
    """

    node: Node
    command: Command
    base: str
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    has_terminal: bool = False
    key: str = ""


class Ended(NamedTuple):
    """How a job ended.

    Attributes:
        status: the exit status as a shell has it; 124 after a timeout; 127 or 126 when the program
            is not there or cannot be run, with the reason in `chunks`.
        chunks: (stream, ns since its start, bytes) in order; neighbours of one stream are joined.
        gap: why `chunks` is not all it wrote; "" when it is.
        took_ns: how long it ran.
        began_ns: the time of files at its start: what changed since is not known to be what was read.
        opened: with tracing, what it looked at as (kind, absolute path): "file", "absent", "list".
            None without.
        wrote: with tracing, what it wrote, removed or renamed.
        is_killed: it was stopped from here, and says nothing about its inputs.
    """

    status: int
    chunks: tuple[tuple[int, int, bytes], ...] = ()
    gap: str = ""
    took_ns: int = 0
    began_ns: int = 0
    opened: tuple[tuple[str, str], ...] | None = None
    wrote: tuple[str, ...] = ()
    is_killed: bool = False


class Executor(Protocol):
    """Runs jobs, many at once."""

    @property
    def slots(self) -> int:
        """How many jobs make sense at once; the default of `-j`."""
        ...

    def start(self, job: Job, on_end: Callable[[Ended], None]) -> Callable[[], None]:
        """Start a job. `on_end` is called exactly once, in a thread of the executor's.

        Returns: what stops the job early, at any time, from any thread; `on_end` is still called.
        """
        ...

    def close(self) -> None:
        """Stop what still runs, and wait for it."""
        ...


class Unused:
    """The executor of a dry run."""

    slots = 1

    def start(self, job: Job, on_end: Callable[[Ended], None]) -> Callable[[], None]:
        """Nothing is started in a dry run: who does that is wrong about it."""
        raise AssertionError(f"a dry run started {job.node.name}")

    def close(self) -> None:
        """Nothing runs."""
