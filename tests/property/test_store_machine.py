"""Every store agrees with a dict, whatever is done to it."""

from __future__ import annotations

from pathlib import Path

import hypothesis

from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.store.tiered import TieredStore
from vcache.testing import FaultyStore
from vcache.testing.machine import store_machine


def _memory(_: Path) -> Store:
    return MemoryStore()


def _disk(directory: Path) -> Store:
    return DiskStore(directory)


def _tiered(directory: Path) -> Store:
    return TieredStore([MemoryStore(), DiskStore(directory)])


def _small_memory(directory: Path) -> Store:
    """A mirror that cannot keep the large records and evicts the others all the time."""
    return TieredStore([MemoryStore(30_000), DiskStore(directory)])


def _untrusted_below(directory: Path) -> Store:
    return TieredStore(
        [
            MemoryStore(),
            DiskStore(directory / "near"),
            FaultyStore(DiskStore(directory / "far"), is_trusted=False),
        ]
    )


def _settings(max_examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max_examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


TestMemory = store_machine(_memory).TestCase
TestMemory.settings = _settings(60)
TestDisk = store_machine(_disk).TestCase
TestDisk.settings = _settings(30)
TestTiered = store_machine(_tiered).TestCase
TestTiered.settings = _settings(20)
TestSmallMemory = store_machine(_small_memory).TestCase
TestSmallMemory.settings = _settings(20)
TestUntrustedBelow = store_machine(_untrusted_below).TestCase
TestUntrustedBelow.settings = _settings(15)
