"""The guard is a store itself: over a store of this process's memory, in each of its ways of working."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.store.base import Store
from vcache.store.guard import GuardedStore, Limits
from vcache.store.memory import MemoryStore
from vcache.testing import BatchesTests, FaultyStore, PresenceTests, StoreTests


class OverMemory(StoreTests, BatchesTests, PresenceTests):
    limits = Limits()
    keeps_time = True
    is_bare = False  # without batches

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        inner = FaultyStore(MemoryStore()) if self.is_bare else MemoryStore()
        inner.info = inner.info._replace(keeps_time=self.keeps_time)
        store = GuardedStore(inner, self.limits, tmp_path / "remote")
        yield store
        store.close()


class TestGuard(OverMemory):
    pass


class TestGuardOfStoreWithoutBatches(OverMemory):
    is_bare = True


class TestGuardThatWritesThrough(OverMemory):
    limits = Limits(is_behind=False)


class TestGuardWithThreads(OverMemory):
    """Of a store that keeps no time."""

    keeps_time = False


class TestGuardThatHedges(OverMemory):
    limits = Limits(hedge_s=0.001, is_behind=False)


class TestGuardWithoutMemory(OverMemory):
    """No absence is remembered, and one operation runs at a time."""

    limits = Limits(negative_s=0, concurrency=1)
