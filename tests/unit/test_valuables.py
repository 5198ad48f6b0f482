"""Values ⇄ records."""

from __future__ import annotations

import dataclasses

import pytest

from vcache.entry import Dep, Encoding, Entry, Flag, Record, make_key
from vcache.errors import DecodeError, EncodeError
from vcache.hash import digest
from vcache.valuables import ABSENT, VERBATIM, Conditions, Valuables

KEY = make_key("k", namespace="ns")
NOW = 1_000


def clock() -> int:
    return NOW


@pytest.fixture
def valuables():
    return Valuables(codec=None, allow_pickle=False, allow_imports=True, compress="auto")


def record(valuables: Valuables, value: object, **conditions: object) -> Record:
    return valuables.record(KEY, value, Conditions(**conditions), now_ns=NOW)  # type: ignore[arg-type]


VALUES = [None, 7, "text", b"", b"x" * 10, b"a" * 100_000, ["a"] * 50_000, {"k": (1, 2.5)}]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{value!r:.20}")
@pytest.mark.parametrize("compress", ["auto", "never", "lz4", "zstd"])
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_record_says_everything_of_its_value(value, compress, is_plain):
    """Key, digest and size of the content are in the head, however it is packed, and the value comes back."""
    valuables = Valuables(codec=None, allow_pickle=False, allow_imports=True, compress=compress)
    made = record(valuables, value, **({} if is_plain else {"tags": frozenset("t")}))
    entry = made.entry()
    content = valuables.content(made, entry)
    assert entry.key == KEY
    assert entry.digest == digest(content)
    assert entry.size_bytes == memoryview(content).nbytes
    assert entry.created_ns == NOW
    assert valuables.value(made, entry) == value
    assert valuables.plain_value(made, clock) == (0, value)
    if compress == "never":
        assert entry.encoding is Encoding.IDENTITY
    plain = valuables.unpacked(made)
    assert plain.entry() == dataclasses.replace(entry, encoding=Encoding.IDENTITY)
    assert bytes(plain.body) == bytes(content)


def test_the_short_way_to_a_head_writes_the_same_bytes(valuables):
    """A plain head is spelled out for speed: it is what `Entry.encode` writes."""
    for value in (*VALUES, bytearray(b"x")):
        for conditions in ({}, {"ttl_ns": 5}, {"ttl_ns": 5, "stale_ns": 7}, {"stale_ns": 7}, {"cost_ns": 3}):
            made = record(valuables, value, **conditions)
            assert made.head == made.entry().encode()


def test_times_are_counted_from_now(valuables):
    """A time to live ends at an instant; grace follows it, and there is none without an end."""
    entry = record(valuables, 1, ttl_ns=5, stale_ns=7, cost_ns=3).entry()
    assert (entry.expires_ns, entry.stale_until_ns, entry.cost_ns) == (NOW + 5, NOW + 12, 3)
    entry = record(valuables, 1, stale_ns=7).entry()
    assert (entry.expires_ns, entry.stale_until_ns) == (0, 0)


def test_conditions_reach_the_entry(valuables):
    """Tags, dependencies, words, marks: all are kept."""
    deps = (Dep("env", "CC", b"x"),)
    conditions = Conditions(tags=frozenset("t"), deps=deps, meta={"a": "b"}, is_pinned=True)
    assert not conditions.is_plain
    entry = valuables.record(KEY, 1, conditions, now_ns=NOW).entry()
    assert (entry.tags, entry.deps, dict(entry.meta), entry.is_pinned) == (
        frozenset("t"),
        deps,
        {"a": "b"},
        True,
    )
    for condition in (
        {"tags": frozenset("t")},
        {"deps": deps},
        {"meta": {"a": "b"}},
        {"is_error": True},
        {"is_pinned": True},
    ):
        assert not Conditions(**condition).is_plain
    assert Conditions(ttl_ns=1, stale_ns=1, cost_ns=1, codec="str").is_plain


def test_what_needs_judging_is_left_to_the_judge(valuables):
    """Dependencies, exceptions, and an end that has come, give no plain value; an end to come does."""
    for conditions in (
        {"deps": (Dep("env", "CC", b"x"),)},
        {"is_error": True, "codec": "error"},
        {"ttl_ns": 0},
    ):
        value = ValueError("x") if "is_error" in conditions else 1
        assert valuables.plain_value(record(valuables, value, **conditions), clock) == (0, ABSENT)
    assert valuables.plain_value(record(valuables, 1, ttl_ns=1, cost_ns=9), clock) == (9, 1)


def test_only_what_cannot_change_is_remembered_on_a_record(valuables):
    """An immutable value without an end stays decoded; anything else is decoded for each caller."""
    for value, is_kept in (
        (1, True),
        ("a", True),
        ((1, "a"), True),
        ([1], False),
        ((1, [2]), False),
        ({}, False),
    ):
        made = record(valuables, value)
        valuables.plain_value(made, clock)
        assert (made.memo is not None) is is_kept, value
    made = record(valuables, 1, ttl_ns=100)
    valuables.plain_value(made, clock)
    assert made.memo is None  # it would be served after its end


def test_plain_bytes_are_verbatim(valuables):
    """Bytes that are stored as they are carry the mark that lets a reader hand them out."""
    assert record(valuables, b"abc").head[1] == VERBATIM == Flag.VERBATIM
    for made in (
        record(valuables, "abc"),
        record(valuables, b"abc", ttl_ns=1),
        record(valuables, b"a" * 100_000),
    ):
        assert not made.head[1] & VERBATIM


def test_codecs_may_be_chosen(valuables):
    """By value or for all; pickle needs leave to write and to read."""
    assert record(valuables, "a", codec="msgpack").entry().codec == "msgpack"
    fixed = Valuables(codec="msgpack", allow_pickle=False, allow_imports=True, compress="auto")
    assert record(fixed, "a").entry().codec == "msgpack"
    with pytest.raises(EncodeError):
        record(valuables, object())
    trusting = Valuables(codec=None, allow_pickle=True, allow_imports=True, compress="auto")
    made = record(trusting, range)
    assert trusting.plain_value(made, clock) == (0, range)
    with pytest.raises(DecodeError, match="pickle"):
        valuables.plain_value(record(trusting, 1, codec="pickle"), clock)


def test_a_body_that_is_not_what_its_head_says_is_refused(valuables):
    """Cut, of another length or of nonsense: an error, never another value."""
    made = record(valuables, ["a"] * 50_000)
    entry: Entry = made.entry()
    assert entry.encoding is not Encoding.IDENTITY
    for body in (b"", bytes(made.body)[:-5], b"\xff" * 100):
        with pytest.raises(DecodeError):
            valuables.plain_value(Record(made.head, body), clock)
    wrong = dataclasses.replace(entry, codec="nosuch")
    with pytest.raises(DecodeError, match="nosuch"):
        valuables.plain_value(Record(wrong.encode(), made.body), clock)
