"""Records on HTTP servers, against the suite that is shipped: vcache's own, WebDAV, and others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.conformance.at_address import AtAddress, opened
from tests.servers import nginx, vcache_serve
from vcache.errors import StoreError
from vcache.store.base import Listing, Store
from vcache.store.http.store import HttpStore
from vcache.testing import BatchesTests, ListingTests, PersistentTests, PresenceTests, StoreTests
from vcache.testing.records import named

_numbers = itertools.count()


class OnHttp(AtAddress, StoreTests, BatchesTests, PresenceTests, ListingTests, PersistentTests):
    """What is the same for every server. A class provides `server`: its address."""

    @pytest.fixture
    def address(self, server: str) -> str:
        return f"{server}/base/{next(_numbers)}"


@pytest.fixture(scope="module")
def dav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("dav")) as address:
        yield address


@pytest.fixture(scope="module")
def by_the_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("book"), makes_directories=False) as address:
        yield address


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("plain"), is_listing=False) as address:
        yield address


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vcache_serve(tmp_path_factory.mktemp("own") / "store") as server:
        yield server.url


class TestOwnServer(OnHttp):
    """`vcache serve`, with its own calls for batches and listings. It keeps one place for all paths."""

    @pytest.fixture
    def address(self, own: str) -> str:
        store = opened(own)
        for key in list(store.scan()):
            store.delete(key)
        store.close()
        return f"{own}/team"

    def test_its_own_calls_are_used(self, store: Store) -> None:
        """A server that says to be vcache's is asked in batches, from the first one on."""
        assert isinstance(store, HttpStore)
        assert store.missing([named("a")[0], named("b")[0]])
        assert store.site.is_own


class TestWebDav(OnHttp):
    """nginx with WebDAV: listed by PROPFIND."""

    @pytest.fixture
    def server(self, dav: str) -> str:
        return dav


class TestWebDavByTheBook(OnHttp):
    """A server that makes no directory by itself: a PUT below a missing one is a conflict."""

    @pytest.fixture
    def server(self, by_the_book: str) -> str:
        return by_the_book


class TestPlain(OnHttp):
    """A server of PUT, GET and DELETE: nothing can be listed."""

    @pytest.fixture
    def server(self, plain: str) -> str:
        return plain

    def test_entries_are_those_of_the_records(self, store: Store) -> None:
        """Without a listing there are no entries to walk; asked by key they are there."""
        assert isinstance(store, Listing)
        key, record = named("k")
        store.put(key, record)
        with pytest.raises(StoreError, match="the server lists nothing"):
            list(store.entries())
        assert store.entry(key) == record.entry()


class OnBazel(StoreTests, BatchesTests, PresenceTests, PersistentTests):
    """Records as action results of a cache that Bazel would use. A class provides `server`: its address."""

    @pytest.fixture
    def address(self, server: str) -> str:
        return f"{server}/bazel/{next(_numbers)}?layout=bazel"

    store = OnHttp.store
    reopen = OnHttp.reopen


class TestBazelLayout(OnBazel):
    """A server of PUT and GET, as many build farms have."""

    @pytest.fixture
    def server(self, plain: str) -> str:
        return plain


class TestBazelLayoutOnOwnServer(OnBazel):
    """`vcache serve`, which reads action results, and serves those whose pieces are all there."""

    @pytest.fixture
    def server(self, own: str) -> str:
        return own
