from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse, ResponseError

from vcache.errors import StoreError
from vcache.kit.deadlines import Within
from vcache.store.redis.answers import Parser


class Pieces:
    """A socket that has some pieces to give, and then ends."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def recv(self, size_bytes: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size_bytes:
            self.pieces.insert(0, piece[size_bytes:])
        return piece[:size_bytes]


def parser_of(*pieces: bytes) -> Parser:
    parser = Parser()
    parser.on_connect(SimpleNamespace(_sock=Pieces(*pieces)))
    return parser


def encoded(value: object) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    assert isinstance(value, list)
    return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))


_SCALARS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40) | st.just(b"x" * 300_000)
_VALUES = _SCALARS | st.lists(_SCALARS | st.lists(_SCALARS, max_size=3), max_size=6)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(_VALUES, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 10**6), max_size=8))
def test_what_was_said_is_heard(values: list[Any], cuts: list[int]) -> None:
    """Answers come out as they were, in whatever pieces they come, one after the other."""
    data = b"".join(map(encoded, values))
    places = sorted({cut % len(data) for cut in cuts} - {0})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    parser = parser_of(*pieces)
    assert [parser.read_response() for _ in values] == values
    with pytest.raises(ConnectionLost):
        parser.read_response()


def test_every_cut_in_two_is_heard() -> None:
    """No place in an answer is one where it may not be cut."""
    value = [b"", b"ab\r\ncd", None, [b"0", [b"*1\r\n"]], -7, b"$3\r\n"]
    data = encoded(value)
    for at in range(1, len(data)):
        assert parser_of(data[:at], data[at:]).read_response() == value
        with pytest.raises(ConnectionLost):
            parser_of(data[:at]).read_response()
    assert parser_of(*(bytes((byte,)) for byte in data)).read_response() == value


def test_an_error_is_a_value() -> None:
    """redis-py raises it, or gives it as one of a pipeline's answers."""
    first, second = parser_of(b"*2\r\n-ERR no\r\n+OK\r\n").read_response()
    assert isinstance(first, ResponseError)
    assert str(first) == "ERR no"
    assert second == b"OK"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"$abc\r\n",
        b"$1_0\r\n0123456789\r\n",
        b"$\xd9\xa1\r\n1\r\n",
        b"$99999999999\r\n",
        b"*1048577\r\n",
        b"*1\r\n" * 10,
        b"$3\r\nabcdef\r\n",
        b"*1\r\n$3\r\nabcdef\r\n",
        b":" + b"9" * 5000 + b"\r\n",
        b"+" + b"x" * 200_000,
        b"%1\r\n",
    ],
)
def test_what_no_redis_says_is_refused(data: bytes) -> None:
    """Another protocol, numbers that are none, lengths beyond any value, lines without end."""
    with pytest.raises(InvalidResponse):
        parser_of(data).read_response()


def test_a_length_is_refused_before_it_comes() -> None:
    """A guard's limit holds for a value whose length is known, and nothing of it is read."""
    parser = parser_of(b"$500000000\r\n")
    with Within(5, limit_bytes=1 << 20), pytest.raises(StoreError, match="above the limit"):
        parser.read_response()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"*2", b"$3", b"$-1", b"\r\n", b"abc", b":1", b"-E", b"+"]) | st.binary(),
        max_size=12,
    )
)
def test_noise_is_an_error_of_a_known_kind(pieces: list[bytes]) -> None:
    """Whatever comes: an answer, or an error that is caught."""
    parser = parser_of(*(piece for piece in pieces if piece))

    def listen() -> None:
        for _ in range(100):
            parser.read_response()

    with pytest.raises((ConnectionLost, InvalidResponse)):
        listen()


def test_what_has_come_can_be_asked() -> None:
    """Something to read is an answer nobody asked for, or the end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        parser = Parser()
        parser.on_connect(SimpleNamespace(_sock=ours))
        assert not parser.can_read()
        theirs.sendall(b"+OK\r\n+more\r\n")
        assert parser.can_read(1)
        assert parser.read_response() == b"OK"
        assert parser.can_read()
        parser.on_disconnect()
        with pytest.raises(ConnectionLost):
            parser.can_read()
