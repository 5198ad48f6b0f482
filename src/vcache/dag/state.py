"""The states of a node in a run, and which may follow which. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["ENDS", "NEXT", "State"]


class State(Enum):
    """One word per state."""

    WAITING = "waiting"
    """Something it needs is not made yet."""
    READY = "ready"
    """All it is known to need is made; nobody has asked whether it has to run."""
    QUEUED = "queued"
    """It has to run, and waits for its slots."""
    RUNNING = "running"
    """Its work is under way."""
    MADE = "made"
    """What it makes is there: up to date, restored or run."""
    FAILED = "failed"
    """Its work went wrong."""
    SKIPPED = "skipped"
    """Something it needs was not made, or the run was stopped."""


NEXT: Final = {
    State.WAITING: {State.READY, State.SKIPPED},
    # Back to waiting: a script or a dyndep file asked for more.
    State.READY: {State.WAITING, State.QUEUED, State.RUNNING, State.MADE, State.FAILED, State.SKIPPED},
    State.QUEUED: {State.RUNNING, State.SKIPPED},
    # Back to the queue: another try follows. Back to ready: a function was a coroutine.
    State.RUNNING: {State.READY, State.QUEUED, State.MADE, State.FAILED, State.SKIPPED},
    State.MADE: set(),
    State.FAILED: set(),
    State.SKIPPED: set(),
}
"""What may follow a state."""

ENDS: Final = frozenset({State.MADE, State.FAILED, State.SKIPPED})
"""States that nothing follows."""
