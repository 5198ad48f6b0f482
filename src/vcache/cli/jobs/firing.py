"""Telling what schedules fired: a line for people, a record for the store of logs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcache.jobs.schedules import Fired
    from vcache.logs.base import LogStore

__all__ = ["teller"]


def teller(say: Callable[[str], object], log: LogStore | None) -> Callable[[Fired], None]:
    """Tells of each firing.

    Args:
        say: given the time of the tick, the schedule and the job's id.
        log: where a record goes that is found by the job, as all that the job says; None for nowhere.
    """

    def tell(fired: Fired) -> None:
        say(f"{_time(fired.tick_ns)} {fired.name} {fired.job_id}")
        if log is not None:
            from vcache.logs.record import Record
            from vcache.query.levels import INFO

            fields = {"job": fired.job_id, "schedule": fired.name, "tick": _time(fired.tick_ns)}
            log.append([Record(time.time_ns(), INFO, f"schedule/{fired.name}", "fired", fields)], sync=False)

    return tell


def _time(at_ns: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(at_ns / 1e9).astimezone().isoformat(timespec="seconds")
