"""Several jobs as one: steps that wait for each other, and hand their results on.

    flow = jobs.flow()
    parts = flow.map("page.fetch", [{"url": url} for url in urls])
    flow.job("pages.count", {"pages": [part.result for part in parts]})
    flow.submit()

A flow exists for who makes it only: a queue knows jobs that come after others. It must not know how
queues keep them, nor who runs them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from vcache.dag.graph import topological
from vcache.errors import GraphError, JobFailed, UsageError
from vcache.jobs.models import Payload, Plain, Spec
from vcache.jobs.references import REFERENCE, parts_of
from vcache.jobs.states import ENDED, State
from vcache.kit.clock import Deadline, Sleep
from vcache.kit.ids import uuid7

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from vcache.jobs.base import Queue

__all__ = ["Batch", "Flow", "Result", "Step"]

_SHORTEST_S: Final = 0.002
_LONGEST_S: Final = 0.25
_AT_ONCE: Final = 1000  # jobs that one look asks for


class Asking(Protocol):
    """What flows need of `vcache.jobs.Jobs`, which makes them."""

    @property
    def queue(self) -> Queue: ...

    @property
    def sleep(self) -> Sleep: ...

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
        parent: str = "",
        tags: Iterable[str] = (),
    ) -> Spec: ...

    def wait(self, job_id: str) -> Plain: ...

    def cancel(self, ids: Iterable[str], *, why: str = "") -> list[str]: ...


class Result:
    """What a step will have returned, to stand in the payload of a later one. `result["size"]` is a part of it."""

    __slots__ = ("path", "step")

    def __init__(self, step: Step, path: tuple[str | int, ...] = ()) -> None:
        self.step = step
        self.path = path

    def __getitem__(self, key: str | int) -> Result:
        return Result(self.step, (*self.path, key))

    def __iter__(self) -> Iterator[Result]:
        raise UsageError("a result is not there yet: it can be handed on, not looped over")

    def __repr__(self) -> str:
        return f"<the result of {self.step}>"


class Step:
    """A job of a flow."""

    __slots__ = ("_before", "_flow", "id", "number", "spec")

    def __init__(self, flow: Flow, number: int, spec: Spec) -> None:
        self._flow = flow
        self._before: list[Step] = []
        self.number: Final = number
        self.spec = spec
        self.id = ""
        """The job's id, once the flow was submitted."""

    def after(self, *others: Step | str) -> Step:
        """Wait for other steps to complete, or for jobs by their ids; this step.

        Raises:
            UsageError: a step of another flow, which has not been submitted: its job has no id yet.
        """
        for other in others:
            if isinstance(other, Step) and other._flow is self._flow:
                self._before.append(other)
                continue
            job_id = other.id if isinstance(other, Step) else other
            if not job_id:
                raise UsageError(f"{self} cannot come after {other} of another flow: submit that one first")
            self.spec = self.spec._replace(after=(*self.spec.after, job_id))
        return self

    @property
    def result(self) -> Result:
        """What it will have returned: put it into the payload of a later step, which comes after this one then."""
        return Result(self)

    @property
    def before(self) -> Sequence[Step]:
        """The steps that it waits for."""
        return self._before

    def __str__(self) -> str:
        return f"{self.spec.kind} (step {self.number})"


class Batch:
    """Jobs that are looked at together.

    Args:
        ids: of all of them, what waits behind what it waits for.
    """

    def __init__(self, jobs: Asking, ids: Sequence[str]) -> None:
        self._jobs = jobs
        self.ids: Final = tuple(ids)

    def counts(self) -> Mapping[State, int]:
        """How many are in each state. Those that are forgotten have completed."""
        found: Counter[State] = Counter()
        for part in parts_of(self.ids):
            found.update(State.COMPLETED if job is None else job.state for job in self._jobs.queue.get(part))
        return found

    def wait(self, timeout_s: float | None = None) -> list[Plain]:
        """What all of them returned, in the order of their ids, once they have.

        Raises:
            JobFailed: one of them is dead or cancelled, or was forgotten before it was seen to end.
            TimeoutError: some have not ended within that time.
        """
        deadline = Deadline(timeout_s)
        pause_s = _SHORTEST_S
        results: dict[str, Plain] = {}
        waiting = deque(self.ids)
        while waiting:
            # Those that have not ended go to the end, so that all are looked at in turn.
            part = [waiting.popleft() for _ in range(min(_AT_ONCE, len(waiting)))]
            ended = self._ended(part)
            results |= ended
            waiting += [each for each in part if each not in ended]
            if len(ended) == len(part):
                continue
            if deadline.is_past:
                raise TimeoutError(
                    f"{len(waiting)} of {len(self.ids)} jobs have not ended after {timeout_s:g} s"
                )
            pause_s = _SHORTEST_S if ended else min(pause_s * 1.5, _LONGEST_S)
            self._jobs.sleep(deadline.remaining_s(pause_s))
        return [results[each] for each in self.ids]

    def cancel(self, *, why: str = "") -> list[str]:
        """Cancel all that have not ended; the ids of those now cancelled."""
        return self._jobs.cancel(self.ids, why=why)

    def _ended(self, ids: Sequence[str]) -> dict[str, Plain]:
        found = dict(zip(ids, self._jobs.queue.get(ids), strict=True))
        gone = [each for each, job in found.items() if job is None]
        if gone:
            raise JobFailed(f"job {gone[0]} was forgotten before its result was seen")
        ended = [job for job in found.values() if job is not None and job.state in ENDED]
        failed = [job for job in ended if job.state is not State.COMPLETED]
        if failed:
            # A dead one is why those behind it are cancelled.
            self._jobs.wait(min(failed, key=lambda job: job.state is not State.DEAD).id)
        return {job.id: job.result for job in ended if job.state is State.COMPLETED}


