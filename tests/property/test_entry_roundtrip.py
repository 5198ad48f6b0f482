"""Heads and keys: whatever goes in comes out, and no other bytes come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vcache.entry import Dep, Encoding, Entry, make_key, split_key
from vcache.errors import DecodeError

NS = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# What os.fsdecode gives for names that are not UTF-8 has surrogates, and is a name like others.
PATHS = st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))
NAMES = st.one_of(st.text(st.characters(), max_size=30), st.binary(max_size=30))
NAMESPACES = TEXT.filter(lambda text: "\0" not in text)

DEPS = st.builds(Dep, TEXT, PATHS, st.binary(max_size=40), st.binary(max_size=40), TEXT)
ENTRIES = st.builds(
    Entry,
    key=st.builds(lambda name, space: make_key(name, namespace=space), NAMES, NAMESPACES),
    digest=st.binary(min_size=32, max_size=32),
    size_bytes=NS,
    codec=st.one_of(st.just("bytes"), TEXT),
    encoding=st.sampled_from(Encoding),
    created_ns=NS,
    expires_ns=NS,
    stale_until_ns=NS,
    cost_ns=NS,
    tags=st.frozensets(TEXT, max_size=5),
    deps=st.lists(DEPS, max_size=5).map(tuple),
    meta=st.dictionaries(TEXT, TEXT, max_size=5),
    is_error=st.booleans(),
    is_pinned=st.booleans(),
)


@given(ENTRIES)
def test_an_entry_comes_back(entry):
    """Decoding what was encoded gives an equal entry, hints and notes included, and equal bytes again."""
    head = entry.encode()
    again = Entry.decode(head)
    assert again == entry
    assert [(dep.hint, dep.note) for dep in again.deps] == [(dep.hint, dep.note) for dep in entry.deps]
    assert again.encode() == head
    assert Entry.decode(memoryview(head)) == entry


@given(ENTRIES, ENTRIES)
def test_different_entries_have_different_bytes(one, other):
    """Equal bytes mean equal entries, hints and notes included."""
    aside = [[(dep.hint, dep.note) for dep in entry.deps] for entry in (one, other)]
    assert (one.encode() == other.encode()) == (one == other and aside[0] == aside[1])


@given(ENTRIES, st.data())
def test_a_head_with_a_byte_more_or_less_is_refused(entry, data):
    """No head is a part of another one."""
    head = entry.encode()
    at = data.draw(st.integers(0, len(head) - 1))
    for wrong in (head[:at], head + b"\0", head + head):
        try:
            Entry.decode(wrong)
        except DecodeError:
            continue
        raise AssertionError(f"{len(wrong)} bytes were taken for a head of {len(head)}")


@given(ENTRIES, st.data())
def test_a_changed_head_is_an_entry_or_an_error(entry, data):
    """Any byte changed: either another entry or a DecodeError, never anything else."""
    head = bytearray(entry.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.integers(0, 255))
    try:
        Entry.decode(head)
    except DecodeError:
        pass


@given(st.binary(max_size=300))
def test_any_bytes_are_an_entry_or_an_error(data):
    """Noise never raises anything but DecodeError."""
    try:
        Entry.decode(data)
    except DecodeError:
        pass


@given(NAMES, NAMESPACES)
def test_a_key_comes_back(name, namespace):
    """Splitting what was joined gives name, type and namespace."""
    assert split_key(make_key(name, namespace=namespace)) == (namespace, name)


@given(st.tuples(NAMES, NAMESPACES), st.tuples(NAMES, NAMESPACES))
def test_keys_are_equal_only_for_equal_names(one, other):
    """Two names share a key only if they are one, in one namespace."""
    keys = [make_key(name, namespace=namespace) for name, namespace in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_key_or_an_error(data):
    """What splits joins again to the same bytes; the rest is a DecodeError."""
    try:
        namespace, name = split_key(data)
    except DecodeError:
        return
    assert make_key(name, namespace=namespace) == data
