"""Every store against the suite that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.on_disk import OnDisk
from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.testing import (
    BatchesTests,
    CollectableTests,
    FaultyStore,
    ListingTests,
    PresenceTests,
    StoreTests,
    VerifiableTests,
    WatchedTests,
)


class TestMemory(StoreTests, BatchesTests, ListingTests):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = MemoryStore()
        yield store
        store.close()


class TestDisk(OnDisk, PresenceTests, WatchedTests, CollectableTests, VerifiableTests):
    pass


class TestDiskOfSmallSegments(OnDisk, PresenceTests, WatchedTests, CollectableTests, VerifiableTests):
    """Many segments instead of one."""

    def build(self, directory: Path) -> Store:
        return DiskStore(directory, max_bytes=1 << 20)


class TestFaulty(StoreTests):
    """The wrapper for fault tests is a store itself while nothing fails."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = FaultyStore(MemoryStore())
        yield store
        store.close()
