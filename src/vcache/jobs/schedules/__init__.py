"""Jobs that time brings: what fires when (`Schedule`), where that is kept (`Schedules`), and who sees to it (`Scheduler`).

It must not know how jobs run.
"""

from __future__ import annotations

from vcache.jobs.schedules.book import Schedules
from vcache.jobs.schedules.models import Misfire, Overlap, Schedule, make_schedule, next_tick, schedule_facts
from vcache.jobs.schedules.scheduler import Fired, Scheduler, Ticked
from vcache.jobs.schedules.when import Cron, Every, When, next_after, parse_when, ticks_between

__all__ = [
    "Cron",
    "Every",
    "Fired",
    "Misfire",
    "Overlap",
    "Schedule",
    "Scheduler",
    "Schedules",
    "Ticked",
    "When",
    "make_schedule",
    "next_after",
    "next_tick",
    "parse_when",
    "schedule_facts",
    "ticks_between",
]
