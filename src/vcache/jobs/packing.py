"""Jobs ⇄ bytes: what queues keep and what goes over the wire (docs/design/jobs.md).

It must not know where the bytes go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from vcache.errors import DecodeError, EncodeError, UsageError
from vcache.jobs.base import MOST_PAYLOAD_BYTES
from vcache.jobs.models import Failure, Plain, Progress, Spec
from vcache.serialize.plain import pack_plain, unpack_plain

__all__ = [
    "pack_failure",
    "pack_progress",
    "pack_result",
    "pack_spec",
    "unpack_failure",
    "unpack_progress",
    "unpack_result",
    "unpack_spec",
]

_SHORT: Final = 5  # id, kind, payload, priority, created_ns: all that most jobs say
_DEFAULTS: Final = Spec("", "")[_SHORT:]


def pack_spec(spec: Spec) -> bytes:
    """A spec as a list of its fields, without the defaults at its end.

    Raises:
        UsageError: its payload has something that is no plain value, or is too large.
    """
    try:
        packed = pack_plain(spec[:_SHORT] if spec[_SHORT:] == _DEFAULTS else spec)
    except EncodeError as error:
        if isinstance(spec.payload, Mapping) and not isinstance(
            spec.payload, dict
        ):  # such as that of no arguments
            return pack_spec(spec._replace(payload=dict(spec.payload)))
        import reprlib  # for who made a mistake: a whole repr may be long, or deeper than the stack

        raise UsageError(
            f"job {spec.kind!r}: its payload {reprlib.repr(spec.payload)} is not made of None, bool, int (64 bits), float, "
            f"str, bytes, lists and dicts alone: {error}"
        ) from None
    if len(packed) > MOST_PAYLOAD_BYTES:
        raise UsageError(
            f"job {spec.kind!r}: its payload takes {len(packed):,} bytes, at most {MOST_PAYLOAD_BYTES:,} are kept: "
            "put what is large into the cache, and its key into the payload"
        )
    return packed


def unpack_spec(data: bytes) -> Spec:
    """The spec of `pack_spec`.

    Raises:
        DecodeError: it is none.
    """
    fields = unpack_plain(data)
    try:
        return Spec(*cast("list[object]", fields))  # type: ignore[arg-type]
    except TypeError:
        raise DecodeError(f"no job: {fields!r:.80}") from None


def pack_result(value: Plain) -> bytes:
    """What a handler returned.

    Raises:
        EncodeError: it is no plain value, or too large.
    """
    packed = pack_plain(value)
    if len(packed) > MOST_PAYLOAD_BYTES:
        raise EncodeError(f"{len(packed):,} bytes, at most {MOST_PAYLOAD_BYTES:,} are kept")
    return packed


def unpack_result(data: bytes) -> Plain:
    """What `pack_result` was given; lists for tuples.

    Raises:
        DecodeError: it is none.
    """
    return cast("Plain", unpack_plain(data))


def pack_failure(failure: Failure) -> bytes:
    """A failure as a list of its fields."""
    return pack_plain(failure)


def unpack_failure(data: bytes) -> Failure:
    """The failure of `pack_failure`.

    Raises:
        DecodeError: it is none.
    """
    return Failure(*cast("Sequence[object]", unpack_plain(data)))  # type: ignore[arg-type]


def pack_progress(progress: Progress) -> bytes:
    """A progress as a list of its fields."""
    return pack_plain(progress)


def unpack_progress(data: bytes) -> Progress:
    """The progress of `pack_progress`.

    Raises:
        DecodeError: it is none.
    """
    return Progress(*cast("Sequence[object]", unpack_plain(data)))  # type: ignore[arg-type]
