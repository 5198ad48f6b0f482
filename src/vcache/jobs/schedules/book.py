"""The schedules of a queue: made, changed, paused, fired by hand, removed.

Each is a cell `schedule/NAME` of the queue, changed by compare-and-set, so that nobody undoes what another
one did at the same time. It must not know when schedules fire.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from vcache.errors import StoreBusy, UsageError
from vcache.jobs.base import Queue
from vcache.jobs.models import Spec
from vcache.jobs.schedules.models import Schedule, pack_schedule, redefined, unpack_schedule
from vcache.kit.clock import Clock
from vcache.kit.ids import uuid7
from vcache.kit.names import did_you_mean

__all__ = ["PREFIX", "Schedules", "spec_of"]

PREFIX: Final = "schedule/"
_TRIES: Final = 100  # each lost one is a change that somebody else made


class Schedules:
    """The schedules of a queue.

    Args:
        clock: the wall clock, which ticks follow.

    Threads: may be used from any thread, and from many processes where the queue may.
    """

    def __init__(self, queue: Queue, *, clock: Clock = time.time_ns) -> None:
        self._queue = queue
        self._clock = clock

    def put(self, schedule: Schedule) -> Schedule:
        """Make or redefine a schedule; as it is kept. What the old one had done is not done again."""
        return self._change(schedule.name, lambda old: redefined(old, schedule, now_ns=self._clock()))

    def get(self, name: str) -> Schedule | None:
        """The schedule of a name."""
        cell = self._queue.cells(PREFIX + name).get(PREFIX + name)
        return None if cell is None else unpack_schedule(name, cell.value)

    def list(self) -> list[Schedule]:
        """All of them, by name."""
        cells = self._queue.cells(PREFIX)
        return [unpack_schedule(name[len(PREFIX) :], cells[name].value) for name in sorted(cells)]

    def pause(self, name: str) -> Schedule:
        """Let ticks pass without a job.

        Raises:
            UsageError: there is no such schedule.
        """
        return self._change(name, lambda old: self._there(name, old)._replace(is_paused=True))

    def resume(self, name: str) -> Schedule:
        """Fire again, from the next tick on.

        Raises:
            UsageError: there is no such schedule.
        """

        def resumed(old: Schedule | None) -> Schedule:
            there = self._there(name, old)
            return there._replace(is_paused=False, done_ns=self._clock()) if there.is_paused else there

        return self._change(name, resumed)

    def run_now(self, name: str) -> str:
        """Submit its job at once, whatever the time, also while it is paused; the job's id.

        Raises:
            UsageError: there is no such schedule.
        """
        job_id = uuid7.text()

        def fired(old: Schedule | None) -> Schedule:
            there = self._there(name, old)
            return there._replace(last_job=job_id, n_fired=there.n_fired + 1)

        self._change(name, fired, lambda schedule: [spec_of(schedule, job_id, self._queue)])
        return job_id

    def remove(self, name: str) -> bool:
        """Forget a schedule, not its jobs; whether it was there."""
        for _ in range(_TRIES):
            cell = self._queue.cells(PREFIX + name).get(PREFIX + name)
            if cell is None:
                return False
            if self._queue.swap(PREFIX + name, cell.version, None):
                return True
        raise StoreBusy(f"schedule {name!r} is changed by others all the time")

    def _change(
        self,
        name: str,
        change: Callable[[Schedule | None], Schedule],
        specs: Callable[[Schedule], Sequence[Spec]] = lambda _: (),
    ) -> Schedule:
        for _ in range(_TRIES):
            cell = self._queue.cells(PREFIX + name).get(PREFIX + name)
            new = change(None if cell is None else unpack_schedule(name, cell.value))
            packed = pack_schedule(new)
            if cell is not None and packed == cell.value:
                return new
            if self._queue.swap(PREFIX + name, cell.version if cell else 0, packed, specs(new)):
                return new
        raise StoreBusy(f"schedule {name!r} is changed by others all the time")

    def _there(self, name: str, found: Schedule | None) -> Schedule:
        if found is None:
            names = [each[len(PREFIX) :] for each in self._queue.cells(PREFIX)]
            raise UsageError(f"no schedule {name!r}{did_you_mean(name, names)}")
        return found


def spec_of(schedule: Schedule, job_id: str, queue: Queue, *, delay_ns: int = 0) -> Spec:
    """A job of a schedule."""
    queue_ns = queue.now_ns()
    return Spec(
        job_id, schedule.kind, schedule.payload, schedule.priority, queue_ns,
        not_before_ns=queue_ns + delay_ns if delay_ns > 0 else 0, timeout_s=schedule.timeout_s,
        retries=schedule.retries, parent=PREFIX + schedule.name, tags=schedule.tags,
        namespace=queue.info.namespace,
    )  # fmt: skip
