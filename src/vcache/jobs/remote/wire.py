"""What goes between a remote queue and its server: lists of plain values, in msgpack. Pure.

Each call is a POST of the list of its arguments; the answer is its value. What comes from the other side is checked
here, so that neither meets what it cannot be. It must not know HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from vcache.errors import DecodeError, EncodeError, UsageError
from vcache.jobs.base import (
    Cell,
    Claimed,
    Exchanged,
    Finished,
    KindTotals,
    Page,
    QueueInfo,
    QueueStats,
    Session,
)
from vcache.jobs.models import Failure, Job, Limits, Plain, Progress, Spec
from vcache.jobs.states import Event, State
from vcache.serialize.plain import pack_plain, unpack_plain

__all__ = [
    "CALLS",
    "PATH",
    "cells_of",
    "claimed_of",
    "exchanged_of",
    "finished_of",
    "info_of",
    "job_of",
    "limits_of",
    "listed",
    "pack",
    "page_of",
    "progress_of",
    "sent_claimed",
    "sent_exchanged",
    "sent_finished",
    "sent_job",
    "sent_spec",
    "sent_stats",
    "sessions_of",
    "spec_of",
    "stats_of",
    "texts_listed",
    "texts_of",
    "unpack",
]

PATH: Final = "/api/v1/queue/"
"""With what the paths of the calls begin."""

CALLS: Final = (
    "info", "now", "submit", "get", "list", "cancel", "requeue", "purge", "stats", "limit", "limits",
    "open-session", "exchange", "held", "report", "sessions", "end-session", "wait", "upkeep", "cells", "swap",
)  # fmt: skip
"""The names of the calls: the methods of `vcache.jobs.base.Queue`."""

_T = TypeVar("_T")

_SPEC: Final = (
    str, str, dict, int, int, int, int, float, int, str, float, list, str, list, str, str,
)  # fmt: skip
_SHORT: Final = 2  # id and kind are said
_USUAL: Final = 5  # all that most jobs say
_DEFAULTS: Final = Spec("", "")[_USUAL:]
_FAILURE: Final = (int, int, str, str, str, str)
_PROGRESS: Final = (float, float, str, int)
_LIMITS: Final = (float, float, int)
_SESSION: Final = (str, str, int, float, int, list)
_JOB: Final = (list, str, int, int, int, int, int, str, int, object, object, list, str)
_CLAIMED: Final = (list, int, int, int)
_FINISHED: Final = (list, str, object, object, float)


def pack(value: object) -> bytes:
    """A call's arguments, or its value, as bytes.

    Raises:
        UsageError: something in it has no such form.
    """
    try:
        return pack_plain(value)
    except EncodeError as error:
        raise UsageError(
            f"not made of None, bool, int (64 bits), float, str, bytes, lists and dicts: {error}"
        ) from None


def unpack(data: bytes) -> object:
    """What `pack` was given, in lists and dicts.

    Raises:
        DecodeError: it is damaged.
    """
    return unpack_plain(data)


# --- what both send ---------------------------------------------------------------------------


def sent_spec(spec: Spec, *, has_payload: bool = True) -> Sequence[object]:
    """A spec as a list, without the defaults at its end."""
    rest = spec[3:_USUAL] if spec[_USUAL:] == _DEFAULTS else spec[3:]
    return [spec[0], spec[1], dict(spec[2]) if has_payload else {}, *rest]


def sent_claimed(claimed: Claimed, *, has_payload: bool = True) -> Sequence[object]:
    """A claimed job as a list."""
    return [sent_spec(claimed.spec, has_payload=has_payload), *claimed[1:]]


def sent_job(job: Job | None) -> Sequence[object] | None:
    """A job as a list."""
    return None if job is None else [sent_spec(job.spec), *job[1:]]


def sent_finished(finished: Finished) -> Sequence[object]:
    """What a worker says of an attempt, without the payload: the server's queue has that."""
    return [sent_claimed(finished.claimed, has_payload=False), *finished[1:]]


def sent_exchanged(exchanged: Exchanged) -> Sequence[object]:
    """What an exchange brought, as a list."""
    return [
        [sent_claimed(claimed) for claimed in exchanged.claimed],
        list(exchanged.refused),
        list(exchanged.revoked),
        exchanged.next_due_s,
    ]


def sent_stats(stats: QueueStats) -> Sequence[object]:
    """What a queue holds, as a list."""
    return [
        _sent_counts(stats.waiting),
        stats.delayed,
        dict(stats.by_state),
        {kind: list(totals) for kind, totals in stats.totals.items()},
        stats.oldest_ns,
        list(stats.sessions),
        _sent_counts(stats.submitted),
    ]


def _sent_counts(counts: Mapping[tuple[str, int], int]) -> Sequence[object]:
    return [[kind, priority, count] for (kind, priority), count in counts.items()]


# --- what both read ---------------------------------------------------------------------------


def listed(value: object, of: Callable[[object], _T]) -> list[_T]:
    """A list of what one function reads.

    Raises:
        DecodeError: it is none.
    """
    if not isinstance(value, list):
        raise DecodeError(f"{value!r:.80} is no list")
    return [of(each) for each in value]


def texts_of(value: object) -> tuple[str, ...]:
    """A list of texts; raises as `listed`."""
    return tuple(listed(value, _text))


