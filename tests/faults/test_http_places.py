"""HTTP tiers over TLS, through forks, and behind limits: against nginx."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.crew import Child
from tests.patience import NEVER_S, no_hang
from tests.servers import Certificates, RawRequest, RawServer, certificates, nginx, raw_http
from vcache.entry import make_key
from vcache.errors import ConfigError, StoreError, StoreFull
from vcache.store.address import Options, parse_url
from vcache.store.base import Store
from vcache.store.http import open_url
from vcache.store.http.client import Answer, HttpClient, Request
from vcache.testing.records import body_of, make_record, named

KEY, RECORD = named("k")


@contextmanager
def opened(address: str, options: str = "") -> Iterator[Store]:
    url = parse_url(f"{address}/base{options}")
    store = open_url(url, Options(url))
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, papers: Certificates) -> Iterator[str]:
    settings = f"ssl_certificate {papers.server}; ssl_certificate_key {papers.server_key};"
    with nginx(tmp_path_factory.mktemp("tls"), settings=settings, tls=True) as address:
        yield address


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, papers: Certificates) -> Iterator[str]:
    settings = (
        f"ssl_certificate {papers.server}; ssl_certificate_key {papers.server_key};"
        f"ssl_client_certificate {papers.authority}; ssl_verify_client on;"
    )
    with nginx(tmp_path_factory.mktemp("mutual"), settings=settings, tls=True) as address:
        yield address


# -- TLS -----------------------------------------------------------------------------------


def test_an_authority_can_be_named(secure: str, papers: Certificates) -> None:
    """With the authority's file a server of our own is trusted, alone and in batches."""
    with opened(secure, f"?ca={papers.authority}") as store:
        store.put(KEY, RECORD)
        for _ in range(2):
            record = store.get(KEY)
            assert record is not None
            assert record.body == RECORD.body
        assert sorted(store.scan()) == [KEY]
        assert store.delete(KEY)


def test_an_unknown_authority_is_not_trusted(secure: str) -> None:
    """A certificate that no authority of the system vouches for is an error that a retry cannot help."""
    with opened(secure) as store, pytest.raises(StoreError, match=r"ca=FILE\.pem") as caught:
        store.get(KEY)
    assert not caught.value.retryable


def test_a_certificate_is_for_its_host_only(secure: str, papers: Certificates) -> None:
    """A trusted certificate of another host is refused."""
    address = secure.replace("127.0.0.1", "localhost")
    with opened(address, f"?ca={papers.authority}") as store, pytest.raises(StoreError, match="not secure"):
        store.get(KEY)


def test_a_client_shows_its_certificate(mutual: str, papers: Certificates) -> None:
    """With `cert` and `key` a server that asks for a certificate lets the client in, else it does not."""
    with opened(mutual, f"?ca={papers.authority}") as store, pytest.raises(StoreError, match="400"):
        store.get(KEY)
    own = f"?ca={papers.authority}&cert={papers.client}&key={papers.client_key}"
    with opened(mutual, own) as store:
        assert store.get(KEY) is None


def test_a_missing_file_of_tls_is_named(secure: str, tmp_path: Path) -> None:
    """A certificate that cannot be read is an error of the configuration, with its option."""
    with pytest.raises(ConfigError, match="ca="), opened(secure, f"?ca={tmp_path}/none.pem"):
        pass


def test_no_tls_where_it_was_asked_for(tmp_path: Path) -> None:
    """A server that speaks clear text at an address of https is not spoken to."""
    with nginx(tmp_path) as address, opened(address.replace("http:", "https:")) as store:  # noqa: SIM117 - it is too long
        with pytest.raises(StoreError):
            store.get(KEY)


# -- forks ---------------------------------------------------------------------------------


