"""What the scripts are given."""

from __future__ import annotations

import pytest

from vcache.errors import UsageError
from vcache.jobs.base import Claimed, Finished
from vcache.jobs.models import Limits, Spec
from vcache.jobs.packing import pack_result, pack_spec
from vcache.jobs.redis.requests import exchange, packed_limits, place_of, submission
from vcache.jobs.states import Event
from vcache.kit.ids import uuid7


def made(kind: str = "k", **fields: object) -> Spec:
    return Spec(uuid7.text(), kind, **fields)  # type: ignore[arg-type]


def test_plain_jobs_are_grouped_by_lane():
    """Of each kind and priority there is one group, in the order in which they came."""
    specs = [made("a"), made("b"), made("a", priority=0), made("a")]
    arguments, special = submission(specs)
    assert special == []

    def pairs(*of: Spec) -> list[bytes]:
        return [part for spec in of for part in (spec.id.encode(), pack_spec(spec))]

    assert arguments == [
        b"3", b"a", b"2", b"2", *pairs(specs[0], specs[3]), b"b", b"2", b"1", *pairs(specs[1]),
        b"a", b"0", b"1", *pairs(specs[2]), b"0",
    ]  # fmt: skip


def test_others_are_told_whole():
    """What has a time, a key or needs others is no line in a lane."""
    spec = made(not_before_ns=5_000, deadline_ns=9_000, unique="u", unique_s=1.5, after=["x"])
    arguments, special = submission([spec])
    assert special == [spec]
    assert arguments[:2] == [b"0", b"1"]
    assert arguments[4:] == [b"k", b"2", b"5", b"9", b"u", b"1500000", b"1", b"x"]


@pytest.mark.parametrize("spec", [
    Spec("no uuid", "k"), made(""), made("a\nb"), made("k", priority=4), made("k", payload={"a": object()}),
    Spec("é" * 36, "k"),
])  # fmt: skip
def test_what_no_queue_could_keep_is_refused(spec):
    """The message shows the value."""
    with pytest.raises(UsageError):
        submission([made(), spec])


def test_what_ended_alike_is_grouped():
    """Jobs of one claim share an entry; results are told where there is one."""
    first, second, third = made(), made(), made()
    finished = [
        Finished(Claimed(first, 7, 1), Event.COMPLETE),
        Finished(Claimed(second, 7, 1), Event.COMPLETE, {"r": 1}),
        Finished(Claimed(third, 7, 2, 1), Event.RELEASE),
    ]
    arguments = exchange("s", b"w", b"9", finished, ["k"], 3)
    assert arguments == [
        b"s", b"w", b"9", b"3", b"1", b"k",
        b"1", b"000000000000000721:0:k", b"2", b"1", first.id.encode(), second.id.encode(),
        pack_result(None), pack_result({"r": 1}),
        b"1", third.id.encode(), b"000000000000000722:1:k", b"b", b"0", b"",
    ]  # fmt: skip


def test_limits_make_sense_or_are_refused():
    """Nothing limited is nothing kept."""
    assert packed_limits("k", Limits()) is None
    assert packed_limits("k", Limits(2, 5, 3)) == b"2.0 5.0 3"
    with pytest.raises(UsageError, match="running=-1"):
        packed_limits("k", Limits(running=-1))


@pytest.mark.parametrize(
    "cursor", ["x", "1", "1-2", "1-2-3", "1-2-" + "9" * 500, "-1-2-", "\N{ARABIC-INDIC DIGIT ONE}-1-"]
)
def test_only_our_cursors_are_taken(cursor):
    """Whatever else is given is shown."""
    with pytest.raises(UsageError, match="is no cursor"):
        place_of(cursor)
