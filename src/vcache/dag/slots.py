"""Who may start next: pools, the jobserver above or below us, and the machine's load.

It knows tasks only as what takes slots, and nothing of what they run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vcache.dag.node import Pool
from vcache.dag.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcache.dag.jobserver import Tokens
    from vcache.dag.run import Options
    from vcache.dag.task import Task

__all__ = ["Slots"]

_LOAD_POLL_S: Final = 0.2
_TOKEN_POLL_S: Final = 0.02


class Slots:
    """The slots of one run.

    Attributes:
        running: who holds slots.
    """

    def __init__(
        self, options: Options, pools: Mapping[str, Pool], *, count: int, tokens: Tokens | None
    ) -> None:
        self._options, self._tokens = options, tokens
        self._count = options.jobs or count
        self._pools = Pools(Pool("", self._count, options.memory_bytes), pools)
        self._tokens_held = 0
        self.running: set[Task] = set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._pools)

    @property
    def has_room(self) -> bool:
        """Whether somebody waits while a slot of the run is free."""
        return bool(len(self._pools)) and len(self.running) < self._count

    def push(self, task: Task) -> None:
        """Let a task wait for its slots.

        Raises:
            GraphError: its pool is not known.
        """
        self._pools.push(task)

    def pop(self) -> Task | None:
        """The most urgent task that may start now, with its slots taken; None when none may."""
        if not len(self._pools) or not self._has_token():
            return None
        task = self._pools.pop()
        if task is not None:
            self.running.add(task)
        return task

    def release(self, task: Task) -> None:
        """Give a task's slots back."""
        self.running.discard(task)
        self._pools.release(task)
        self.return_tokens()

    def return_tokens(self) -> None:
        """Give back the tokens that nobody who runs needs."""
        while self._tokens is not None and self._tokens_held > max(len(self.running) - 1, 0):
            self._tokens_held -= 1
            self._tokens.release()

    def clear(self) -> None:
        """Nobody waits any longer."""
        self._pools.clear()

    def patience_s(self) -> float | None:
        """After which time to ask again though nobody has ended; None for never."""
        if not self.has_room:
            return None
        if self._tokens is not None:
            return _TOKEN_POLL_S
        return None if self._options.load_limit is None else _LOAD_POLL_S

    def _has_token(self) -> bool:
        """Whether one more may start, for the jobserver and the machine's load. The first always may."""
        if not self.running:
            return True
        limit = self._options.load_limit
        if limit is not None and os.getloadavg()[0] > limit:
            return False
        if self._tokens is None:
            return True
        # Each job holds a token but one: that is the slot that we were started with.
        if self._tokens_held < len(self.running):
            if not self._tokens.acquire():
                return False
            self._tokens_held += 1
        return True
