"""What a caller says of a job, checked and put into a `Spec`: priorities, times, keys. Pure but for the clock.

It must not know queues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.errors import EncodeError, UsageError
from vcache.jobs.models import Payload, Plain, Priority, Spec
from vcache.kit.names import did_you_mean
from vcache.kit.units import nanoseconds, seconds

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = ["check_spec", "in_order", "made_spec", "priority_of", "unique_key"]

_Number = TypeVar("_Number", int, float)

_PRIORITIES: Final = {each.name.lower(): each for each in Priority}
_DICT: Final = "give a dict of the handler's arguments by name"


def priority_of(value: str | int) -> int:
    """A priority by its name or number.

    Raises:
        UsageError: there is no such one.
    """
    if isinstance(value, str):
        found = _PRIORITIES.get(value.lower())
        if found is None:
            raise UsageError(f"unknown priority {value!r:.80}{did_you_mean(value.lower(), _PRIORITIES)}")
        return int(found)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(Priority):
        raise UsageError(f"priority={value!r:.80}: give {', '.join(map(repr, _PRIORITIES))}, or 0 to 3")
    return int(value)


def made_spec(
    kind: str,
    payload: Payload | None,
    *,
    job_id: str,
    now_ns: int,
    priority: str | int,
    delay: float | str | timedelta | None,
    not_before: datetime | None,
    deadline: datetime | float | str | timedelta | None,
    timeout: float | str | timedelta | None,
    retries: int | None,
    unique: str | bool,
    unique_for: float | str | timedelta | None,
    after: Iterable[str],
    parent: str,
    tags: Iterable[str],
    namespace: str,
    trace: str,
) -> Spec:
    """The spec of what was said; see `vcache.jobs.front.Jobs.spec`.

    Raises:
        UsageError: something in it cannot mean anything.
    """
    if not isinstance(kind, str) or not kind:
        raise UsageError(f"kind={kind!r:.80}: give the name of a handler, such as 'email.send'")
    where = f"job {kind!r}"
    try:
        payload = {} if payload is None else payload
        _check_payload(payload)
        key = unique_key(kind, payload) if unique is True else unique or ""
        return Spec(
            job_id, kind, payload, priority_of(priority), now_ns,
            _start_ns(delay, not_before, now_ns),
            _deadline_ns(deadline, now_ns),
            _timeout_s(timeout),
            _retries(retries),
            _text("unique", key),
            _window_s(unique_for, key),
            _texts("after", after),
            _text("parent", parent),
            _texts("tags", tags),
            namespace,
            trace,
        )  # fmt: skip
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def check_spec(spec: Spec) -> None:
    """Refuse a spec that somebody made without `made_spec`, if its commonest fields are wrong.

    Raises:
        UsageError: they are.
    """
    if not (type(spec.kind) is str and spec.kind):
        raise UsageError(
            f"job of the kind {spec.kind!r:.80}: give the name of a handler, such as 'email.send'"
        )
    try:
        priority_of(spec.priority)
        _check_payload(spec.payload)
    except UsageError as error:
        raise UsageError(f"job {spec.kind!r}: {error}") from None


def unique_key(kind: str, payload: Payload) -> str:
    """The key of all jobs of a kind with an equal payload, whatever the order of its fields.

    Raises:
        UsageError: the payload is not made of plain values.
    """
    from vcache.hash import digest  # 10 ms, for who asks for it
    from vcache.serialize.plain import pack_plain

    try:
        packed = pack_plain([kind, _sorted(payload)])
    except EncodeError as error:
        raise UsageError(f"its payload has no digest: {error}") from None
    return f"{kind}:{digest(packed).hex()}"


def in_order(specs: list[Spec]) -> list[Spec]:
    """Specs such that each comes behind those of them that it is `after`.

    Raises:
        UsageError: some wait for each other.
    """
    if not any(spec.after for spec in specs):
        return specs
    by_id = {spec.id: spec for spec in specs}
    made: dict[str, Spec] = {}
    for spec in specs:
        trail = [spec.id]
        open_ids = {spec.id}
        while trail:
            top = by_id[trail[-1]]
            lacking = next((each for each in top.after if each in by_id and each not in made), None)
            if lacking is None:
                made[top.id] = top
                open_ids.discard(trail.pop())
            elif lacking in open_ids:
                raise UsageError(
                    f"job {top.kind!r} comes after {by_id[lacking].kind!r}, which comes after it: a cycle"
                )
            else:
                trail.append(lacking)
                open_ids.add(lacking)
    return list(made.values())


def _sorted(value: Plain) -> object:
    if isinstance(value, Mapping):
        return [{}, *([key, _sorted(value[key])] for key in sorted(value))]
    if isinstance(value, (list, tuple)):
        return [_sorted(each) for each in value]
    return value


def _check_payload(payload: object) -> None:
    if not isinstance(payload, Mapping):
        raise UsageError(f"its payload is {payload!r:.80}, a {type(payload).__name__}: {_DICT}")
    try:
        "".join(payload)
    except TypeError:
        wrong = next(name for name in payload if not isinstance(name, str))
        raise UsageError(f"its payload has the name {wrong!r:.80}, which is no text: {_DICT}") from None


def _start_ns(delay: float | str | timedelta | None, not_before: datetime | None, now_ns: int) -> int:
    if delay is not None and not_before is not None:
        raise UsageError(f"both delay={delay!r} and not_before={not_before!r}: give one of them")
    if not_before is not None:
        return _moment_ns("not_before", not_before)
    delay_ns = 0 if delay is None else _named("delay", lambda: nanoseconds(delay))
    return now_ns + delay_ns if delay_ns else 0


def _deadline_ns(deadline: datetime | float | str | timedelta | None, now_ns: int) -> int:
    if deadline is None:
        return 0
    if hasattr(deadline, "timestamp"):
        at_ns = _moment_ns("deadline", deadline)
    elif isinstance(deadline, str) and deadline.count("-") >= 2:
        from datetime import datetime

        try:
            at_ns = _moment_ns("deadline", datetime.fromisoformat(deadline))
        except ValueError as error:
            raise UsageError(f"deadline={deadline!r:.80}: {error}") from None
    else:
        at_ns = now_ns + _named("deadline", lambda: nanoseconds(deadline))
    if at_ns <= now_ns:
        raise UsageError(f"deadline={deadline!s:.80} is past already: no worker could start it")
    return at_ns


def _moment_ns(name: str, moment: object) -> int:
    """UTC epoch nanoseconds of a datetime that says its zone."""
    from datetime import UTC, datetime, timedelta

    if not isinstance(moment, datetime):
        raise UsageError(f"{name}={moment!r:.80}: give a datetime with a zone, such as datetime.now(UTC)")
    if moment.utcoffset() is None:
        raise UsageError(
            f"{name}={moment!s} says no zone, so nobody knows when that is: give {name}.astimezone() "
            "if it is local time, or datetime(…, tzinfo=UTC)"
        )
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _timeout_s(timeout: float | str | timedelta | None) -> float:
    if timeout is None:
        return 0.0
    timeout_s = float(_named("timeout", lambda: seconds(timeout)))
    if not timeout_s:
        raise UsageError("timeout=0: no attempt could end in time; leave it out for what the handler says")
    return timeout_s


def _retries(retries: int | None) -> int:
    if retries is None:
        return -1
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise UsageError(
            f"retries={retries!r:.80}: give how many attempts may follow a failed one, 0 for none"
        )
    return retries


def _window_s(unique_for: float | str | timedelta | None, key: str) -> float:
    if unique_for is None:
        return 0.0
    if not key:
        raise UsageError(
            f"unique_for={unique_for!r} without unique: give a key, or unique=True for the payload's"
        )
    window_s = float(_named("unique_for", lambda: seconds(unique_for)))
    if not window_s:
        raise UsageError("unique_for=0: leave it out for until the job has ended")
    return window_s


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name}={value!r:.80}: give a text")
    return value


def _texts(name: str, values: Iterable[str]) -> tuple[str, ...]:
    # A text alone is a list of letters: a slip that nobody would find.
    if isinstance(values, (str, bytes)):
        raise UsageError(f"{name}={values!r:.80}: give a list: [{values!r:.80}]")
    found = tuple(values)
    for each in found:
        if not isinstance(each, str) or not each:
            raise UsageError(f"{name} has {each!r:.80}: give texts")
    return found


def _named(name: str, read: Callable[[], _Number]) -> _Number:
    try:
        return read()
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
