from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.entry import make_key
from vcache.errors import DecodeError, UsageError
from vcache.store.sealed.parts import part
from vcache.store.sealed.statement import Statement, namespace_of, producer_name, statement_of
from vcache.testing.records import make_record

_DIGESTS = st.binary(min_size=32, max_size=32)
_STATEMENTS = st.builds(
    Statement,
    st.binary(max_size=40),
    st.binary(max_size=200),
    _DIGESTS,
    _DIGESTS,
    _DIGESTS,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", fullmatch=True),
    st.integers(-(2**63), 2**63 - 1),
)


@given(_STATEMENTS)
def test_a_statement_comes_back(statement: Statement) -> None:
    """Decoding gives what was encoded."""
    assert Statement.decode(statement.encode()) == statement


@given(_STATEMENTS, _STATEMENTS)
def test_different_statements_have_different_bytes(one: Statement, two: Statement) -> None:
    """No part can be taken for the beginning of the next."""
    assert (one.encode() == two.encode()) == (one == two)


@given(st.binary(max_size=300))
def test_what_decodes_encodes_to_itself(data: bytes) -> None:
    """There is one encoding: bytes that decode are those that would be written."""
    for candidate in (data, b"vcache-statement\x01" + data):
        try:
            statement = Statement.decode(candidate)
        except DecodeError:
            continue
        assert statement.encode() == candidate


def test_every_cut_is_refused() -> None:
    """A truncated statement, or one with bytes behind it, is none."""
    data = statement_of(make_record(make_key("k")), make_record(make_key("k")).entry(), "ci", 1).encode()
    for size_bytes in range(len(data)):
        with pytest.raises(DecodeError):
            Statement.decode(data[:size_bytes])
    with pytest.raises(DecodeError):
        Statement.decode(data + b"\0")


def test_the_bytes_are_as_the_page_says() -> None:
    """docs/design/network.md is normative: this is its formula, written out."""
    key = make_key("name", namespace="space")
    record = make_record(key, b"content", created_ns=7)
    statement = statement_of(record, record.entry(), "ci", 9)
    assert statement.encode() == b"".join(
        (
            b"vcache-statement\x01",
            part(b"space"), part(key), part(statement.head), part(record.entry().digest), part(statement.body),
            part(b"ci"), struct.pack("<q", 9),
        )
    )  # fmt: skip
    assert statement.body == record.entry().digest  # of a content that is not packed


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", ".a", "a:b", "a/b", "é", "a\n", "x" * 65])
def test_names_of_producers_are_plain(name: str) -> None:
    """Nothing that looks like another name, or breaks a line of a report."""
    with pytest.raises(UsageError, match="is not a producer's name"):
        producer_name(name)


@pytest.mark.parametrize("name", ["ci", "CI-2", "ada@example.org", "a" * 64, "0_1.2+3"])
def test_usual_names_are_taken(name: str) -> None:
    """Names of machines and addresses of people."""
    assert producer_name(name) == name


def test_the_namespace_is_what_stands_before_the_first_nul() -> None:
    """Also of a name that holds further ones."""
    assert namespace_of(make_key(b"\0sx\0", namespace="a/b")) == b"a/b"
    assert namespace_of(make_key("x")) == b""
