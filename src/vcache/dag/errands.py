"""Jobs as a build asks for them: what is asked, and the protocol of the place where it is done.

Who opens a build hands a place in; it knows no queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from vcache.dag.node import Told
from vcache.errors import VcacheError
from vcache.kit.data import NamedTuple

__all__ = ["Answer", "Errand", "JobPlace", "NotInADryRun"]


class Errand(NamedTuple):
    """A job that a node stands for.

    Attributes:
        kind: which handler is to run it.
        payload: plain values by name.
        key: all that it is known by: of errands with one key that are under way at the same time, one is run.
        node: what it is for, in words.
        priority: "critical", "high", "medium" or "low".
        timeout_s: how long an attempt may take; 0 for what the handler says.
        retries: how many attempts may follow a failed one; -1 for what the handler says.
    """

    kind: str
    payload: Mapping[str, object]
    key: str
    node: str
    priority: str = "medium"
    timeout_s: float = 0.0
    retries: int = -1


class Answer(NamedTuple):
    """What an errand came to.

    Attributes:
        value: the job's result.
        told: what there is to say of how it was done.
    """

    value: object
    told: Told = Told()


class JobPlace(Protocol):
    """Where jobs of builds are done. Threads: any number."""

    def run(self, errand: Errand) -> Answer:
        """The job's result, once it is there.

        Raises:
            NodeFailed: it is dead or cancelled, with the evidence; or the build is being stopped.
            VcacheError: it cannot be asked for.
        """
        ...

    def stop(self) -> None:
        """Let those who wait do so no longer. Called from signal handlers, too."""
        ...


class NotInADryRun(VcacheError):
    """Only a run would tell the value."""
