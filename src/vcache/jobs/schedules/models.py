"""What a schedule is, and its packed form (docs/design/jobs.md). Frozen data, no I/O.

It must not know where schedules are kept, nor who fires them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, cast

from vcache.errors import DecodeError, FormatError, UsageError
from vcache.jobs.asking import made_spec
from vcache.jobs.models import Payload, Priority
from vcache.jobs.packing import pack_spec
from vcache.jobs.schedules.when import next_after, parse_when
from vcache.kit.data import NamedTuple
from vcache.kit.names import did_you_mean
from vcache.kit.units import seconds
from vcache.serialize.plain import pack_plain, unpack_plain

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = [
    "Misfire",
    "Overlap",
    "Schedule",
    "make_schedule",
    "pack_schedule",
    "schedule_facts",
    "unpack_schedule",
]

FORMAT: Final = 1
W = TypeVar("W", bound=StrEnum)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class Misfire(StrEnum):
    """What becomes of ticks that nobody saw in time: no scheduler ran, or the clock was set forward."""

    SKIP = "skip"
    """Nothing."""
    ONCE = "once"
    """One job for all of them together, that of the last."""
    ALL = "all"
    """A job for each, of the last hundred."""


class Overlap(StrEnum):
    """What becomes of a tick while the job of the one before has not ended."""

    SKIP = "skip"
    """Nothing: it is counted as skipped."""
    ALLOW = "allow"
    """It has its job all the same."""


class Schedule(NamedTuple):
    """What is to be submitted when, and how far that has come.

    Attributes:
        kind, payload, priority, timeout_s, retries, tags: of its jobs, see `Spec`.
        when: see `parse_when`.
        zone: whose clock that goes by.
        spread_s: each job starts up to so much later than its tick, differently for each.
        is_paused: ticks pass without a job.
        done_ns: all ticks up to this one are decided.
        last_job: id of the newest job; "" where there was none.
        n_fired: jobs, until now.
        n_missed: ticks without one, since nobody saw them in time.
        n_skipped: ticks without one, since the job before had not ended.
        created_ns: when the schedule was made.
        others: what a newer version of this format says beside, kept as it is.
    """

    name: str
    kind: str
    when: str
    payload: Payload = MappingProxyType({})
    zone: str = "UTC"
    priority: int = Priority.MEDIUM
    misfire: Misfire = Misfire.ONCE
    overlap: Overlap = Overlap.SKIP
    spread_s: float = 0.0
    timeout_s: float = 0.0
    retries: int = -1
    tags: tuple[str, ...] = ()
    is_paused: bool = False
    done_ns: int = 0
    last_job: str = ""
    n_fired: int = 0
    n_missed: int = 0
    n_skipped: int = 0
    created_ns: int = 0
    others: Mapping[str, object] = _NOTHING


_STATE: Final = (
    "is_paused",
    "done_ns",
    "last_job",
    "n_fired",
    "n_missed",
    "n_skipped",
    "created_ns",
    "others",
)
_DEFAULTS: Final = Schedule("", "", "")._asdict()
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("kind", "when", "zone", "misfire", "overlap", "last_job"), (str,)),
    **dict.fromkeys(
        ("priority", "retries", "done_ns", "n_fired", "n_missed", "n_skipped", "created_ns"), (int,)
    ),
    **dict.fromkeys(("spread_s", "timeout_s"), (int, float)),
    "payload": (dict,),
    "tags": (list,),
    "is_paused": (bool,),
}


def make_schedule(
    name: str,
    kind: str,
    payload: Payload | None = None,
    *,
    when: str,
    zone: str = "UTC",
    priority: str | int = "medium",
    misfire: str = Misfire.ONCE,
    overlap: str = Overlap.SKIP,
    spread: float | str | timedelta = 0,
    timeout: float | str | timedelta = 0,
    retries: int | None = None,
    tags: Iterable[str] = (),
) -> Schedule:
    """A schedule of what people write.

    Args:
        priority: "critical", "high", "medium" or "low".
        misfire: see `Misfire`.
        overlap: see `Overlap`.
        timeout: how long an attempt may take; 0 for what the handler says.
        spread: see `Schedule.spread_s`; durations are seconds, or text as "10s".

    Raises:
        UsageError: something of it makes no sense; it says what would.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"no name of a schedule: {name!r:.120}; give up to 100 letters, digits, dots, dashes and underscores"
        )
    parse_when(when, zone)
    try:
        spec = made_spec(
            kind, payload, job_id="", now_ns=0, priority=priority, delay=None, not_before=None, deadline=None,
            timeout=timeout if seconds(timeout) else None, retries=retries, unique=False, unique_for=None, after=(), parent="", tags=tags,
            namespace="", trace="",
        )  # fmt: skip
        pack_spec(spec)  # says what is wrong with a payload
        spread_s = float(seconds(spread))
    except UsageError as error:
        raise UsageError(f"schedule {name!r}: {error}") from None
    made = Schedule(
        name, kind, when.strip(), dict(spec.payload), zone, spec.priority,
        _word(name, "misfire", misfire, Misfire), _word(name, "overlap", overlap, Overlap),
        spread_s, spec.timeout_s, spec.retries, tuple(spec.tags),
    )  # fmt: skip
    if made.misfire is Misfire.ALL and made.overlap is Overlap.SKIP:
        raise UsageError(
            f'schedule {name!r}: with misfire "all" the jobs of missed ticks come together, which overlap "skip" '
            'forbids: give overlap "allow", or misfire "once"'
        )
    return made


