"""The suite for whatever keeps its records in a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.testing import (
    BatchesTests,
    DamageTests,
    FilesTests,
    ListingTests,
    PersistentTests,
    StoreTests,
    flip_stored,
)


class OnDisk(StoreTests, BatchesTests, ListingTests, FilesTests, PersistentTests, DamageTests):
    """What is the same for whatever keeps its records in a directory."""

    directory: Path

    def build(self, directory: Path) -> Store:
        return DiskStore(directory)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        self.directory = tmp_path / "cache"
        store = self.build(self.directory)
        yield store
        store.close()

    @pytest.fixture
    def reopen(self) -> Iterator[Callable[[], Store]]:
        with ExitStack() as stack:

            def build() -> Store:
                store = self.build(self.directory)
                stack.callback(store.close)
                return store

            yield build

    def damage(self, store: Store, content: bytes) -> None:
        assert flip_stored(self.directory, content, bit=13) > 0
