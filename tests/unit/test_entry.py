"""Keys, entries and their bytes."""

from __future__ import annotations

import dataclasses
import struct

import pytest

from vcache.entry import (
    FIXED,
    MAX_KEY_BYTES,
    Dep,
    Encoding,
    Entry,
    Flag,
    Record,
    make_key,
    rekeyed,
    split_key,
)
from vcache.errors import DecodeError, UsageError
from vcache.kit.data import replace

FULL = Entry(
    key=make_key("name", namespace="ns"),
    digest=bytes(range(32)),
    size_bytes=12345,
    codec="msgpack",
    encoding=Encoding.ZSTD,
    created_ns=1,
    expires_ns=2,
    stale_until_ns=3,
    cost_ns=4,
    tags=frozenset({"a", "ü"}),
    deps=(Dep("file", "src/\udcff", b"id", b"hint", "note"), Dep("env", "CC", b"")),
    meta={"k": "v", "a": ""},
    is_error=True,
    is_pinned=True,
)


def test_a_full_entry_comes_back():
    """Every field survives, hints and notes of dependencies too."""
    again = Entry.decode(FULL.encode())
    assert again == FULL
    assert [(dep.hint, dep.note) for dep in again.deps] == [(b"hint", "note"), (b"", "")]
    assert (again.name, again.namespace) == ("name", "ns")
    assert Record(FULL.encode(), b"").entry() == FULL
    assert "name" in repr(Record(FULL.encode(), b"body"))


def test_equal_entries_have_equal_bytes():
    """A head is canonical: the order in which sets and dicts were filled leaves no trace."""
    other = dataclasses.replace(FULL, tags=frozenset(["ü", "a"]), meta={"a": "", "k": "v"})
    assert other.encode() == FULL.encode()


def test_plain_bytes_are_marked_verbatim():
    """A reader may serve such a body without looking at the rest; anything more takes the mark away."""
    plain = Entry(make_key("k"), bytes(32), 3)
    assert plain.encode()[1] == Flag.VERBATIM
    for change in (
        {"codec": "str"}, {"expires_ns": 1}, {"cost_ns": 1}, {"encoding": Encoding.LZ4}, {"is_pinned": True},
        {"tags": frozenset("t")}, {"deps": FULL.deps}, {"meta": {"a": "b"}}, {"is_error": True},
    ):  # fmt: skip
        assert not dataclasses.replace(plain, **change).encode()[1] & Flag.VERBATIM


@pytest.mark.parametrize("length", range(len(FULL.encode())))
def test_a_truncated_head_is_refused(length):
    """No prefix of a head is a head."""
    with pytest.raises(DecodeError):
        Entry.decode(FULL.encode()[:length])


def test_what_is_not_a_head_is_refused():
    """Bytes left over, another version, and what its flags do not announce are errors, all of one kind."""
    head = FULL.encode()
    for wrong in (
        head + b"\0",
        b"\2" + head[1:],
        head[:1] + bytes([head[1] & ~Flag.TAGS]) + head[2:],
        head[:1] + bytes([head[1] & ~(Flag.TAGS | Flag.DEPS | Flag.META)]) + head[2:],
        head[:3] + b"\x09" + head[4:],  # an unknown encoding
        head.replace(b"msgpack", b"\xff" * 7),
    ):
        with pytest.raises(DecodeError):
            Entry.decode(wrong)


def test_a_head_that_claims_much_is_refused_at_once():
    """A count of four billion parts costs no memory."""
    head = bytearray(Entry(make_key("k"), bytes(32), 0, tags=frozenset("t")).encode())
    at = FIXED.size + len(make_key("k")) + len("bytes")
    for claim in (0xFFFFFFFF, 2):
        struct.pack_into("<I", head, at, claim)
        with pytest.raises(DecodeError, match="truncated"):
            Entry.decode(bytes(head))


@pytest.mark.parametrize("name", ["", "a", "a\0b", b"", b"\0", b"\xff", "\udc80", "ü", "s", b"s"], ids=ascii)
@pytest.mark.parametrize("namespace", ["", "n", "ü", ".seen"])
def test_a_key_splits_into_what_was_joined(name, namespace):
    """Namespace, kind and name come back as given."""
    assert split_key(make_key(name, namespace=namespace)) == (namespace, name)


def test_different_names_have_different_keys():
    """Kinds, namespaces and NULs cannot imitate each other."""
    names: list[str | bytes] = ["", "a", b"a", "\0a", b"\0a", "sa", b"sa", "\0sa"]
    spaces = ["", "a", "s", "b"]
    assert len({make_key(n, namespace=s) for n in names for s in spaces}) == len(names) * len(spaces)


@pytest.mark.parametrize("key", [b"", b"no nul", b"ns\0", b"ns\0xname"])
def test_what_is_not_a_key_is_refused(key):
    """Splitting anything else is an error, not a guess."""
    with pytest.raises(DecodeError, match="not a canonical key"):
        split_key(key)


def test_names_have_a_limit_and_a_type():
    """Too long, of another type, or in a namespace with a NUL: said with the remedy."""
    assert make_key("x" * (MAX_KEY_BYTES - 2))
    for name in ("x" * (MAX_KEY_BYTES - 1), b"x" * MAX_KEY_BYTES):
        with pytest.raises(UsageError, match="too long"):
            make_key(name)
    with pytest.raises(UsageError, match="not int: 1"):
        make_key(1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="NUL"):
        make_key("a", namespace="\0")


def test_hints_and_notes_are_no_part_of_what_a_dependency_is():
    """Two looks at one unchanged input are equal, and sort alike."""
    assert Dep("file", "a", b"x", b"1", "one") == Dep("file", "a", b"x", b"2", "two")
    assert len({Dep("file", "a", b"x", b"1"), Dep("file", "a", b"x", b"2")}) == 1
    assert Dep("file", "a", b"x") != Dep("file", "a", b"y")
    assert Dep("env", "z", b"") < Dep("file", "a", b"")


def test_entries_are_frozen():
    """Nobody changes an entry under another one."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.size_bytes = 0  # type: ignore[misc]


@pytest.mark.parametrize("other", [b"\0sother", b"@ns/\0sname", b"x" * 5000, b""])
def test_a_head_under_another_key_is_that_of_the_same_entry_there(other):
    """rekeyed() changes the key and nothing else"""
    entry = Entry(
        make_key("name"), b"d" * 32, 5, codec="pickle", created_ns=1, cost_ns=7, tags=frozenset({"a", "b"}),
        deps=(Dep("file", "x", b"i"),), meta={"type": "t"},
    )  # fmt: skip
    assert rekeyed(entry.encode(), other) == replace(entry, key=other).encode()
    assert rekeyed(rekeyed(entry.encode(), other), entry.key) == entry.encode()


@pytest.mark.parametrize("cut", [0, 10, 95, 100])
def test_a_head_that_ends_too_soon_has_no_other_key(cut):
    with pytest.raises(DecodeError):
        rekeyed(Entry(make_key("n" * 50), b"d" * 32, 5).encode()[:cut], b"k")
