"""Jobs ⇄ bytes."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import DecodeError, EncodeError, UsageError
from vcache.jobs.base import MOST_PAYLOAD_BYTES
from vcache.jobs.models import Failure, Job, Plain, Priority, Progress, Spec
from vcache.jobs.packing import (
    pack_failure,
    pack_progress,
    pack_result,
    pack_spec,
    unpack_failure,
    unpack_progress,
    unpack_result,
    unpack_spec,
)
from vcache.jobs.states import State
from vcache.testing.queue_laws.hands import said

_TEXTS = st.text(max_size=8)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False) | _TEXTS
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_NS = st.integers(0, (1 << 63) - 1)
_TIMES = st.floats(0, 1e9)
_SPECS = st.builds(
    Spec, _TEXTS, _TEXTS, st.dictionaries(_TEXTS, _PLAIN, max_size=3), st.sampled_from(Priority), _NS, _NS, _NS,
    _TIMES, st.integers(-1, 99), _TEXTS, _TIMES, st.lists(_TEXTS, max_size=2), _TEXTS, st.lists(_TEXTS, max_size=2),
    _TEXTS, _TEXTS,
)  # fmt: skip
_FAILURE = Failure(5, 2, "error", "it fell\udcff", "Traceback …", "host:1")
_PROGRESS = Progress(1.5, 3, "half", 7)


@given(_SPECS)
def test_specs_come_back(spec: Spec) -> None:
    """whatever they say"""
    found = unpack_spec(pack_spec(spec))
    assert said(found) == said(spec)
    assert isinstance(found, Spec)


@given(_PLAIN)
def test_results_come_back(value: Plain) -> None:
    """whatever plain value they are"""
    assert unpack_result(pack_result(value)) == value
    assert type(unpack_result(pack_result(value))) is type(value)


def test_evidence_comes_back() -> None:
    """failures and progress, field by field"""
    assert unpack_failure(pack_failure(_FAILURE)) == _FAILURE
    assert unpack_progress(pack_progress(_PROGRESS)) == _PROGRESS


def test_most_jobs_are_short() -> None:
    """fields at the end that say nothing take no space, and are their defaults again"""
    spec = Spec("id", "kind", {"a": 1}, 1, 5)
    assert msgpack.unpackb(pack_spec(spec)) == ["id", "kind", {"a": 1}, 1, 5]
    assert unpack_spec(pack_spec(spec)) == spec
    assert len(msgpack.unpackb(pack_spec(spec._replace(trace="x")))) == len(Spec._fields)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 1 << 64, -(1 << 63) - 1, Plain, 1j, [object()], {"x": {"y": object()}}]
)
def test_what_is_no_plain_value_is_refused(value: object) -> None:
    """with the kind, what it has, and what it may have"""
    with pytest.raises(UsageError, match=r"job 'send': its payload .* is not made of None, bool, int"):
        pack_spec(Spec("id", "send", {"x": value}))  # type: ignore[dict-item]
    with pytest.raises(EncodeError):
        pack_result(value)  # type: ignore[arg-type]


def test_deep_payloads_are_refused() -> None:
    """nothing that would overflow a stack comes near a queue"""
    deep: Plain = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(UsageError, match="is not made of"):
        pack_spec(Spec("id", "send", {"x": deep}))


def test_what_is_too_large_is_refused() -> None:
    """with its size, the bound, and the remedy"""
    long = bytes(MOST_PAYLOAD_BYTES)
    with pytest.raises(
        UsageError, match=r"takes 33,554,\d+ bytes, at most 33,554,432 are kept: put what is large"
    ):
        pack_spec(Spec("id", "send", {"x": long}))
    with pytest.raises(EncodeError, match="at most 33,554,432"):
        pack_result(long)
    assert len(pack_result(long[:-5])) == MOST_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (lambda: pack_spec(Spec("id", "kind", {"a": [1, "x"]})), unpack_spec),
        (lambda: pack_result({"a": [1, "x"]}), unpack_result),
    ],
)
def test_damage_is_seen(pack: Callable[[], bytes], unpack: Callable[[bytes], object]) -> None:
    """what is cut anywhere, or goes on, is no job"""
    packed = pack()
    for size in range(len(packed)):
        with pytest.raises(DecodeError):
            unpack(packed[:size])
    with pytest.raises(DecodeError):
        unpack(packed + b"\0")


@pytest.mark.parametrize("fields", [None, 5, [], ["id"], [*Spec("", "", {}), "more"]])
def test_a_job_of_a_newer_format_is_none(fields: object) -> None:
    """too many fields, or too few, are no job"""
    with pytest.raises(DecodeError, match="no job"):
        unpack_spec(msgpack.packb(fields))


def test_a_job_says_what_its_spec_does() -> None:
    """its id, its kind, and the query that finds what it said"""
    job = Job(Spec("id-1", "send"), State.QUEUED)
    assert (job.id, job.kind, job.log) == ("id-1", "send", 'job = "id-1"')


def test_defaults_cannot_be_changed() -> None:
    """all specs share the empty payload"""
    with pytest.raises(TypeError):
        Spec("", "").payload["x"] = 1  # type: ignore[index]


def test_the_query_of_a_job_is_one() -> None:
    """the log store understands it"""
    from vcache.query.parser import parse

    assert "id-1" in repr(parse(Job(Spec("id-1", "send"), State.QUEUED).log, now_ns=0))
