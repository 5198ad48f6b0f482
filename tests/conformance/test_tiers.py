"""Stores made of stores against the suite that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.on_disk import OnDisk
from vcache.store.base import Files, Store
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.store.tiered import TieredStore
from vcache.testing import (
    BatchesTests,
    FaultyStore,
    ListingTests,
    PresenceTests,
    StoreTests,
)


class TestMemoryOverDisk(OnDisk, PresenceTests):
    def build(self, directory: Path) -> Store:
        return TieredStore([MemoryStore(), DiskStore(directory)])


class TestMemoryOverDiskOverPlain(OnDisk, PresenceTests):
    """A mirror, a tier that owns records, and one that can do the required only."""

    def build(self, directory: Path) -> Store:
        return TieredStore(
            [
                MemoryStore(),
                DiskStore(directory / "near"),
                FaultyStore(DiskStore(directory / "far"), is_trusted=False),
            ]
        )


class TestDiskOverDisk(OnDisk, PresenceTests):
    def build(self, directory: Path) -> Store:
        return TieredStore([DiskStore(directory / "near"), DiskStore(directory / "far")])


class TestMemoryOverMemory(StoreTests, BatchesTests, ListingTests, PresenceTests):
    """Two tiers that own records, none with files to hold."""

    cannot = (Files,)

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = TieredStore([MemoryStore(), MemoryStore()])
        yield store
        store.close()
