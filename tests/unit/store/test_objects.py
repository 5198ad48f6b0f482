from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.entry import Key, Record, make_key
from vcache.errors import DecodeError
from vcache.hash import digest
from vcache.store.objects import (
    PREFIX_BYTES,
    frame,
    frames,
    head_of,
    joined,
    key_of,
    name_of,
    name_prefix,
    pack,
    unpack,
)
from vcache.testing.records import make_record

KEY = make_key("key", namespace="space")
RECORD = make_record(KEY, b"content", tags=frozenset({"tag"}), meta={"k": "v"})
DATA = b"".join(pack(RECORD))


def outcome(key: Key | None, data: bytes | memoryview) -> tuple[bytes, bytes] | str:
    """The record's parts, or what is wrong with it."""
    try:
        record = unpack(key, data)
    except DecodeError as error:
        return str(error)
    return record.head, bytes(record.body)


def test_an_object_is_as_the_page_says() -> None:
    """docs/design/network.md is normative: this is its formula, written out."""
    head = RECORD.head
    assert b"vcr\x01" + len(head).to_bytes(4, "little") + digest(head) + head + b"content" == DATA


@given(name=st.binary(max_size=300), body=st.binary(max_size=300))
def test_a_record_comes_back(name: bytes, body: bytes) -> None:
    """Whatever key and body, from bytes and from a view of them."""
    key = make_key(name)
    record = make_record(key, body)
    data = b"".join(pack(record))
    for given_key in (key, None):
        for form in (data, memoryview(data), memoryview(bytearray(data))):
            found = unpack(given_key, form)
            assert (found.head, bytes(found.body)) == (record.head, body)
            assert memoryview(found.body).readonly
    assert head_of(key, data[: PREFIX_BYTES + len(record.head)]) == record.head


def test_bytes_and_views_are_judged_alike() -> None:
    """Cut or changed anywhere, bytes are refused as views are, in the same words."""
    for size_bytes in range(len(DATA)):
        cut = DATA[:size_bytes]
        assert outcome(KEY, cut) == outcome(KEY, memoryview(cut))
    for at in range(len(DATA)):
        for value in (0x00, 0xFF, DATA[at] ^ 1, DATA[at] ^ 0x80):
            changed = DATA[:at] + bytes((value,)) + DATA[at + 1 :]
            for key in (KEY, None):
                assert outcome(key, changed) == outcome(key, memoryview(changed))
                assert (outcome(key, changed) == outcome(key, DATA)) == (changed == DATA)


@pytest.mark.parametrize(
    "other", [make_key("kez", namespace="space"), make_key("ke", namespace="space"), KEY + b"x"]
)
def test_another_keys_object_is_refused(other: Key) -> None:
    """Also one that the right key begins, or that begins with it."""
    for form in (DATA, memoryview(DATA)):
        with pytest.raises(DecodeError, match="another key's"):
            unpack(other, form)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_noise_is_refused(noise: bytes, has_magic: bool) -> None:
    """Nothing but DecodeError comes of bytes that are no object."""
    data = b"vcr\x01" + noise if has_magic else noise
    for form in (data, memoryview(data)):
        with pytest.raises(DecodeError):
            unpack(None, form)


@given(st.lists(st.binary(min_size=1, max_size=150), max_size=5))
def test_frames_come_apart_again(bodies: list[bytes]) -> None:
    """A sequence of objects, and no truncated one."""
    records: list[Record] = [make_record(KEY, body) for body in bodies]
    data = joined(frame(record) for record in records)
    assert [bytes(unpack(KEY, piece).body) for piece in frames(data)] == bodies
    if data:
        with pytest.raises(DecodeError):
            list(frames(data[:-1]))


@given(st.binary(min_size=1, max_size=150))
def test_names_stand_for_keys(key: bytes) -> None:
    """Plain, of bounded length, and back again unless the key is long."""
    name = name_of(key)
    assert set(name) <= set("0123456789abcdef~")
    assert len(name) <= 200
    assert key_of(name) == (key if len(key) <= 100 else None)
    if len(key) <= 100:
        assert all(name.startswith(name_prefix(key[:size])) for size in range(len(key)))


@pytest.mark.parametrize("name", ["", "0", "0G", "AB", "~", "~00", "ab cd", "../00", "00" * 101, "é0"])
def test_other_names_are_refused(name: str) -> None:
    """A listing may hold what is not ours."""
    with pytest.raises(DecodeError, match="is not the name of an object"):
        key_of(name)
