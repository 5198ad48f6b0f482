"""The API of jobs below `/api/v1`: asking for them, seeing to them. Described in `vcache.server.jobs.description`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import SerializeError, StoreUnavailable, UsageError
from vcache.jobs.facts import job_facts, limits_facts, session_facts, stats_facts
from vcache.jobs.models import Limits
from vcache.jobs.states import ENDED, State
from vcache.kit.data import NamedTuple
from vcache.server.api.openapi import BASE
from vcache.server.api.problems import problem
from vcache.server.callers import Role
from vcache.server.jobs import stories, wishes
from vcache.server.jobs.answers import answered, received, sent, whole_number
from vcache.server.jobs.desk import require_role
from vcache.server.jobs.timetable import Timetable
from vcache.server.logs import shown
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.jobs.base import Queue
    from vcache.jobs.models import Job, Spec
    from vcache.server.dialect import Answer
    from vcache.server.exchange import Exchange
    from vcache.server.jobs.desk import JobDesk

__all__ = ["JobsApi"]

_RETRY_S: Final = 1
_MOST_WAIT_S: Final = 60
_PARTS: Final = ("jobs", "dead", "queues", "workers", "schedules")
_PATH: Final = re.compile(rf"{BASE}/({'|'.join(_PARTS)})(/.*)?", re.DOTALL)

Handler = Callable[["Exchange", Sequence[str]], Awaitable[None]]


class _Way(NamedTuple):
    """A path, and what answers each method of it, with who may ask."""

    path: re.Pattern[str]
    methods: Mapping[str, tuple[Role, Handler]]


class JobsApi:
    """What people and programs of their own ask of jobs."""

    name = "jobs"

    def __init__(self, desk: JobDesk) -> None:
        self._desk = desk
        timetable = Timetable(desk)
        reader, writer, builder = Role.READER, Role.WRITER, Role.BUILDER
        self._ways = [
            _way("/jobs", GET=(reader, self._list), POST=(writer, self._submit)),
            _way("/jobs/batch", POST=(writer, self._submit_all)),
            _way("/jobs/{}", GET=(reader, self._show), DELETE=(writer, self._cancel)),
            _way("/jobs/{}/retry", POST=(writer, self._retry)),
            _way("/jobs/{}/events", GET=(reader, self._events)),
            _way("/jobs/{}/log", GET=(reader, self._log)),
            _way("/dead", GET=(reader, self._list_dead), DELETE=(builder, self._purge)),
            _way("/dead/requeue", POST=(writer, self._requeue_dead)),
            _way("/queues/stats", GET=(reader, self._stats)),
            _way("/queues/limits", GET=(reader, self._limits)),
            _way("/queues/limits/{}", PUT=(builder, self._limit), DELETE=(builder, self._unlimit)),
            _way("/workers", GET=(reader, self._workers)),
            _way("/workers/{}", DELETE=(builder, self._end_worker)),
            _way("/schedules", GET=(reader, timetable.list_all)),
            _way(
                "/schedules/{}", GET=(reader, timetable.show), PUT=(writer, timetable.put),
                DELETE=(writer, timetable.remove),
            ),
            _way("/schedules/{}/pause", POST=(writer, timetable.pause)),
            _way("/schedules/{}/resume", POST=(writer, timetable.resume)),
            _way("/schedules/{}/run", POST=(writer, timetable.run_now)),
        ]  # fmt: skip

    def claims(self, path: str) -> bool:
        """Whether a path is the API's for jobs."""
        return path.startswith(BASE) and _PATH.fullmatch(path) is not None

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request.

        Raises:
            Refused: it is not done.
        """
        if exchange.caller.role < Role.READER:
            raise Refused(Refusal.UNAUTHENTICATED, "a token is needed: Authorization: Bearer TOKEN")
        methods, names = self._found(exchange.path)
        role, handler = methods.get("GET" if exchange.method == "HEAD" else exchange.method, (None, None))
        if role is None or handler is None:
            raise Refused(
                Refusal.METHOD, f"{exchange.method} {exchange.path}: one of {', '.join(_allowed(methods))}"
            )
        require_role(exchange.caller, role, f"{exchange.method} {exchange.path:.100}")
        if role > Role.READER:
            self._desk.require_write()
        try:
            await handler(exchange, names)
        except (UsageError, SerializeError) as error:  # of the queue: what it could not keep
            raise Refused(Refusal.MALFORMED, str(error)) from error
        except StoreUnavailable as error:
            raise Refused(Refusal.BUSY, str(error)) from error

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As a problem in JSON."""
        status, headers, body = problem(refused)
        if refused.kind is Refusal.METHOD:
            headers = [*headers, ("allow", ", ".join(_allowed(self._found(path)[0])))]
        elif refused.kind in (Refusal.CROWDED, Refusal.BUSY):
            headers = [*headers, ("retry-after", str(_RETRY_S))]
        return status, headers, body

    def _found(self, path: str) -> tuple[Mapping[str, tuple[Role, Handler]], Sequence[str]]:
        for way in self._ways:
            found = way.path.fullmatch(path)
            if found is not None:
                return way.methods, found.groups()
        raise Refused(Refusal.ABSENT, f"{path!r:.200} is nothing of the API")

    # -- jobs in -----------------------------------------------------------------------------

    async def _submit(self, exchange: Exchange, _: Sequence[str]) -> None:
        async with received(exchange, self._desk) as body:
            queue, now_ns = await self._queue_and_time(exchange)
            namespace, trace = exchange.caller.namespace, wishes.trace_of(exchange.header("traceparent"))

            def submit() -> tuple[str, bool]:
                spec = wishes.spec_of(wishes.body_of(body), now_ns=now_ns, namespace=namespace, trace=trace)
                known = _known(queue, [spec])
                (job_id,) = queue.submit([spec])
                is_new = job_id == spec.id and not known
                if is_new:
                    self._desk.took(exchange.caller, [spec], len(body))
                return job_id, is_new

            job_id, is_new = await self._desk.run(submit)
        exchange.outcome = "put"
        where = ("location", f"{BASE}/jobs/{job_id}")
        await answered(exchange, {"id": job_id, "is_new": is_new}, (where,), status=201 if is_new else 200)

    async def _submit_all(self, exchange: Exchange, _: Sequence[str]) -> None:
        async with received(exchange, self._desk) as body:
            queue, now_ns = await self._queue_and_time(exchange)
            namespace, trace = exchange.caller.namespace, wishes.trace_of(exchange.header("traceparent"))

            def submit() -> list[dict[str, object]]:
                listed, specs = wishes.batch_of(
                    wishes.body_of(body), now_ns=now_ns, namespace=namespace, trace=trace
                )
                known = _known(queue, specs)
                ids = dict(zip((spec.id for spec in specs), queue.submit(specs), strict=True))
                new = [spec for spec in specs if ids[spec.id] == spec.id and spec.id not in known]
                self._desk.took(exchange.caller, new, len(body))
                made = {spec.id for spec in new}
                return [{"id": ids[job_id], "is_new": job_id in made} for job_id in listed]

            jobs = await self._desk.run(submit)
        exchange.outcome = "put"
        is_new = any(job["is_new"] for job in jobs)
        await answered(exchange, {"jobs": jobs}, status=201 if is_new else 200)

    async def _queue_and_time(self, exchange: Exchange) -> tuple[Queue, int]:
        queue = await self._queue(exchange)
        return queue, await self._desk.run(queue.now_ns)

    # -- one job -----------------------------------------------------------------------------

    async def _show(self, exchange: Exchange, names: Sequence[str]) -> None:
        job = await self._job(exchange, names[0])
        wait_s = whole_number(exchange.query, "wait", 0, 0, _MOST_WAIT_S)
        if wait_s and job.state not in ENDED:
            watch = await self._desk.watch(exchange.caller.namespace)
            job = await stories.ended_within(watch, job, wait_s)
        await sent(exchange, await self._desk.run(lambda: shown.encoded(job_facts(job))))

    async def _cancel(self, exchange: Exchange, names: Sequence[str]) -> None:
        queue, job_id = await self._queue(exchange), names[0]
        why = exchange.query.get("why", "")
        done: Sequence[str] = await self._desk.run(lambda: queue.cancel([job_id], why=why))
        job = await self._job(exchange, job_id)
        if not done and job.state is not State.CANCELLED:
            raise Refused(Refusal.CONFLICT, f"job {job_id} is {job.state}: it cannot be cancelled any more")
        await self._changed(exchange, "cancel", done)
        await answered(exchange, {"cancelled": list(done)})

    async def _retry(self, exchange: Exchange, names: Sequence[str]) -> None:
        await exchange.discard()
        queue, job_id = await self._queue(exchange), names[0]
        keep = _flag(exchange.query, "keep_attempts")
        done: Sequence[str] = await self._desk.run(lambda: queue.requeue([job_id], keep_attempts=keep))
        job = await self._job(exchange, job_id)
        if not done:
            raise Refused(
                Refusal.CONFLICT,
                f"job {job_id} is {job.state}: dead and cancelled jobs, and those in retry, can be",
            )
        await self._changed(exchange, "requeue", done)
        await answered(exchange, job_facts(job, is_whole=False))

    async def _events(self, exchange: Exchange, names: Sequence[str]) -> None:
        job = await self._job(exchange, names[0])
        await stories.tell(exchange, self._desk, job)

    async def _log(self, exchange: Exchange, names: Sequence[str]) -> None:
        job = await self._job(exchange, names[0])
        await stories.log(exchange, self._desk, job)

    async def _job(self, exchange: Exchange, job_id: str) -> Job:
        queue = await self._queue(exchange)
        job: Job | None = (await self._desk.run(queue.get, [job_id]))[0]
        if job is None:
            raise Refused(Refusal.ABSENT, f"there is no job {job_id!r:.80}, or it is kept no longer")
        return job

    # -- many --------------------------------------------------------------------------------

    async def _list(self, exchange: Exchange, _: Sequence[str]) -> None:
        text = exchange.query.get("state")
        if text is None:
            raise Refused(Refusal.MALFORMED, f"say which: state={'|'.join(State)}")
        await self._answer_page(exchange, wishes.state_of(text))

    async def _list_dead(self, exchange: Exchange, _: Sequence[str]) -> None:
        await self._answer_page(exchange, State.DEAD)

    async def _answer_page(self, exchange: Exchange, state: State) -> None:
        limit, cursor = wishes.paging_of(exchange.query)
        kind, queue = exchange.query.get("kind", ""), await self._queue(exchange)

        def read() -> dict[str, object]:
            page = queue.list(state, kind=kind, cursor=cursor, limit=limit)
            return {"items": [job_facts(job, is_whole=False) for job in page.jobs], "next": page.next or None}

        await answered(exchange, await self._desk.run(read))

    async def _requeue_dead(self, exchange: Exchange, _: Sequence[str]) -> None:
        await exchange.discard()
        kind, keep = exchange.query.get("kind", ""), _flag(exchange.query, "keep_attempts")
        queue = await self._queue(exchange)

        def requeue() -> int:
            count, cursor = 0, ""
            while True:
                page = queue.list(State.DEAD, kind=kind, cursor=cursor, limit=1000)
                count += (
                    len(queue.requeue([job.id for job in page.jobs], keep_attempts=keep)) if page.jobs else 0
                )
                cursor = page.next
                if not cursor:
                    return count

        count = await self._desk.run(requeue)
        await self._desk.noted(exchange.caller, "requeue", f"{count} dead jobs")
        self._desk.nudge(exchange.caller.namespace)
        await answered(exchange, {"requeued": count})

    async def _purge(self, exchange: Exchange, _: Sequence[str]) -> None:
        kind, queue = exchange.query.get("kind", ""), await self._queue(exchange)
        state = wishes.state_of(exchange.query.get("state", "dead"), is_ended=True)
        before_ns = whole_number(exchange.query, "before_ns", -1, 0, (1 << 63) - 1)
        count = await self._desk.run(
            lambda: queue.purge(state, kind=kind, before_ns=None if before_ns < 0 else before_ns)
        )
        await self._desk.noted(exchange.caller, "purge", f"{count} {state} jobs")
        await answered(exchange, {"purged": count})

    # -- the queue ---------------------------------------------------------------------------

    async def _stats(self, exchange: Exchange, _: Sequence[str]) -> None:
        queue = await self._queue(exchange)
        facts = stats_facts(await self._desk.run(queue.stats))
        info = queue.info
        facts["queue"] = {"is_durable": info.is_durable, "namespace": exchange.caller.namespace}
        await answered(exchange, facts)

    async def _limits(self, exchange: Exchange, _: Sequence[str]) -> None:
        limits = await self._desk.run((await self._queue(exchange)).limits)
        await answered(exchange, {kind: limits_facts(each) for kind, each in sorted(limits.items())})

    async def _limit(self, exchange: Exchange, names: Sequence[str]) -> None:
        async with received(exchange, self._desk) as body:
            limits = wishes.limits_of(wishes.body_of(body))
        await self._set_limit(exchange, names[0], limits)

    async def _unlimit(self, exchange: Exchange, names: Sequence[str]) -> None:
        await self._set_limit(exchange, names[0], Limits())

    async def _set_limit(self, exchange: Exchange, kind: str, limits: Limits) -> None:
        queue = await self._queue(exchange)
        await self._desk.run(queue.limit, kind, limits)
        await self._desk.noted(exchange.caller, "limit", kind)
        await answered(exchange, limits_facts(limits))

    async def _workers(self, exchange: Exchange, _: Sequence[str]) -> None:
        sessions = await self._desk.run((await self._queue(exchange)).sessions)
        await answered(exchange, {"items": [session_facts(session) for session in sessions]})

    async def _end_worker(self, exchange: Exchange, names: Sequence[str]) -> None:
        queue, session = await self._queue(exchange), names[0]
        known = {each.id for each in await self._desk.run(queue.sessions)}
        if session not in known:
            raise Refused(Refusal.ABSENT, f"there is no worker with the session {session!r:.80}")
        lost: Sequence[str] = await self._desk.run(queue.end_session, session)
        self._desk.measures.lost(lost)
        await self._changed(exchange, "end-session", [session])
        await answered(exchange, {"given_back": list(lost)})

    # -- inside ------------------------------------------------------------------------------

    async def _queue(self, exchange: Exchange) -> Queue:
        return await self._desk.queue(exchange.caller.namespace)

    async def _changed(self, exchange: Exchange, action: str, ids: Sequence[str]) -> None:
        for job_id in ids[:1]:
            more = f" and {len(ids) - 1} after it" if len(ids) > 1 else ""
            await self._desk.noted(exchange.caller, action, job_id + more)
            self._desk.nudge(exchange.caller.namespace)


def _way(path: str, **methods: tuple[Role, Handler]) -> _Way:
    return _Way(re.compile(BASE + path.replace("{}", "([^/]+)")), methods)


def _allowed(methods: Mapping[str, object]) -> list[str]:
    return [*methods, "HEAD"] if "GET" in methods else list(methods)


def _flag(fields: Mapping[str, str], name: str) -> bool:
    text = fields.get(name, "false")
    if text not in ("true", "false"):
        raise Refused(Refusal.MALFORMED, f"{name}={text!r:.40}: true or false")
    return text == "true"


def _known(queue: Queue, specs: Sequence[Spec]) -> set[str]:
    """Which of these jobs are there already.

    Raises:
        Refused: another one has the id of one of them.
    """
    found: set[str] = set()
    for spec, job in zip(specs, queue.get([spec.id for spec in specs]), strict=True):
        if job is None:
            continue
        if (job.spec.kind, dict(job.spec.payload)) != (spec.kind, dict(spec.payload)):
            raise Refused(
                Refusal.CONFLICT, f"there is another job with the id {spec.id}, of the kind {job.kind!r:.80}"
            )
        found.add(spec.id)
    return found
