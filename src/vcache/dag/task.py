"""A node in a run: where it stands, who waits for it, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from vcache.dag.state import ENDS, NEXT, State

if TYPE_CHECKING:
    from vcache.dag.node import Command, Need, Node
    from vcache.entry import Dep
    from vcache.fingerprint.manifest import Manifest

__all__ = ["Task"]


class Task:
    """One node in one run.

    Attributes:
        node: what is to be made; completed once its dyndep file is read.
        state: where it stands.
        pending: how many of its needs are not at an end.
        needs: what it waits, or waited, for.
        waiters: who waits for it.
        hinted: those of its needs that only an earlier run's discoveries name.
        priority: ns of work from its start to the end of the run, as far as known: the critical path.
        coroutine: its script or function, suspended between two needs.
        asked: what the coroutine asked for last.
        extra_ins: paths it turned out to read while its script ran.
        extra_deps: values it turned out to depend on.
        command: what it runs, once that is known.
        base, fingerprint: its manifest without order-only inputs, once it is known; b"" until it is asked for.
        outs: the paths of its results, for those who need it.
        stands_for: for a phony node, the files that it names, in the end.
        value: a function's result.
        identity: what tells that value from others.
        chunks, log: what it wrote, and its digest.
        was, before: digests and stamps of its outputs before it ran.
        is_changed: what it makes is not what was there before.
        is_run: it ran, and well.
        is_traced_by_itself: its command is traced whatever the run says: all it opens counts.
        is_unknown: in a dry run, what it would make is not known.
        is_always: it is never up to date.
        is_completed: its dyndep file was read.
    """

    __slots__ = (
        "asked",
        "attempt",
        "base",
        "before",
        "chunks",
        "command",
        "coroutine",
        "extra_deps",
        "extra_ins",
        "fingerprint",
        "hinted",
        "identity",
        "is_always",
        "is_changed",
        "is_completed",
        "is_run",
        "is_traced_by_itself",
        "is_unknown",
        "kill",
        "lane",
        "log",
        "lookup",
        "needs",
        "node",
        "outs",
        "pending",
        "priority",
        "stands_for",
        "started_ns",
        "state",
        "value",
        "waiters",
        "was",
    )  # fmt: skip

    def __init__(self, node: Node) -> None:
        self.node = node
        self.state = State.WAITING
        self.pending = 0
        self.needs: list[Task] = []
        self.waiters: list[Task] = []
        self.hinted: list[Task] = []
        self.priority = 0.0
        self.coroutine: Coroutine[Need, tuple[object, ...], object] | None = None
        self.asked: Need | None = None
        self.extra_ins: list[str] = []
        self.extra_deps: list[Dep] = []
        self.command: Command | None = None
        self.base: Manifest | None = None
        self.fingerprint = b""
        self.lookup: Manifest | None = None
        self.outs: tuple[str, ...] = node.outs
        self.stands_for: tuple[str, ...] = ()
        self.value: object = None
        self.identity = b""
        self.chunks: tuple[tuple[int, int, bytes], ...] = ()
        self.log = b""
        self.is_changed = False
        self.is_run = False
        self.is_traced_by_itself = False
        self.is_unknown = False
        self.is_always = False
        self.is_completed = not node.dyndep
        self.attempt = 0
        self.lane = 0
        self.started_ns = 0
        self.kill: Callable[[], None] | None = None
        self.was: dict[str, bytes] = {}
        self.before: dict[str, tuple[int, ...]] = {}

    @property
    def is_ended(self) -> bool:
        return self.state in ENDS

    def move(self, state: State) -> None:
        """Go to a state that may follow."""
        assert state in NEXT[self.state], f"{self.node.name}: {self.state} cannot become {state}"
        self.state = state

    def complete(self, node: Node) -> None:
        """Take the node that its dyndep file completed."""
        self.node, self.outs, self.is_completed = node, node.outs, True

    def wait_for(self, other: Task) -> None:
        """Do not go on before another is at an end."""
        self.needs.append(other)
        if other.state not in ENDS:
            other.waiters.append(self)
            self.pending += 1
