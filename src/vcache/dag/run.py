"""What the parts of one run share: its options, where it happens, and how it went so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from vcache.action import Actions
    from vcache.dag.events import Event
    from vcache.dag.files import Files
    from vcache.dag.node import Graph, Made
    from vcache.making import Keeper

__all__ = ["Memory", "Options", "Run", "Tally"]


class Memory(Protocol):
    """What a run asks of a tree's memory."""

    def last(self, name: str) -> Made | None: ...

    def record(self, name: str, made: Made) -> None: ...

    def forget(self, name: str) -> None: ...

    def generated(self) -> Collection[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run.

    Attributes:
        jobs: how many nodes run at once; None for what the executor says.
        keep_going: how many may fail before no more are started; 0 for any number.
        load_limit: no more are started while the machine's load is above it; None for no limit.
        memory_bytes: what the memory of all running nodes may sum up to; 0 for no bound.
        is_dry_run: nothing runs and nothing is restored; what would be is told.
        trace: "on": every command is traced; "audit": and what it read is compared with what was
            declared; "": as each node says.
        is_forced: what is up to date or in the cache runs all the same.
        keep_rsp, keep_depfile: leave response files, and depfiles that were read.
        env: names of variables of the caller that count for every command.
        hard_links: restore large files as links to the store's own, which are read-only.
        is_strict: a promised output or depfile that was not made is a failure; ninja lets it pass.
    """

    jobs: int | None = None
    keep_going: int = 1
    load_limit: float | None = None
    memory_bytes: int = 0
    is_dry_run: bool = False
    trace: str = ""
    is_forced: bool = False
    keep_rsp: bool = False
    keep_depfile: bool = False
    env: tuple[str, ...] = ()
    is_strict: bool = False
    hard_links: bool = False


@dataclass(slots=True)
class Tally:
    """How many nodes fared how, so far."""

    n_run: int = 0
    n_hit: int = 0
    n_up_to_date: int = 0
    n_failed: int = 0
    saved_ns: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run over one graph.

    Attributes:
        keeper: the cache.
        actions: results in it.
        tree: what earlier runs left.
        files: how files look, for this run.
        emit: told what happens.
        clock: epoch nanoseconds.
        id: the run's own; "" for one that leaves nothing.
    """

    graph: Graph
    keeper: Keeper
    actions: Actions
    tree: Memory
    files: Files
    emit: Callable[[Event], None]
    options: Options
    clock: Callable[[], int] = time.time_ns
    tally: Tally = field(default_factory=Tally)
    id: str = ""
