"""The Redis tier against the suite that is shipped, over real servers: TCP, TLS, and a unix socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import RedisServer, redis_server
from vcache.store.address import Options, parse_url
from vcache.store.base import Store
from vcache.store.redis import open_url
from vcache.store.sealed import sealing
from vcache.store.sealed.keys import private_text, secret_text, write_secret
from vcache.testing import BatchesTests, PersistentTests, PresenceTests, StoreTests


def opened(address: str) -> Store:
    """The store at an address, sealed where it says so, and without a guard."""
    url = parse_url(address)
    options = Options(url)
    seal = sealing(url, options)
    store = open_url(url, options)
    return store if seal is None else seal(store)


@pytest.fixture(scope="class")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for all tests of a class: each has a prefix of its own."""
    kind = request.cls
    with redis_server(tmp_path_factory.mktemp("redis"), *kind.arguments, tls=kind.tls) as server:
        yield server


class OnRedis(StoreTests, BatchesTests, PresenceTests, PersistentTests):
    """What all ways to a server have in common."""

    tls = False
    arguments: tuple[str, ...] = ()

    def address(self, server: RedisServer, prefix: str) -> str:
        return f"redis://127.0.0.1:{server.port}/0?prefix={prefix}"

    @pytest.fixture
    def reopen(self, server: RedisServer, tmp_path: Path) -> Iterator[Callable[[], Store]]:
        with ExitStack() as stack:

            def reopen() -> Store:
                store = opened(self.address(server, tmp_path.name))
                stack.callback(store.close)
                return store

            yield reopen

    @pytest.fixture
    def store(self, reopen: Callable[[], Store]) -> Store:
        store = reopen()
        for key in list(store.scan()):
            store.delete(key)
        return store


class TestTcp(OnRedis):
    pass


class TestUnixSocket(OnRedis):
    arguments = ("--requirepass", "p@ss/word")

    def address(self, server: RedisServer, prefix: str) -> str:
        return f"redis+unix://:p%40ss%2Fword@{server.socket}?db=3&ttl=1h&prefix={prefix}"


class TestTls(OnRedis):
    tls = True

    def address(self, server: RedisServer, prefix: str) -> str:
        return f"rediss://localhost:{server.port}/1?ca={server.ca}&prefix={prefix}"


class TestSealed(OnRedis):
    """Signed and encrypted, under two keys."""

    @pytest.fixture(autouse=True)
    def keys(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write_secret("ci.key", private_text("ci", b"1" * 32))
        write_secret("new.key", secret_text(b"2" * 32))
        write_secret("old.key", secret_text(b"3" * 32))

    def address(self, server: RedisServer, prefix: str) -> str:
        return f"{super().address(server, prefix)}&sign=ci.key&encrypt=new.key&encrypt_old=old.key"
