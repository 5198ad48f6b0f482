"""The HTTP client: what is sent, what is received, and what is kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.servers import RawRequest, RawServer, Script, raw_http
from vcache.errors import ConfigError, StoreClosed, StoreError, StoreUnavailable, UsageError
from vcache.kit.deadlines import Within
from vcache.store.http.client import Answer, HttpClient, Request
from vcache.store.http.messages import TooLong


def echo(connection: socket.socket, request: RawRequest) -> bool:
    """Answers with the request's target and body."""
    body = request.line.split()[1].encode() + b" " + request.body
    head = f"HTTP/1.1 200 OK\r\nX-Method: {request.line.split()[0]}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + (b"" if request.line.startswith("HEAD") else body))
    return True


@contextmanager
def talking(script: Script = echo, **options: object) -> Iterator[tuple[HttpClient, RawServer]]:
    with raw_http(script) as server:
        client = HttpClient(server.address, **options)  # type: ignore[arg-type]
        try:
            yield client, server
        finally:
            client.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "MKCOL", "PROPFIND", "PUT", "POST"])
@pytest.mark.parametrize("is_many", [False, True])
def test_a_method_is_sent_as_it_is(method: str, is_many: bool) -> None:
    """any method goes with and without a body, and leaves nothing behind for the next request"""
    with talking() as (client, server):
        for body in (None, b"", b"some"):
            if method == "HEAD" and body is not None:
                continue
            if is_many:
                (answer,) = client.many([Request(method, "/a?b=c", body=body)])
                assert isinstance(answer, Answer)
            else:
                answer = client.request(method, "/a?b=c", body=body)
            assert answer.status == 200
            assert answer.headers["x-method"] == method
            request = server.requests[-1]
            assert request.line == f"{method} /a?b=c HTTP/1.1"
            assert request.body == (body or b"")
            assert ("content-length" in request.headers) == (body is not None)
            assert client.request("GET", "/next").body == b"/next "
            assert set(server.requests[-1].headers) == {"host", "user-agent", "accept"}


PARTS = [
    (b"a", b"b"),
    (b"", bytearray(b"x") * 1000, memoryview(b"yy")),
    (b"h" * 100, b"z" * (256 << 10)),
    (bytes(1 << 20), bytearray(3 << 20), b"end"),
    (memoryview(b"abcdefgh").cast("I"),),
]


@pytest.mark.parametrize("parts", PARTS, ids=[str(sum(memoryview(each).nbytes for each in p)) for p in PARTS])
@pytest.mark.parametrize("is_many", [False, True])
def test_a_body_of_parts_is_sent_as_one(parts: tuple[bytes, ...], is_many: bool) -> None:
    """buffers of any kind, joined or one after the other, with their whole length"""
    with talking() as (client, server):
        if is_many:
            client.many([Request("PUT", "/p", body=parts)])
        else:
            client.request("PUT", "/p", body=parts)
        assert server.requests[0].body == b"".join(memoryview(part).cast("B") for part in parts)
        assert "expect" not in server.requests[0].headers
        assert "transfer-encoding" not in server.requests[0].headers
        assert server.requests[0].headers["content-type"] == "application/octet-stream"


def test_headers_are_the_client_s_and_the_request_s() -> None:
    """what a request adds is its own; an empty value is sent as one"""
    with talking(headers=[("Authorization", "Bearer t")]) as (client, server):
        client.request("PUT", "/", headers=[("Content-Type", "text/x"), ("X-Empty", "")], body=b"b")
        client.request("GET", "/", headers=[("Range", "bytes=0-1")])
        client.request("GET", "/")
        first, second, third = (request.headers for request in server.requests)
        assert all(headers["authorization"] == "Bearer t" for headers in (first, second, third))
        assert first["content-type"] == "text/x"
        assert first["x-empty"] == ""
        assert second["range"] == "bytes=0-1"
        assert "range" not in third
        assert "content-type" not in third


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0b"), ("X: Y", "a"), ("X\r\n", "a"), ("", "a"), ("X", "☃")],
)
def test_no_value_can_begin_another_header(name: str, value: str) -> None:
    """line ends and what no header may hold are refused before anything is sent"""
    with talking() as (client, server):
        for send in (
            lambda: client.request("GET", "/", headers=[(name, value)]),
            lambda: client.many([Request("GET", "/", headers=[(name, value)])]),
        ):
            with pytest.raises(UsageError):
                send()
        assert server.requests == []


@pytest.mark.parametrize("target", ["", "a", "http://elsewhere/", "/a b", "/a\r\nX: y", "/ü", "/\0", "*"])
def test_a_target_is_a_path(target: str) -> None:
    """nothing else can be asked for, so no other server either"""
    with talking() as (client, server):
        for send in (lambda: client.request("GET", target), lambda: client.many([Request("GET", target)])):
            with pytest.raises(UsageError):
                send()
        assert server.requests == []