def redefined(old: Schedule | None, new: Schedule, *, now_ns: int) -> Schedule:
    """A new definition with what has come of the old one; its ticks count from now on if they are others."""
    if old is None:
        return new._replace(created_ns=now_ns, done_ns=now_ns)
    is_same = (old.when, old.zone) == (new.when, new.zone)
    kept = {field: getattr(old, field) for field in _STATE}
    return new._replace(**kept | ({} if is_same else {"done_ns": now_ns}))


def next_tick(schedule: Schedule) -> int | None:
    """When it fires next, in the past if that is overdue; None while it is paused."""
    if schedule.is_paused:
        return None
    return next_after(parse_when(schedule.when, schedule.zone), schedule.done_ns)


def schedule_facts(schedule: Schedule) -> dict[str, object]:
    """All that is known of a schedule, in words and numbers, for JSON and tables; its payload as it is."""
    facts: dict[str, object] = {
        field: value for field, value in schedule._asdict().items() if field != "others"
    }
    facts |= {"priority": Priority(schedule.priority).name.lower(), "tags": list(schedule.tags)}
    facts |= {"misfire": str(schedule.misfire), "overlap": str(schedule.overlap)}
    return facts | {"payload": dict(schedule.payload), "next_ns": next_tick(schedule)}


def pack_schedule(schedule: Schedule) -> bytes:
    """A schedule as a map of its fields, without its name and without defaults."""
    fields = schedule._asdict()
    said = {
        field: value
        for field, value in fields.items()
        if field in ("kind", "when") or (field not in ("name", "others") and value != _DEFAULTS[field])
    }
    plain = {field: value.value if isinstance(value, StrEnum) else value for field, value in said.items()}
    return pack_plain({"format": FORMAT} | dict(schedule.others) | plain)


def unpack_schedule(name: str, data: bytes) -> Schedule:
    """The schedule of `pack_schedule`.

    Raises:
        FormatError: a newer version wrote it, in a way that this one cannot read.
        DecodeError: it is damaged.
    """
    fields = unpack_plain(data)
    if not isinstance(fields, dict) or not isinstance(found := fields.pop("format", None), int):
        raise DecodeError(f"schedule {name!r}: what is kept of it is damaged: remove it, and make it anew")
    if found != FORMAT:
        raise FormatError(
            f"schedule {name!r} is of format {found}, this version reads {FORMAT}: update vcache here"
        )
    known = {field: fields.pop(field) for field in _KINDS if field in fields}
    wrong = [field for field, value in known.items() if not isinstance(value, _KINDS[field])]
    if wrong or not {"kind", "when"} <= known.keys():
        raise DecodeError(
            f"schedule {name!r}: its {', '.join(wrong) or 'kind'} is damaged: remove it, make it anew"
        )
    return _of(name, known, cast("dict[str, object]", fields))


def _of(name: str, known: dict[str, object], others: Mapping[str, object]) -> Schedule:
    known["tags"] = tuple(cast("list[str]", known.get("tags", ())))
    known["misfire"] = _word(name, "misfire", cast("str", known.get("misfire", Misfire.ONCE)), Misfire)
    known["overlap"] = _word(name, "overlap", cast("str", known.get("overlap", Overlap.SKIP)), Overlap)
    return Schedule(name=name, others=others or _NOTHING, **known)  # type: ignore[arg-type]


def _word(name: str, field: str, word: str, words: type[W]) -> W:
    try:
        return words(word)
    except ValueError:
        raise UsageError(
            f"schedule {name!r}: {field} {word!r}{did_you_mean(str(word), map(str, words))}"
        ) from None
