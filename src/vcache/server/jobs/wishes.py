"""What a request in JSON wants of jobs, checked: values, places, and remedies for what does not fit.

Pure, but for the ids of those that say none.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import UsageError
from vcache.jobs.asking import in_order, made_spec
from vcache.jobs.models import Limits, Spec
from vcache.jobs.plainjson import parse_json, plain_of
from vcache.jobs.states import ENDED, State
from vcache.kit.ids import uuid7
from vcache.kit.names import did_you_mean
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["batch_of", "body_of", "fields_of", "limits_of", "paging_of", "spec_of", "state_of", "trace_of"]

MOST_JOBS: Final = 10_000  # of one batch
_NUMBER: Final = (int, float)
_WHEN: Final = (int, float, str)
_JOB: Final[Mapping[str, tuple[type, ...]]] = {
    "id": (str,), "kind": (str,), "payload": (dict,), "priority": (str,), "delay": _WHEN, "not_before": (str,),
    "deadline": _WHEN, "timeout": _WHEN, "retries": (int,), "unique": (str, bool), "unique_for": _WHEN,
    "after": (list,), "parent": (str,), "tags": (list,), "trace": (str,),
}  # fmt: skip
_USUAL_OF: Final[Mapping[str, Any]] = {
    "id": "", "kind": "", "payload": {}, "priority": "medium", "delay": None, "not_before": None, "deadline": None,
    "timeout": None, "retries": None, "unique": False, "unique_for": None, "after": (), "parent": "", "tags": (),
    "trace": "",
}  # fmt: skip
_LIMITS: Final[Mapping[str, tuple[type, ...]]] = {"rate": _NUMBER, "burst": _NUMBER, "running": (int,)}
_MOST_TEXT: Final = 1024
_MOST_S: Final = 1e9
_USUAL: Final = 100
_TRACE: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_FAR_NS: Final = 1 << 63
_MOST: Final = 1000
_WORDS: Final = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
}  # fmt: skip


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


def spec_of(body: object, *, now_ns: int, namespace: str, trace: str = "", place: str = "the body") -> Spec:
    """A job that is asked for.

    Args:
        now_ns: by the queue's clock.
        trace: the `traceparent` of who asks, where the job does not say its own.

    Raises:
        Refused: something in it does not fit; the words say what, where, and what would.
    """
    said = fields_of(body, _JOB, place=place, needed=("kind",))
    fields = {name: said.get(name, usual) for name, usual in _USUAL_OF.items()}
    try:
        for name in ("kind", "unique", "parent"):
            _bounded(name, fields[name])
        for name in ("after", "tags"):
            for each in fields[name]:
                _bounded(name, each)
        payload = plain_of(fields.pop("payload"))
        if not isinstance(payload, dict):
            raise UsageError(
                f"payload={payload!r:.80} is no object: its members are the handler's arguments by name"
            )
        job_id, own_trace = _id(fields.pop("id")), fields.pop("trace")
        if own_trace and not _TRACE.fullmatch(own_trace):
            raise UsageError(f"trace={own_trace!r:.80} is no traceparent: 00-TRACE-SPAN-FLAGS, as W3C has it")
        fields["not_before"] = _moment(fields["not_before"])
        spec = made_spec(
            fields.pop("kind"), payload, job_id=job_id, now_ns=now_ns, namespace=namespace, trace=own_trace or trace,
            **fields,
        )  # fmt: skip
        if max(spec.not_before_ns, spec.deadline_ns) >= _FAR_NS:
            raise UsageError("not_before or deadline is too far away")
        return spec
    except (UsageError, OverflowError) as error:
        raise _malformed(f"{place}: {error}") from error


def batch_of(body: object, *, now_ns: int, namespace: str, trace: str = "") -> tuple[list[str], list[Spec]]:
    """The jobs of a batch, `{"jobs": [{…}, …]}`: their ids in order, and each behind those that it is after.

    Raises:
        Refused: it is none, too long, or one of them is none.
    """
    jobs = fields_of(body, {"jobs": (list,)}, needed=("jobs",))["jobs"]
    if not 1 <= len(jobs) <= MOST_JOBS:
        raise _malformed(f"jobs has {len(jobs):,} items; from 1 to {MOST_JOBS:,} are taken at once")
    specs = [
        spec_of(job, now_ns=now_ns, namespace=namespace, trace=trace, place=f"jobs[{number}]")
        for number, job in enumerate(jobs)
    ]
    ids = [spec.id for spec in specs]
    if len(set(ids)) < len(ids):
        twice = next(job_id for number, job_id in enumerate(ids) if job_id in ids[:number])
        raise _malformed(f"jobs has the id {twice} twice")
    try:
        return ids, in_order(specs)
    except UsageError as error:
        raise _malformed(str(error)) from error


def trace_of(header: str | None) -> str:
    """What a request's `traceparent` says; "" for none, or one that is no trace (as W3C has it: to be ignored)."""
    return header if header is not None and _TRACE.fullmatch(header) else ""


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


def _bounded(name: str, value: object) -> None:
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        raise UsageError(
            f"{name}={value!r:.80}… has {len(value):,} characters; at most {_MOST_TEXT} are taken"
        )


def _id(text: str) -> str:
    if not text:
        return uuid7.text()
    try:
        if str(uuid.UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise UsageError(
        f"id={text!r:.80} is no UUID in lower case, such as 0199aa00-0000-7000-8000-000000000000"
    )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    from datetime import datetime

    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"not_before={text!r:.80}: write a time as 2026-01-31T12:00:00Z") from None


def _kind_of(value: object) -> str:
    return "null" if value is None else _WORDS.get(type(value), type(value).__name__)


def _malformed(words: str) -> Refused:
    return Refused(Refusal.MALFORMED, words)
