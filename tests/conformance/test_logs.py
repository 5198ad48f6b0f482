"""Every log store against the suite that is shipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vcache.logs.base import Appended, LogStore
from vcache.logs.disk import DiskLogs
from vcache.logs.memory import MemoryLogs
from vcache.logs.record import Record
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


class _Sealing(DiskLogs):
    """Seals after each append: what is asked for is always in segments, many of them merged."""

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Appended:
        appended = super().append(records, sync=sync)
        self.seal()
        return appended


class TestDiskLogsThatAreSealed(LogStoreTests):
    @pytest.fixture
    def logs(self, tmp_path: Path) -> Iterator[LogStore]:
        with _Sealing(tmp_path / "logs") as logs:
            yield logs


class TestDiskLogsInBulk(LogStoreTests):
    """Every append is a segment of its own."""

    @pytest.fixture
    def logs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogStore]:
        monkeypatch.setattr("vcache.logs.disk.BULK_RECORDS", 1)
        with DiskLogs(tmp_path / "logs") as logs:
            yield logs
