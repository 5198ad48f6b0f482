"""A session as the memory queue has it. Must not know what becomes of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from vcache.jobs.memory.rows import Row

__all__ = ["SessionRow"]


class SessionRow:
    """A worker's process, and what it holds."""

    def __init__(self, session_id: str, worker: str, kinds: Sequence[str], lease_s: float) -> None:
        self.id = session_id
        self.worker = worker
        self.kinds = tuple(kinds)
        self.lease_s = lease_s
        self.beats = 0
        self.held: dict[str, Row] = {}
        self.suspect = ""
        self.revoked: list[str] = []
