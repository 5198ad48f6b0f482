"""What a request in JSON wants of jobs, checked: values, places, and remedies for what does not fit. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from vcache.errors import UsageError
from vcache.jobs.models import Limits, Payload, Priority
from vcache.jobs.plainjson import parse_json, plain_of
from vcache.jobs.states import ENDED, State
from vcache.kit.data import NamedTuple
from vcache.kit.names import did_you_mean
from vcache.kit.units import seconds
from vcache.server.refused import Refusal, Refused

__all__ = ["JobWish", "batch_of", "body_of", "fields_of", "job_wish", "limits_of", "paging_of", "state_of"]

MOST_JOBS: Final = 10_000  # of one batch
_NUMBER: Final = (int, float)
_WHEN: Final = (int, float, str)
_JOB: Final[Mapping[str, tuple[type, ...]]] = {
    "id": (str,), "kind": (str,), "payload": (dict,), "priority": (str,), "delay": _WHEN, "not_before": (int, str),
    "deadline": (int, str), "timeout": _WHEN, "retries": (int,), "unique": (str, bool), "unique_for": _WHEN,
    "after": (list,), "parent": (str,), "tags": (list,), "trace": (str,),
}  # fmt: skip
_LIMITS: Final[Mapping[str, tuple[type, ...]]] = {"rate": _NUMBER, "burst": _NUMBER, "running": (int,)}
_MOST_TEXT: Final = 1024
_MOST_S: Final = 1e9
_USUAL: Final = 100
_MOST: Final = 1000
_WORDS: Final = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
}  # fmt: skip


class JobWish(NamedTuple):
    """A job that is asked for.

    Attributes:
        kind, payload: see `Spec`.
        options: what `Jobs.spec` takes beside them.
        id: as the asker wants it; "" for any.
        trace: the `traceparent`.
    """

    kind: str
    payload: Payload
    options: Mapping[str, Any]
    id: str = ""
    trace: str = ""


def body_of(data: bytes) -> object:
    """What a body in JSON says.

    Raises:
        Refused: it is none.
    """
    try:
        return parse_json(data)
    except UsageError as error:
        raise _malformed(f"the body is {error}") from error


def fields_of(
    body: object,
    known: Mapping[str, tuple[type, ...]],
    *,
    place: str = "the body",
    needed: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The members of an object, each of a type that it may have.

    Raises:
        Refused: it is none, has others, or not those that are needed.
    """
    if not isinstance(body, dict):
        raise _malformed(f"{place} is {_kind_of(body)}, not an object")
    for name, value in body.items():
        if name not in known:
            raise _malformed(f"{place} has an unknown member {name!r:.40}{did_you_mean(name, known)}")
        if type(value) not in known[name]:
            wanted = " or ".join(_WORDS[kind] for kind in known[name])
            raise _malformed(f"{place}: {name}={value!r:.80} is {_kind_of(value)}; {wanted} goes there")
    for name in needed:
        if name not in body:
            raise _malformed(f"{place} does not say {name!r}")
    return body


def job_wish(body: object, *, place: str = "the body") -> JobWish:
    """A job that is asked for.

    Raises:
        Refused: something in it does not fit; the words say what, where, and what would.
    """
    fields = dict(fields_of(body, _JOB, place=place, needed=("kind",)))
    try:
        kind, job_id = _text("kind", fields.pop("kind")), fields.pop("id", "")
        payload = cast("Payload", plain_of(fields.pop("payload", {})))
        if not isinstance(payload, dict):
            raise UsageError(
                f"payload={payload!r:.80} is no object: its members are the handler's arguments by name"
            )
        options = {name: _READERS.get(name, _as_it_is)(name, value) for name, value in fields.items()}
        trace = options.pop("trace", "")
        return JobWish(kind, payload, options, _id(job_id) if job_id else "", trace)
    except UsageError as error:
        raise _malformed(f"{place}: {error}") from error


def batch_of(body: object) -> list[JobWish]:
    """The jobs of a batch: `{"jobs": [{…}, …]}`.

    Raises:
        Refused: it is none, too long, or one of them is none.
    """
    jobs = fields_of(body, {"jobs": (list,)}, needed=("jobs",))["jobs"]
    if not 1 <= len(jobs) <= MOST_JOBS:
        raise _malformed(f"jobs has {len(jobs):,} items; from 1 to {MOST_JOBS:,} are taken at once")
    return [job_wish(job, place=f"jobs[{number}]") for number, job in enumerate(jobs)]


def limits_of(body: object) -> Limits:
    """Limits of a kind.

    Raises:
        Refused: they are none.
    """
    fields = fields_of(body, _LIMITS)
    for name, value in fields.items():
        if not 0 <= value <= _MOST_S:
            raise _malformed(f"{name}={value!r}: 0 for no limit, and at most {_MOST_S:g}")
    return Limits(**fields)


def state_of(text: str, *, is_ended: bool = False) -> State:
    """A state by its name.

    Raises:
        Refused: there is none of that name.
    """
    known = [str(state) for state in State if not is_ended or state in ENDED]
    if text not in known:
        raise _malformed(f"state={text!r:.40}: one of {', '.join(known)}{did_you_mean(text, known)}")
    return State(text)


def paging_of(fields: Mapping[str, str]) -> tuple[int, str]:
    """How many are wanted, and behind which cursor.

    Raises:
        Refused: that is no number, or too many.
    """
    text = fields.get("limit", str(_USUAL))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MOST):
        raise _malformed(f"limit={text!r:.40}: a whole number from 1 to {_MOST}")
    return int(text), fields.get("cursor", "")


# --- members ------------------------------------------------------------------------------------


def _text(name: str, value: str) -> str:
    if not 1 <= len(value) <= _MOST_TEXT:
        raise UsageError(f"{name}={value!r:.80}: from 1 to {_MOST_TEXT} characters")
    return value


def _id(text: str) -> str:
    try:
        if str(uuid.UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise UsageError(
        f"id={text!r:.80} is no UUID in lower case, such as 0199aa00-0000-7000-8000-000000000000 (a UUIDv7)"
    )


def _seconds(name: str, value: float | str) -> float:
    try:
        found = seconds(value) if isinstance(value, str) else float(value)
    except (UsageError, OverflowError) as error:
        raise UsageError(f"{name}={value!r:.40}: {error}") from None
    if not 0 <= found <= _MOST_S:
        raise UsageError(f"{name}={value!r:.40}: from 0 to {_MOST_S:g} seconds")
    return found


def _texts(name: str, values: list[object]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not 1 <= len(value) <= _MOST_TEXT:
            raise UsageError(f"{name}: {value!r:.80} is no text of 1 to {_MOST_TEXT} characters")
    return tuple(cast("list[str]", values))


def _priority(name: str, value: str) -> str:
    known = [priority.name.lower() for priority in Priority]
    if value not in known:
        raise UsageError(f"{name}={value!r:.40}: one of {', '.join(known)}{did_you_mean(value, known)}")
    return value


def _as_it_is(_: str, value: object) -> object:
    return value


_READERS: Final[Mapping[str, Callable[[str, Any], object]]] = {
    "delay": _seconds, "timeout": _seconds, "unique_for": _seconds, "after": _texts, "tags": _texts,
    "priority": _priority,
}  # fmt: skip


def _kind_of(value: object) -> str:
    return "null" if value is None else _WORDS.get(type(value), type(value).__name__)


def _malformed(words: str) -> Refused:
    return Refused(Refusal.MALFORMED, words)