class Flow:
    """Steps that are submitted together, all or none.

    Args:
        parent: of what all of them are part; the flow's own id when left out.

    Threads: one.
    """

    def __init__(self, jobs: Asking, *, parent: str = "") -> None:
        self._jobs = jobs
        self.id: Final = parent or uuid7.text()
        """The parent of its jobs."""
        self.steps: Final[list[Step]] = []
        self._batch: Batch | None = None

    def job(
        self,
        kind: str | Callable[..., object],
        payload: Mapping[str, object] | None = None,
        *,
        priority: str | int | None = None,
        delay: float | str | timedelta | None = None,
        not_before: datetime | None = None,
        deadline: datetime | float | str | timedelta | None = None,
        timeout: float | str | timedelta | None = None,
        retries: int | None = None,
        tags: Iterable[str] = (),
    ) -> Step:
        """A further step, with what `Jobs.spec` takes. Its payload may hold results of others.

        Raises:
            UsageError: something in it cannot mean anything.
        """
        if self._batch is not None:
            raise UsageError(f"step {kind!r}: this flow was submitted, make another one")
        spec = self._jobs.spec(
            kind, cast("Payload | None", payload), priority=priority, delay=delay, not_before=not_before,
            deadline=deadline, timeout=timeout, retries=retries, tags=tags, parent=self.id, unique=False,
        )  # fmt: skip
        step = Step(self, len(self.steps) + 1, spec)
        step.after(*dict.fromkeys(result.step for result in _results(payload or {})))
        self.steps.append(step)
        return step

    def map(
        self,
        kind: str | Callable[..., object],
        payloads: Iterable[Mapping[str, object]],
        *,
        priority: str | int | None = None,
        timeout: float | str | timedelta | None = None,
        retries: int | None = None,
    ) -> list[Step]:
        """A step for each of some payloads."""
        return [
            self.job(kind, payload, priority=priority, timeout=timeout, retries=retries)
            for payload in payloads
        ]

    def submit(self) -> list[str]:
        """Ask for all of it, in one transaction; the ids of its jobs, each behind those it waits for.

        May be called again after a StoreError: no job is made twice.

        Raises:
            GraphError: steps wait for each other; it names them.
            UsageError: a payload that no queue could keep.
            StoreError: nothing is kept, as far as can be known.
        """
        if self._batch is None:
            order = self._order()
            for step, job_id in zip(order, uuid7.texts(len(order)), strict=True):
                step.id = step.id or job_id
            self._jobs.queue.submit([_whole(step) for step in order])
            self._batch = Batch(self._jobs, [step.id for step in order])
        return list(self._batch.ids)

    def wait(self, timeout_s: float | None = None) -> dict[Step, Plain]:
        """What each step returned, once all have.

        Raises:
            JobFailed: one of them is dead or cancelled.
            TimeoutError: some have not ended within that time.
        """
        batch = self._submitted()
        results = dict(zip(batch.ids, batch.wait(timeout_s), strict=True))
        return {step: results[step.id] for step in self.steps}

    def counts(self) -> Mapping[State, int]:
        """How many of its jobs are in each state."""
        return self._submitted().counts()

    def cancel(self, *, why: str = "") -> list[str]:
        """Cancel all that have not ended; the ids of those now cancelled."""
        return self._submitted().cancel(why=why)

    def _order(self) -> list[Step]:
        try:
            return topological(self.steps, lambda step: step.before)
        except GraphError as error:
            # A graph leads from a step to those that it waits for.
            raise GraphError(f"steps of a flow wait for each other: {error}") from None

    def _submitted(self) -> Batch:
        if self._batch is None:
            raise UsageError("this flow was not submitted yet: call its submit() first")
        return self._batch


def _whole(step: Step) -> Spec:
    """A step's spec, with ids in place of steps."""
    after = dict.fromkeys((*step.spec.after, *(each.id for each in step.before)))
    payload = cast("Payload", _named(step.spec.payload))
    return step.spec._replace(id=step.id, payload=payload, after=tuple(after))


def _named(value: object) -> object:
    if isinstance(value, Result):
        return {REFERENCE: [value.step.id, *value.path]}
    if isinstance(value, Mapping):
        return {key: _named(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_named(each) for each in value]
    return value


def _results(value: object) -> Iterable[Result]:
    if isinstance(value, Result):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _results(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _results(each)