@pytest.mark.parametrize(
    "base", ["", "host", "ftp://h", "file:///etc", "http://h/path", "http://u:p@h", "http://h:1:2"]
)
def test_a_base_is_a_server(base: str) -> None:
    """an address of anything else is refused, without showing secrets"""
    with pytest.raises(ConfigError):
        HttpClient(base)


def test_connections_are_kept() -> None:
    """one after the other, requests go over one connection; no more than the limit at once"""
    with talking(max_connections=3) as (client, server):
        for _ in range(5):
            client.request("GET", "/")
        assert len({request.peer for request in server.requests}) == 1
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: client.request("GET", f"/{number}"), range(80)))
        assert len({request.peer for request in server.requests}) <= 3


def test_many_are_answered_in_their_order() -> None:
    """more requests than connections, of all methods, come back each in its place"""
    with talking(max_connections=4) as (client, server):
        requests = [
            Request(
                ("GET", "PUT", "POST")[number % 3], f"/{number}", body=b"b" * number if number % 3 else None
            )
            for number in range(100)
        ]
        for _ in range(2):
            answers = client.many(requests)
            for number, answer in enumerate(answers):
                assert isinstance(answer, Answer)
                assert answer.body == f"/{number} ".encode() + (b"b" * number if number % 3 else b"")
        assert len({request.peer for request in server.requests}) <= 4
        assert client.many([]) == []


def test_errors_of_many_are_in_their_places() -> None:
    """one that is too long, cut or late does not take the others with it"""

    def script(connection: socket.socket, request: RawRequest) -> bool:
        if "/cut" in request.line:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
            return False
        if "/late" in request.line:
            connection.recv(1)
        return echo(connection, request)

    with talking(script) as (client, _):
        requests = [Request("GET", "/long", limit_bytes=3), Request("GET", "/cut"), Request("GET", "/late")]
        requests += [Request("GET", f"/{number}") for number in range(20)]
        with Within(0.3):
            long, cut, late, *rest = client.many(requests)
        assert isinstance(long, TooLong)
        assert isinstance(cut, StoreUnavailable)
        assert isinstance(late, StoreUnavailable)
        assert [isinstance(each, Answer) for each in rest] == [True] * 20
        (again,) = client.many([Request("GET", "/again")])
        assert isinstance(again, Answer)


def test_what_was_not_begun_in_time_is_an_error() -> None:
    """after the deadline nothing more is sent, and the answers that came are kept"""
    gate = threading.Event()

    def script(connection: socket.socket, request: RawRequest) -> bool:
        if "/slow" in request.line:
            gate.wait(30)
        return echo(connection, request)

    with talking(script, max_connections=1) as (client, server):
        with Within(0.2):
            first, slow, never = client.many([Request("GET", path) for path in ("/a", "/slow", "/never")])
        assert isinstance(first, Answer)
        assert isinstance(slow, StoreUnavailable)
        assert isinstance(never, StoreUnavailable)
        gate.set()
        assert all("/never" not in request.line for request in server.requests)


def test_a_limit_is_of_the_request_or_the_client() -> None:
    """an answer is as long as allowed and no longer, whatever the other requests' limits"""
    with talking(limit_bytes=100) as (client, _):
        assert len(client.request("GET", "/" + "a" * 98).body) == 100
        with pytest.raises(TooLong, match="100 bytes"):
            client.request("GET", "/" + "a" * 99)
        assert len(client.request("GET", "/" + "a" * 500, limit_bytes=600).body) == 502
        with pytest.raises(TooLong, match="10 bytes"):
            client.request("GET", "/" + "a" * 50, limit_bytes=10)
        with pytest.raises(TooLong):
            client.request("GET", "/", limit_bytes=0)
        assert client.request("GET", "/").body == b"/ "


def test_a_closed_client_says_so() -> None:
    """after `close` nothing is sent; it may be called again"""
    with talking() as (client, server):
        client.close()
        client.close()
        with pytest.raises(StoreClosed):
            client.request("GET", "/")
        with pytest.raises(StoreClosed):
            client.many([Request("GET", "/")])
        assert server.requests == []


def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """a proxy of the environment is for other machines; one that is named is for all"""
    with raw_http(echo) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with talking() as (client, server):
            client.request("GET", "/")
            assert len(server.requests) == 1
        for options in ({}, {"proxy": proxy.address}):
            client = HttpClient("http://cache.invalid", **options)  # type: ignore[arg-type]
            client.request("GET", "/far")
            client.close()
        assert [request.line for request in proxy.requests] == ["GET http://cache.invalid/far HTTP/1.1"] * 2
        client = HttpClient("http://cache.invalid", proxy="")
        with pytest.raises(StoreError) as caught:
            client.request("GET", "/far")
        client.close()
        assert caught.value.retryable


def test_an_answer_shows_what_it_is() -> None:
    """for people: the status and the length"""
    with talking() as (client, _):
        assert repr(client.request("GET", "/")) == "Answer(200, 2 bytes)"