def test_a_forked_child_leaves_the_connections_of_its_parent(secure: str, papers: Certificates) -> None:
    """Parent and child use one store at the same time; the child's end disturbs nobody's TLS."""
    with opened(secure, f"?ca={papers.authority}") as store:
        records = dict(named(f"k{number}") for number in range(20))
        for key, record in records.items():
            store.put(key, record)

        def work(_: int) -> None:
            for _ in range(10):
                for key, record in records.items():
                    got = store.get(key)
                    assert got is not None
                    assert got.body == record.body

        child = Child(work)
        work(0)
        assert child.wait(30) == 0
        child = Child(lambda _: None)  # ends with the parent's connections in its memory
        assert child.wait(30) == 0
        work(0)


def test_a_forked_child_makes_its_own_connections() -> None:
    """No two processes ever speak on one connection."""

    def script(connection: socket.socket, request: RawRequest) -> bool:
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return True

    server: RawServer
    with raw_http(script) as server, opened(server.address) as store:
        store.get(KEY)
        store.get(KEY)
        (parents,) = {request.peer for request in server.requests}
        child = Child(lambda _: store.get(make_key("child")))
        assert child.wait(30) == 0
        assert {request.peer for request in server.requests} != {parents}
        store.get(KEY)
        assert server.requests[-1].peer == parents


def test_a_killed_child_does_not_hold_the_parent_up(secure: str, papers: Certificates) -> None:
    """A child that is killed in the middle of a request takes nothing with it."""
    with opened(secure, f"?ca={papers.authority}") as store:
        store.put(KEY, RECORD)

        def work(report: int) -> None:
            os.write(report, b"!")
            while True:
                store.get(KEY)

        child = Child(work)
        assert os.read(child.reports, 1) == b"!"
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        record = store.get(KEY)
        assert record is not None
        assert record.body == RECORD.body


# -- signals -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_many", [False, True])
def test_an_interrupt_is_one(is_many: bool) -> None:
    """Ctrl-C in the middle of an answer is raised at once, and the client is of use afterwards."""

    def script(connection: socket.socket, request: RawRequest) -> bool:
        if request.line.startswith("HEAD"):
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        if "/interrupt" in request.line:
            os.kill(os.getpid(), signal.SIGINT)
        while True:
            connection.sendall(bytes(100))
            time.sleep(0.01)  # the answer is still coming when the signal does

    with raw_http(script) as server:
        client = HttpClient(server.address, timeout_s=NEVER_S)
        both = [Request("GET", "/"), Request("GET", "/interrupt")]
        with no_hang(), pytest.raises(KeyboardInterrupt):
            _ = client.many(both) if is_many else client.request("GET", "/interrupt")
        assert client.request("HEAD", "/").status == 404
        (answer,) = client.many([Request("HEAD", "/")])
        assert isinstance(answer, Answer)
        client.close()


# -- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [100_000, 5 << 20])
def test_a_record_that_a_server_finds_too_large(tmp_path: Path, size_bytes: int) -> None:
    """413 is StoreFull, small or while the body is still sent; the server is of use afterwards."""
    with nginx(tmp_path, max_body="50k") as address, opened(address) as store:
        key = make_key("large")
        with pytest.raises(StoreFull, match="too large"):
            store.put(key, make_record(key, body_of(size_bytes)))
        assert store.get(key) is None
        store.put(KEY, RECORD)
        assert store.get(KEY) is not None


def test_a_server_that_ends_is_found_out_and_found_again(tmp_path: Path) -> None:
    """A lost server is an error that may be retried; the connections of one before are no trouble."""
    with nginx(tmp_path / "a") as address, opened(address) as store:
        store.put(KEY, RECORD)
        assert store.get(KEY) is not None
    port = address.rpartition(":")[2]
    with opened(address) as store:
        with pytest.raises(StoreError, match=port) as caught:
            store.get(KEY)
        assert caught.value.retryable


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    """A server that ends idle connections is asked again over a new one, without an error."""

    def script(connection: socket.socket, request: RawRequest) -> bool:
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return False  # without having said so

    with raw_http(script) as server, opened(server.address) as store:
        for _ in range(5):
            assert store.get(KEY) is None
        assert len(server.requests) == 5
