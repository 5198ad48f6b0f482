"""Schedules over HTTP: made, shown, paused, fired by hand, removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import UsageError
from vcache.jobs.plainjson import jsonable, plain_of
from vcache.server.api.openapi import BASE
from vcache.server.jobs import wishes
from vcache.server.jobs.answers import answered, received
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.jobs.schedules import Schedule, Schedules
    from vcache.server.exchange import Exchange
    from vcache.server.jobs.desk import JobDesk

__all__ = ["Timetable"]

_WHEN: Final = (int, float, str)
_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    "kind": (str,), "when": (str,), "payload": (dict,), "zone": (str,), "priority": (str,), "misfire": (str,),
    "overlap": (str,), "spread": _WHEN, "timeout": _WHEN, "retries": (int,), "tags": (list,),
}  # fmt: skip


class Timetable:
    """Answers about schedules. Each change is noted."""

    def __init__(self, desk: JobDesk) -> None:
        self._desk = desk

    async def list_all(self, exchange: Exchange, _: Sequence[str]) -> None:
        """All of them, by name."""
        schedules = await self._schedules(exchange)
        found: list[Schedule] = await self._desk.run(schedules.list)
        await answered(exchange, {"items": [_facts(schedule) for schedule in found]})

    async def show(self, exchange: Exchange, names: Sequence[str]) -> None:
        """One of them."""
        schedules = await self._schedules(exchange)
        found: Schedule | None = await self._desk.run(schedules.get, names[0])
        if found is None:
            raise Refused(Refusal.ABSENT, f"there is no schedule {names[0]!r:.120}")
        await answered(exchange, _facts(found))

    async def put(self, exchange: Exchange, names: Sequence[str]) -> None:
        """Make or redefine one."""
        from vcache.jobs.schedules import make_schedule

        async with received(exchange, self._desk) as body:
            fields: dict[str, Any] = dict(
                wishes.fields_of(wishes.body_of(body), _FIELDS, needed=("kind", "when"))
            )
        payload = plain_of(fields.pop("payload", {}))
        if not isinstance(payload, dict):
            raise UsageError(f"payload={payload!r:.80} is no object")
        tags = fields.get("tags", ())
        wrong = next((tag for tag in tags if not isinstance(tag, str) or not tag), None)
        if wrong is not None:
            raise UsageError(f"tags has {wrong!r:.80}: give texts")
        made = make_schedule(names[0], fields.pop("kind"), payload, **fields)
        schedules = await self._schedules(exchange)
        known = await self._desk.run(schedules.get, names[0])
        kept: Schedule = await self._desk.run(schedules.put, made)
        await self._desk.noted(exchange.caller, "schedule", names[0])
        await answered(exchange, _facts(kept), status=201 if known is None else 200)

    async def remove(self, exchange: Exchange, names: Sequence[str]) -> None:
        """Forget one, not its jobs."""
        schedules = await self._schedules(exchange)
        if not await self._desk.run(schedules.remove, names[0]):
            raise Refused(Refusal.ABSENT, f"there is no schedule {names[0]!r:.120}")
        await self._desk.noted(exchange.caller, "unschedule", names[0])
        await exchange.answer(204)

    async def pause(self, exchange: Exchange, names: Sequence[str]) -> None:
        """Let ticks pass without a job."""
        await self._change(exchange, names[0], "pause")

    async def resume(self, exchange: Exchange, names: Sequence[str]) -> None:
        """Fire again."""
        await self._change(exchange, names[0], "resume")

    async def run_now(self, exchange: Exchange, names: Sequence[str]) -> None:
        """Submit its job at once."""
        await exchange.discard()
        schedules = await self._there(exchange, names[0])
        job_id: str = await self._desk.run(schedules.run_now, names[0])
        await self._desk.noted(exchange.caller, "run-schedule", names[0])
        where = ("location", f"{BASE}/jobs/{job_id}")
        await answered(exchange, {"id": job_id, "is_new": True}, (where,), status=201)

    async def _change(self, exchange: Exchange, name: str, action: str) -> None:
        await exchange.discard()
        schedules = await self._there(exchange, name)
        kept: Schedule = await self._desk.run(getattr(schedules, action), name)
        await self._desk.noted(exchange.caller, f"{action}-schedule", name)
        await answered(exchange, _facts(kept))

    async def _there(self, exchange: Exchange, name: str) -> Schedules:
        schedules = await self._schedules(exchange)
        if await self._desk.run(schedules.get, name) is None:
            raise Refused(Refusal.ABSENT, f"there is no schedule {name!r:.120}")
        return schedules

    async def _schedules(self, exchange: Exchange) -> Schedules:
        from vcache.jobs.schedules import Schedules  # what knows calendars is loaded when it is asked for

        return Schedules(await self._desk.queue(exchange.caller.namespace))


def _facts(schedule: Schedule) -> dict[str, object]:
    from vcache.jobs.schedules import schedule_facts

    facts = schedule_facts(schedule)
    return facts | {"payload": jsonable(facts["payload"])}
