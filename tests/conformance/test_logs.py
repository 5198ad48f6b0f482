"""Every log store against the suite that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.logs.base import LogStore
from vcache.logs.disk import DiskLogs
from vcache.logs.memory import MemoryLogs
from vcache.testing.logs import LogStoreTests


class TestMemoryLogs(LogStoreTests):
    @pytest.fixture
    def logs(self) -> Iterator[LogStore]:
        with MemoryLogs() as logs:
            yield logs


class TestDiskLogs(LogStoreTests):
    @pytest.fixture
    def logs(self, tmp_path: Path) -> Iterator[LogStore]:
        with DiskLogs(tmp_path / "logs") as logs:
            yield logs


class TestDiskLogsThatKeepNothing(LogStoreTests):
    """Every answer is decoded anew."""

    @pytest.fixture
    def logs(self, tmp_path: Path) -> Iterator[LogStore]:
        with DiskLogs(tmp_path / "logs", kept_records=0) as logs:
            yield logs
