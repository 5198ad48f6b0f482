"""Laws of the way from values to bytes and back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
from collections import OrderedDict, deque

from hypothesis import example, given, settings
from hypothesis import strategies as st

from vcache.errors import DecodeError
from vcache.serialize import dump, is_immutable, load, pack, unpack
from vcache.serialize.wire import TYPED


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Mode(enum.Flag):
    R = 1
    W = 2


@dataclasses.dataclass
class Node:
    name: object
    children: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    item: object


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(codec=None), max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | st.timezones() | st.just(dt.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.builds(pathlib.PurePosixPath, st.text(max_size=10))
    | st.sampled_from([*Colour, Mode(0), Mode.R, Mode.R | Mode.W])
)
KEYS = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3) | st.builds(Leaf, inner), max_leaves=4
)  # fmt: skip
VALUES = st.recursive(
    KEYS | st.binary(max_size=20).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(inner, max_size=4).map(deque)
        | st.sets(KEYS, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4).map(OrderedDict)
        | st.builds(Node, inner, inner)
    ),
    max_leaves=12,
)


def content_of(value: object) -> bytes:
    return b"".join(dump(value, codec="msgpack").parts)


def shape(value: object) -> object:
    """The value with the type of every part spelled out; order counts, except in sets."""
    if isinstance(value, (list, tuple, deque)):
        return type(value), [shape(item) for item in value]
    if isinstance(value, dict):
        return type(value), [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(shape(item)) for item in value)
    if isinstance(value, (Node, Leaf)):
        return type(value), [shape(getattr(value, field.name)) for field in dataclasses.fields(value)]
    return type(value), repr(value), getattr(value, "fold", None)


@given(VALUES)
def test_a_value_comes_back(value):
    """Every part of a value comes back, of its own type and in its place."""
    found = load("msgpack", content_of(value))
    assert shape(found) == shape(value)


@given(VALUES)
def test_storing_again_gives_the_same_bytes(value):
    """What came back is stored as the same bytes, so that its digest stands."""
    content = content_of(value)
    assert content_of(load("msgpack", content)) == content


@given(
    st.sets(KEYS, max_size=6).flatmap(lambda items: st.tuples(st.just(items), st.permutations(list(items))))
)
def test_a_set_has_one_form(case):
    """In whatever order a set was filled, its bytes are the same."""
    items, order = case
    assert content_of(items) == content_of(set(order))


@given(VALUES, st.sampled_from(["auto", "never", "lz4", "zstd"]))
def test_all_the_way(value, compress):
    """dump, pack, unpack and load give back the value, whatever the compression."""
    packed = dump(value)
    encoding, body = pack(packed.parts, packed.size_bytes, compress=compress)
    content = unpack(encoding, bytes(body), size_bytes=packed.size_bytes)
    expected = bytes(value) if type(value) is memoryview else value
    assert shape(load(packed.codec, content)) == shape(expected)


@given(st.binary(max_size=3000), st.integers(1, 2000), st.sampled_from(["auto", "lz4", "zstd"]))
def test_any_content_survives_packing(piece, times, compress):
    """Content of any kind, repetitive or not, comes back from its body."""
    content = piece * min(times, 200_000 // (len(piece) or 1))
    encoding, body = pack([content], len(content), compress=compress)
    assert bytes(unpack(encoding, body, size_bytes=len(content))) == content


@given(KEYS)
def test_what_is_hashable_and_plain_may_be_shared(value):
    """All values that serve as keys are seen as immutable, unless they are deep."""
    assert is_immutable(value) or "Leaf" in repr(value) or repr(value).count("(") > 6


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b"\xc1\x01\x91\xc7\x00\x01")
@example(b"\xc1\x02" + b"\0" * 30)
def test_any_bytes_are_a_value_or_refused(content):
    """Arbitrary content is a value or a DecodeError; nothing else comes out."""
    for candidate in (content, TYPED + content):
        for codec in ("msgpack", "numpy", "arrow", "error", "str"):
            try:
                load(codec, candidate)
            except DecodeError:
                continue


@settings(max_examples=300)
@given(VALUES, st.data())
def test_damaged_content_is_a_value_or_refused(value, data):
    """Content with a changed byte is a value or a DecodeError, and so is content that is cut."""
    content = bytearray(content_of(value))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    for candidate in (bytes(content), bytes(content[:at])):
        try:
            load("msgpack", candidate)
        except DecodeError:
            continue
