"""What is to be done about a schedule at a moment. Pure.

A tick is fired by whoever changes the schedule's cell first, with the job in the same transaction. The job's
id is made of the schedule's name and the tick besides, so that a tick that comes again, as after the clock was set
back by hours, is a job that the queue knows already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vcache.hash import digest
from vcache.jobs.schedules.models import Misfire, Overlap, Schedule
from vcache.jobs.schedules.when import When, ticks_between
from vcache.kit.data import NamedTuple
from vcache.kit.ids import share_of
from vcache.kit.units import format_duration

__all__ = ["GRACE_NS", "MOST_AT_ONCE", "Decision", "Tick", "decide", "job_id_of"]

_NS: Final = 1_000_000_000
GRACE_NS: Final = 60 * _NS  # a tick seen later than this was missed
MOST_AT_ONCE: Final = 100
_CORRECTION_NS: Final = 3 * 3600 * _NS  # from there on a clock was wrong before, says Debian's cron


class Tick(NamedTuple):
    """A tick that fires: its job's id, and how much later than now that may start."""

    at_ns: int
    job_id: str
    delay_ns: int


class Decision(NamedTuple):
    """What the schedule is to become, the jobs that go with it, and what a person should hear of; "" for nothing."""

    schedule: Schedule
    ticks: Sequence[Tick]
    remark: str = ""


def decide(
    schedule: Schedule,
    when: When,
    *,
    now_ns: int,
    queue_ns: int,
    namespace: str = "",
    is_last_alive: bool = False,
) -> Decision | None:
    """What is to be done; None for nothing.

    Args:
        now_ns: by the wall clock.
        queue_ns: by the queue's, which no one sets: a wall clock alone is not believed that hours did not happen.
        is_last_alive: the schedule's last job has not ended.
    """
    if schedule.is_paused:
        return None
    if max(now_ns, queue_ns) < schedule.done_ns - _CORRECTION_NS:
        ahead = format_duration((schedule.done_ns - now_ns) / _NS)
        remark = (
            f"its last tick is {ahead} ahead of the clock, which must have been set back: it goes on from now"
        )
        return Decision(schedule._replace(done_ns=now_ns), (), remark)
    found, is_all = ticks_between(when, schedule.done_ns, now_ns, most=MOST_AT_ONCE)
    if not found:
        return None
    fired = _fired(schedule, found, now_ns)
    n_skipped = 0
    if fired and is_last_alive and schedule.overlap is Overlap.SKIP:
        fired, n_skipped = [], len(fired)
    n_missed = len(found) - len(fired) - n_skipped
    ticks = [_tick(schedule, at_ns, now_ns, namespace) for at_ns in fired]
    changed = schedule._replace(
        done_ns=found[-1],
        last_job=ticks[-1].job_id if ticks else schedule.last_job,
        n_fired=schedule.n_fired + len(ticks),
        n_missed=schedule.n_missed + n_missed,
        n_skipped=schedule.n_skipped + n_skipped,
    )
    is_late = now_ns - found[0] > GRACE_NS
    return Decision(changed, ticks, _remark(len(found), len(ticks), is_all=is_all) if is_late else "")


def job_id_of(namespace: str, name: str, at_ns: int) -> str:
    """The id of the job of a tick: a UUIDv7 of the tick's time that is the same for whoever makes it."""
    words = [namespace.encode(), name.encode(), str(at_ns).encode()]
    drawn = int.from_bytes(
        digest(b"".join(len(word).to_bytes(4, "big") + word for word in words))[:10], "big"
    )
    number = (at_ns // 1_000_000 & (1 << 48) - 1) << 80 | 0x7 << 76 | (drawn >> 62 & 0xFFF) << 64
    digits = f"{number | 0b10 << 62 | drawn & (1 << 62) - 1:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _fired(schedule: Schedule, ticks: list[int], now_ns: int) -> list[int]:
    if schedule.misfire is Misfire.ALL:
        return ticks
    is_late = now_ns - ticks[-1] > GRACE_NS
    return [] if is_late and schedule.misfire is Misfire.SKIP else ticks[-1:]


def _tick(schedule: Schedule, at_ns: int, now_ns: int, namespace: str) -> Tick:
    later_ns = round(share_of(schedule.name, str(at_ns)) * schedule.spread_s * _NS)
    return Tick(at_ns, job_id_of(namespace, schedule.name, at_ns), max(0, at_ns + later_ns - now_ns))


def _remark(n_found: int, n_fired: int, *, is_all: bool) -> str:
    count = f"{n_found}{'' if is_all else ' or more'}"
    return f"nobody was there for {count} of its ticks: {n_fired or 'none'} fired late"
