"""Jobs as a program asks for them: submit, wait, look, cancel.

    with vcache.jobs.connect() as jobs:
        job_id = jobs.submit("email.send", {"to": "ann@example.com"}, delay="10s", retries=5)
        print(jobs.wait(job_id))

It must not know how queues keep jobs, nor who runs them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from vcache.errors import JobFailed, UsageError
from vcache.jobs.asking import check_spec, in_order, made_spec
from vcache.jobs.models import Job, Payload, Plain, Priority, Spec
from vcache.jobs.states import ENDED, State
from vcache.kit.clock import Deadline, Sleep
from vcache.kit.ids import uuid7
from vcache.kit.names import did_you_mean
from vcache.kit.units import seconds

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from vcache.jobs.base import Page, Queue, QueueStats
    from vcache.jobs.schedules import Schedules
    from vcache.jobs.workflow import Batch, Flow

__all__ = ["Jobs", "connect"]

_PART: Final = 5_000  # specs of one transaction: it holds up nobody for long
_SHORTEST_S: Final = 0.002
_LONGEST_S: Final = 0.25
_NO_PAYLOAD: Final = Spec("", "").payload
_PLAIN: Final = Spec("", "")[5:]
_PRIORITIES: Final = range(len(Priority))
_TEXT: Final = frozenset((str,))


def connect(address: str | os.PathLike[str] | None = None, *, namespace: str = "") -> Jobs:
    """The jobs of the queue at an address.

    Args:
        address: `redis://HOST:PORT/DB`, `sqlite:DIR` or a directory alone, `https://HOST` of a
            `vcache serve`, `mem:`; the one of the setting `queue` when left out.
        namespace: whose jobs: those of one never meet those of another.

    Raises:
        ConfigError: the address makes no sense, or its library is not installed.
        StoreError: the queue cannot be opened.
    """
    from vcache.jobs.opening import default_address, open_queue

    return Jobs(open_queue(default_address() if address is None else address, namespace=namespace))


class Jobs:
    """What a program does with a queue; closes it at the end.

    Args:
        queue: where the jobs are kept.
        sleep: lets time pass between looks at a job that is waited for.

    Threads: every operation.
    """

    def __init__(self, queue: Queue, *, sleep: Sleep = time.sleep) -> None:
        self.queue: Final = queue
        self.sleep: Final = sleep
        self._began_in: Final = os.environ.get("TRACEPARENT", "")  # looked for once: it takes a microsecond

    def spec(
        self,
        kind: str | Callable[..., object],
        payload: Payload | None = None,
        *,
        priority: str | int | None = None,
        delay: float | str | timedelta | None = None,
        not_before: datetime | None = None,
        deadline: datetime | float | str | timedelta | None = None,
        timeout: float | str | timedelta | None = None,
        retries: int | None = None,
        unique: str | bool | None = None,
        unique_for: float | str | timedelta | None = None,
        after: Iterable[str] = (),
        parent: str = "",
        tags: Iterable[str] = (),
        trace: str = "",
    ) -> Spec:
        """A job that may be submitted, such as with others by `submit_many`. It has its id already.

        Args:
            kind: which handler is to run it; or the function with `@job`, which may say `priority` and
                `unique` of its own.
            payload: the handler's arguments by name, of plain values: None, bool, int, float, str, bytes,
                lists and dicts of them.
            priority: "critical", "high", "medium" or "low"; "medium" when left out.
            delay: how long to wait before it may start: seconds, or "10s", "5m", "1h30m".
            not_before: when it may start, in place of a delay.
            deadline: when it must have started, or how long from here on; later it is dead.
            timeout: how long an attempt may take; what the handler says when left out.
            retries: how many attempts may follow a failed one; what the handler says when left out.
            unique: a key: while a job with it has not ended, no second one is made. True for one made of
                kind and payload.
            unique_for: for so long from here on the key is taken, in place of until the job has ended.
            after: ids of jobs that must have completed before.
            parent: id of what it belongs to.
            tags: what it can be found by.
            trace: the W3C `traceparent` of who asks; the current one when left out.

        Raises:
            UsageError: something in it cannot mean anything.
        """
        if not isinstance(kind, str):
            kind, priority, unique = _handlers_wish(kind, priority, unique)
        priority, unique = "medium" if priority is None else priority, unique or False
        return made_spec(
            kind, payload, job_id=uuid7.text(), now_ns=self.queue.now_ns(), priority=priority, delay=delay,
            not_before=not_before, deadline=deadline, timeout=timeout, retries=retries, unique=unique,
            unique_for=unique_for, after=after, parent=parent, tags=tags,
            namespace=self.queue.info.namespace, trace=trace or self._trace(),
        )  # fmt: skip

    def submit(
        self,
        kind: str | Callable[..., object],
        payload: Payload | None = None,
        *,
        priority: str | int | None = None,
        delay: float | str | timedelta | None = None,
        not_before: datetime | None = None,
        deadline: datetime | float | str | timedelta | None = None,
        timeout: float | str | timedelta | None = None,
        retries: int | None = None,
        unique: str | bool | None = None,
        unique_for: float | str | timedelta | None = None,
        after: Iterable[str] = (),
        parent: str = "",
        tags: Iterable[str] = (),
        trace: str = "",
    ) -> str:
        """Ask for a job, with what `spec` takes; its id, or that of the one which has its unique key.

        Raises:
            UsageError: something in it cannot mean anything.
            StoreError: it is not kept, as far as can be known.
        """
        spec = self.spec(
            kind, payload, priority=priority, delay=delay, not_before=not_before, deadline=deadline,
            timeout=timeout, retries=retries, unique=unique, unique_for=unique_for, after=after,
            parent=parent, tags=tags, trace=trace,
        )  # fmt: skip
        return self.queue.submit((spec,))[0]

    def _trace(self) -> str:
        """The trace of who asks: of OpenTelemetry where the program has it, else of who started the process."""
        api = sys.modules.get("opentelemetry.trace")
        if api is not None:
            context = api.get_current_span().get_span_context()
            if context.is_valid:
                return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        return self._began_in

    def submit_many(self, specs: Iterable[Spec]) -> list[str]:
        """Ask for many jobs; their ids in order, as `submit` gives them.

        They are kept in parts of 5,000: where one fails, those before it are kept, and asking again for the
        same specs makes none of them twice. A spec without an id, such as `Spec("", "email.send", {…})`, is
        given one.

        Raises:
            UsageError: a spec that no queue could keep, or jobs of a part that wait for each other.
            StoreError: see above.
        """
        rest = iter(specs)
        ids: list[str] = []
        while part := list(islice(rest, _PART)):
            whole = self._filled(part)
            ordered = in_order(whole)
            got = self.queue.submit(ordered)
            if ordered is not whole:
                by_id = dict(zip([spec.id for spec in ordered], got, strict=True))
                got = [by_id[spec.id] for spec in whole]
            ids += got
        return ids

    def _filled(self, specs: list[Spec]) -> list[Spec]:
        """Specs with what bulk ones leave out."""
        now_ns = self.queue.now_ns()
        ids = iter(uuid7.texts(sum(1 for spec in specs if not spec[0])))
        namespace, trace = self.queue.info.namespace, self._trace()
        is_bare = not (namespace or trace)
        filled = []
        for spec in specs:
            job_id, kind, payload, priority, created_ns = spec[:5]
            if payload is _NO_PAYLOAD:
                payload = {}  # checked and packed in a quarter of the time
            is_usual = type(payload) is dict and type(kind) is str and priority in _PRIORITIES
            if not (is_usual and kind and _TEXT.issuperset(map(type, payload))):
                check_spec(spec)  # which takes as long as all the rest
            job_id = job_id or next(ids)
            created_ns = created_ns or now_ns
            if is_bare and spec[5:] == _PLAIN:
                filled.append(Spec(job_id, kind, payload, priority, created_ns))
                continue
            filled.append(
                spec._replace(
                    id=job_id,
                    created_ns=created_ns,
                    namespace=spec.namespace or namespace,
                    trace=spec.trace or trace,
                )
            )
        return filled

    def get(self, job_id: str) -> Job | None:
        """A job; None for one that is not known (any more)."""
        return self.queue.get((job_id,))[0]

    def wait(self, job_id: str, timeout_s: float | None = None) -> Plain:
        """What a job's handler returned, once it has.

        Raises:
            JobFailed: it is dead or cancelled, or was forgotten before it was seen to end.
            UsageError: no such job is known.
            TimeoutError: it has not ended within that time.
        """
        deadline = Deadline(timeout_s)
        pause_s = _SHORTEST_S
        job = self.get(job_id)
        if job is None:
            raise UsageError(
                f"job {job_id!r:.80} is not known: it was never asked for here, or was forgotten"
            )
        while job.state not in ENDED:
            if deadline.is_past:
                raise TimeoutError(f"job {job_id} ({job.kind}) is {job.state} after {timeout_s:g} s")
            self.sleep(deadline.remaining_s(pause_s))
            pause_s = min(pause_s * 1.5, _LONGEST_S)
            found = self.get(job_id)
            if found is None:
                raise JobFailed(f"job {job_id} ({job.kind}) was forgotten before its result was seen")
            job = found
        if job.state is State.COMPLETED:
            return job.result
        raise JobFailed(_obituary(job))

    def cancel(self, ids: str | Iterable[str], *, why: str = "") -> list[str]:
        """Cancel a job, or several, and what waits for them; the ids of those now cancelled."""
        return list(self.queue.cancel(_ids(ids), why=why))

    def requeue(self, ids: str | Iterable[str], *, keep_attempts: bool = False) -> list[str]:
        """Let dead, cancelled and failed jobs run now; the ids of those that will."""
        return list(self.queue.requeue(_ids(ids), keep_attempts=keep_attempts))

    def list(self, state: State | str, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        """Jobs of a state; `page.next` is the cursor of what follows."""
        return self.queue.list(_state(state), kind=kind, cursor=cursor, limit=limit)

    def each(self, state: State | str, *, kind: str = "") -> Iterator[Job]:
        """All jobs of a state, page by page."""
        cursor = ""
        while True:
            page = self.list(state, kind=kind, cursor=cursor, limit=1000)
            yield from page.jobs
            cursor = page.next
            if not cursor:
                return

    def stats(self) -> QueueStats:
        """What the queue holds."""
        return self.queue.stats()

    def purge(
        self, state: State | str, *, kind: str = "", older_than: float | str | timedelta | None = None
    ) -> int:
        """Forget jobs that are completed, dead or cancelled; how many.

        Args:
            older_than: only those that ended before, such as "7d".
        """
        before_ns = None if older_than is None else self.queue.now_ns() - round(seconds(older_than) * 1e9)
        return self.queue.purge(_state(state), kind=kind, before_ns=before_ns)

    def flow(self, *, parent: str = "") -> Flow:
        """Steps that wait for each other, to be submitted together."""
        from vcache.jobs.workflow import Flow  # few programs have any

        return Flow(self, parent=parent)

    def batch(self, ids: Iterable[str]) -> Batch:
        """Jobs to be looked at, waited for or cancelled together."""
        from vcache.jobs.workflow import Batch

        return Batch(self, list(ids))

    @property
    def schedules(self) -> Schedules:
        """What time brings: make, look at, pause and remove schedules. `Scheduler(jobs.queue)` fires them."""
        from vcache.jobs.schedules import Schedules

        return Schedules(self.queue)

    def close(self) -> None:
        """Release the queue. May be called again."""
        self.queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _state(state: State | str) -> State:
    try:
        return State(state)
    except ValueError:
        raise UsageError(
            f"no state of jobs: {state!r:.80}{did_you_mean(str(state), map(str, State))}"
        ) from None


def _handlers_wish(
    function: object, priority: str | int | None, unique: str | bool | None
) -> tuple[str, str | int, str | bool]:
    """Kind, priority and key of a job that is asked for by its handler."""
    from vcache.jobs.handlers import handler_of  # most ask by name, and have no handlers

    handler = handler_of(function)
    if handler is None:
        raise UsageError(
            f"kind={function!r:.80}: give the name of a handler, such as 'email.send', or a function with @job"
        )
    return (
        handler.kind,
        handler.priority if priority is None else priority,
        handler.unique if unique is None else unique,
    )


def _ids(ids: str | Iterable[str]) -> tuple[str, ...]:
    return (ids,) if isinstance(ids, str) else tuple(ids)


def _obituary(job: Job) -> str:
    said = f"job {job.id} ({job.kind}) is {job.state} after {job.attempts} attempts"
    last = job.failures[-1] if job.failures else None
    why = job.why or (f"{last.reason}: {last.message}" if last else "")
    said += f": {why}" if why else ""
    return f"{said}\n{last.traceback}" if last and last.traceback else said
