"""The handler that runs nodes of builds: `vcache worker --module vcache.jobs.building.handlers`.

It is no entry point, so that no worker has it unasked: whoever may submit jobs to a worker that has it may
run any command there, as the worker's user.
It knows what `vcache.dag.remote` is given and gives; what that does with it is its own affair.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vcache.jobs.handlers import current_job, job

if TYPE_CHECKING:
    from vcache.jobs.handlers import Attempt

__all__ = ["NODE", "run_node"]

NODE: Final = "vcache.node"
"""Jobs of this kind carry out one command of a build each."""

_LOOK_S: Final = 0.1


@job(NODE, retries=0)
def run_node(order: str, packed: bytes = b"", probe: Sequence[str | int] = ()) -> Mapping[str, object]:
    """Carry a command out, or say whether this worker could.

    Args:
        order: its id.
        packed: as `vcache.dag.order` packs it.
        probe: address, key and version, as `vcache.dag.remote.probe` takes them.
    """
    from vcache.dag import remote  # caches, trees and programs, for workers of builds only

    if probe:
        address, key, version = probe
        return {"why_not": remote.probe(str(address), str(key), int(version))}
    attempt = current_job()
    with _STOPS.watched(order, attempt):
        reply = remote.carry_out(packed)
        if reply.get("is_killed") and not attempt.is_cancelled:
            # An attempt before this one was to be stopped, here, when it had just ended.
            reply = remote.carry_out(packed)
        return reply


class _Stops:
    """Stops commands whose attempts are cancelled: a thread that looks, while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._running: dict[str, Attempt] = {}
        self._told: set[str] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watched(self, order: str, attempt: Attempt) -> Iterator[None]:
        """Within, an order is stopped when its attempt is cancelled."""
        with self._lock:
            self._running[order] = attempt
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vcache-node-stops", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._running[order]
                self._told.discard(order)

    def _run(self) -> None:
        from vcache.dag import remote

        while True:
            time.sleep(_LOOK_S)
            with self._lock:
                if not self._running:
                    self._thread = None
                    return
                ended = [
                    order
                    for order, attempt in self._running.items()
                    if attempt.is_cancelled and order not in self._told
                ]
                self._told.update(ended)
            if ended:
                remote.stop(ended)


_STOPS: Final = _Stops()
