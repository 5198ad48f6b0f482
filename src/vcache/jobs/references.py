"""Results of jobs in the payloads of those that come after them: references, and what they stand for.

It must not know flows, nor workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final, cast

from vcache.errors import UsageError
from vcache.jobs.models import Job, Payload, Plain, Spec
from vcache.jobs.states import State

if TYPE_CHECKING:
    from vcache.jobs.base import Queue

__all__ = ["REFERENCE", "parts_of", "resolved"]

REFERENCE: Final = "$result"
"""`{"$result": [ID, KEY, …]}` in a payload stands for the result of a job that it comes after, or a part of it."""

_AT_ONCE: Final = 1000  # jobs that one look asks for


def resolved(specs: Sequence[Spec], queue: Queue) -> list[Spec | UsageError]:
    """Specs with results where their payloads refer to some; an error for one that refers to what is not there.

    Only results of jobs that a spec is `after` are handed on: nobody reads others' by naming them.

    Raises:
        StoreError: the queue does not answer.
    """
    wanted = {each for spec in specs if spec.after for each in _wanted(spec)}
    jobs: dict[str, Job | None] = {}
    for part in parts_of(list(wanted)):
        jobs |= zip(part, queue.get(part), strict=True)
    return [_with_results(spec, jobs) if spec.after and jobs else spec for spec in specs]


def _wanted(spec: Spec) -> AbstractSet[str]:
    try:
        return _referred(spec.payload, frozenset(spec.after))
    except RecursionError:
        return frozenset()  # what is in there so deeply is no reference of a flow


def _with_results(spec: Spec, jobs: Mapping[str, Job | None]) -> Spec | UsageError:
    try:
        return spec._replace(payload=cast("Payload", _filled(spec.payload, frozenset(spec.after), jobs)))
    except UsageError as error:
        return error
    except RecursionError:
        return UsageError("its payload is nested too deeply to look for results in it")


def _filled(value: Plain, after: AbstractSet[str], jobs: Mapping[str, Job | None]) -> Plain:
    if isinstance(value, Mapping):
        reference = _reference(value, after)
        if reference is None:
            return {key: _filled(each, after, jobs) for key, each in value.items()}
        return _part_of(jobs.get(cast("str", reference[0])), reference)
    if isinstance(value, (list, tuple)):
        return [_filled(each, after, jobs) for each in value]
    return value


def _part_of(job: Job | None, reference: Sequence[Plain]) -> Plain:
    """What a reference stands for."""
    job_id, *path = cast("Sequence[str]", reference)
    if job is None or job.state is not State.COMPLETED:
        what = "is not kept any more" if job is None else f"is {job.state}"
        raise UsageError(f"it needs the result of job {job_id}, which {what}")
    found: Plain = job.result
    for key in path:
        try:
            found = found[key]  # type: ignore[index, call-overload]  # that is the question
        except (LookupError, TypeError):
            raise UsageError(
                f"it needs {''.join(f'[{each!r}]' for each in path)} of the result of job {job_id} ({job.kind}), "
                f"which has no {key!r}: {found!r:.120}"
            ) from None
    return found


def _referred(value: Plain, after: AbstractSet[str]) -> set[str]:
    """Ids of the jobs whose results a payload refers to."""
    if isinstance(value, Mapping):
        reference = _reference(value, after)
        if reference is not None:
            return {cast("str", reference[0])}
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return {each for item in value for each in _referred(item, after)}
    return set()


def _reference(value: Mapping[str, Plain], after: AbstractSet[str]) -> Sequence[Plain] | None:
    if len(value) != 1:
        return None
    found = value.get(REFERENCE)
    if not isinstance(found, (list, tuple)) or not found or not isinstance(found[0], str):
        return None
    return found if found[0] in after else None


def parts_of(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    """Ids, so many at a time as one look asks for."""
    return (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))