def texts_listed(value: object) -> list[str]:
    """The same, as a list."""
    return listed(value, _text)


def spec_of(value: object) -> Spec:
    """A spec; raises as `listed`."""
    fields = _fields(value, _SPEC, "job", least=_SHORT)
    if len(fields) > 11:
        fields[11] = texts_of(fields[11])
    if len(fields) > 13:
        fields[13] = texts_of(fields[13])
    return Spec(*fields)


def claimed_of(value: object) -> Claimed:
    """A claimed job; raises as `listed`."""
    spec, *rest = _fields(value, _CLAIMED, "claimed job")
    return Claimed(spec_of(spec), *rest)


def finished_of(value: object) -> Finished:
    """What a worker says of an attempt; raises as `listed`."""
    claimed, event, result, failure, delay_s = _fields(value, _FINISHED, "finished job")
    said = None if failure is None else Failure(*_fields(failure, _FAILURE, "failure"))
    return Finished(claimed_of(claimed), _word(Event, event), cast("Plain", result), said, delay_s)


def exchanged_of(value: object) -> Exchanged:
    """What an exchange brought; raises as `listed`."""
    claimed, refused, revoked, due = _fields(value, (list, list, list, object), "exchange")
    if due is not None and not isinstance(due, float | int):
        raise DecodeError(f"{due!r:.80} is no time")
    return Exchanged(listed(claimed, claimed_of), texts_listed(refused), texts_listed(revoked), due)


def job_of(value: object) -> Job | None:
    """A job, or that there is none; raises as `listed`."""
    if value is None:
        return None
    fields = _fields(value, _JOB, "job")
    fields[0], fields[1] = spec_of(fields[0]), _word(State, fields[1])
    if fields[9] is not None:
        fields[9] = progress_of(fields[9])
    fields[11] = tuple(Failure(*_fields(each, _FAILURE, "failure")) for each in fields[11])
    return Job(*fields)


def progress_of(value: object) -> Progress:
    """How far a job is; raises as `listed`."""
    return Progress(*_fields(value, _PROGRESS, "progress", least=1))


def limits_of(value: object) -> Limits:
    """Limits of a kind; raises as `listed`."""
    return Limits(*_fields(value, _LIMITS, "limits", least=0))


def info_of(value: object) -> QueueInfo:
    """What a queue is; raises as `listed`."""
    return QueueInfo(*_fields(value, (str, str, bool, bool), "queue"))


def page_of(value: object) -> Page:
    """A part of a list of jobs; raises as `listed`."""
    jobs, following = _fields(value, (list, str), "page")
    return Page([job for each in jobs if (job := job_of(each)) is not None], following)


def sessions_of(value: object) -> list[Session]:
    """Workers' processes; raises as `listed`."""
    return listed(value, _session)


def stats_of(value: object) -> QueueStats:
    """What a queue holds; raises as `listed`."""
    waiting, delayed, states, totals, oldest_ns, sessions, submitted = _fields(
        value, (list, int, dict, dict, int, list, list), "statistics"
    )
    return QueueStats(
        _counts(waiting),
        delayed,
        {_word(State, state): _number(count) for state, count in states.items()},
        {
            kind: KindTotals(*_fields(counts, (int,) * 6, "totals", least=0))
            for kind, counts in totals.items()
        },
        oldest_ns,
        sessions_of(sessions),
        _counts(submitted),
    )


def cells_of(value: object) -> Mapping[str, Cell]:
    """Cells by name; raises as `listed`."""
    if not isinstance(value, dict):
        raise DecodeError(f"{value!r:.80} is no dict of cells")
    return MappingProxyType(
        {name: Cell(*_fields(cell, (int, bytes), "cell")) for name, cell in value.items()}
    )


# --- checks -------------------------------------------------------------------------------------


def _fields(value: object, types: Sequence[type], what: str, *, least: int | None = None) -> list[Any]:
    """A list of values of these types. A whole number is a number."""
    if not isinstance(value, list) or not (len(types) if least is None else least) <= len(value) <= len(
        types
    ):
        raise DecodeError(f"no {what}: {value!r:.80}")
    if tuple(map(type, value)) == types[: len(value)]:  # as nearly always: at a third of the cost
        return value
    for each, kind in zip(value, types):  # noqa: B905 - those at the end may be left out
        if type(each) is not kind and kind is not object and not (kind is float and type(each) is int):
            raise DecodeError(f"no {what}: {each!r:.80} is no {kind.__name__}")
    return list(value)


def _session(value: object) -> Session:
    fields = _fields(value, _SESSION, "session")
    fields[5] = texts_of(fields[5])
    return Session(*fields)


def _counts(rows: Iterable[object]) -> dict[tuple[str, int], int]:
    found = [_fields(row, (str, int, int), "count") for row in rows]
    return {(kind, priority): count for kind, priority, count in found}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise DecodeError(f"{value!r:.80} is no text")
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise DecodeError(f"{value!r:.80} is no number")
    return value


_WORDS: Final = {kind: {each.value: each for each in kind} for kind in cast("Iterable[Any]", (Event, State))}


def _word(kind: type[_T], value: object) -> _T:
    found = _WORDS[kind].get(value) if isinstance(value, str) else None
    if found is None:
        raise DecodeError(f"{value!r:.80} is no {kind.__name__.lower()}")
    return cast("_T", found)
