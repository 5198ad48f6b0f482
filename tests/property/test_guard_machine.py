"""A guard against a dict: what is put, deleted and asked for while a thread sends in the background."""

from __future__ import annotations

from pathlib import Path

import hypothesis

from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.store.guard import GuardedStore, Limits
from vcache.store.memory import MemoryStore
from vcache.testing import FaultyStore
from vcache.testing.machine import store_machine


def _behind(directory: Path) -> Store:
    return GuardedStore(MemoryStore(), Limits(flush_s=0), directory / "remote")


def _bare(directory: Path) -> Store:
    limits = Limits(flush_s=0, negative_s=0, concurrency=1)
    return GuardedStore(FaultyStore(MemoryStore()), limits, directory / "remote")


def _reopened(directory: Path) -> Store:
    """What one guard has put, the next one finds: sent, or waiting to be."""
    return GuardedStore(DiskStore(directory / "far"), Limits(flush_s=30), directory / "remote")


def _settings(max_examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max_examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


TestGuard = store_machine(_behind).TestCase
TestGuard.settings = _settings(30)
TestGuardOfBareStore = store_machine(_bare).TestCase
TestGuardOfBareStore.settings = _settings(20)
TestGuardReopened = store_machine(_reopened).TestCase
TestGuardReopened.settings = _settings(15)
