"""Network stores without their guard, and fixtures for suites whose stores an address opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module

import pytest

from vcache.store.address import Options, parse_url
from vcache.store.base import Store

__all__ = ["AtAddress", "opened"]

_ROOMS = {"https": "http", "reapis": "reapi", "rediss": "redis"}


def opened(address: str) -> Store:
    """The store of a network address itself."""
    url = parse_url(address)
    room = "fs" if url.scheme.startswith("fs+") else _ROOMS.get(url.scheme, url.scheme)
    store: Store = import_module(f"vcache.store.{room}").open_url(url, Options(url))
    return store


class AtAddress:
    """Opens what a class's fixture `address` names."""

    @pytest.fixture
    def reopen(self, address: str) -> Iterator[Callable[[], Store]]:
        with ExitStack() as stack:

            def build() -> Store:
                store = opened(address)
                stack.callback(store.close)
                return store

            yield build

    @pytest.fixture
    def store(self, reopen: Callable[[], Store]) -> Store:
        return reopen()
