"""What is going on: which build file is read, and which node's body runs.

Context variables, so that bodies which take turns in one thread do not mix. It knows neither
graphs nor nodes by their content.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from vcache.dag.node import Node
    from vcache.fingerprint.inputs import Dir, File, Glob

__all__ = ["Frame", "Paper", "current_frame", "current_graph", "frame_var", "graph_var"]


class Paper(Protocol):
    """A graph that is being written, as far as words and handles ask it."""

    @property
    def base(self) -> str: ...

    @property
    def program_names(self) -> set[str]: ...

    @property
    def found_programs(self) -> set[str]: ...

    def path(self, path: str | File | Dir) -> str: ...

    def matches(self, pattern: Glob) -> list[str]: ...


@dataclass(slots=True, eq=False)
class Frame:
    """The body that runs.

    Attributes:
        node: what it makes.
        cwd: where its commands run unless they say otherwise.
        depfile: what its command writes.
        unawaited: where `need` was called without `await` so far, by the identity of what it gave.
    """

    node: Node
    cwd: str = ""
    depfile: str = ""
    unawaited: dict[int, str] = field(default_factory=dict)


graph_var: ContextVar[Paper | None] = ContextVar("vcache_graph", default=None)
frame_var: ContextVar[Frame | None] = ContextVar("vcache_frame", default=None)


def current_graph() -> Paper | None:
    """The graph that is being written."""
    return graph_var.get()


def current_frame() -> Frame | None:
    """The body that runs, if one does."""
    return frame_var.get()
