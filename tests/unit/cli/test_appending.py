"""Records of builds in the store of the settings, which is put in order now and then."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.patience import until
from vcache.cli.appending import MANY_TAILS, appender
from vcache.cli.setup import Setup
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.query.parser import parse

DAY_NS = 86_400 * 10**9


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VCACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("VCACHE_LOGS", raising=False)
    return tmp_path / "cache" / "logs" / "default"


def append(count: int, at_ns: int = 0) -> None:
    for number in range(count):
        takes = appender(Setup())
        assert takes is not None
        takes.append([Record(at_ns or time.time_ns(), 9, "s", f"number {number}")])
        takes.close()


def messages(place: Path) -> list[str]:
    store = DiskLogs(place, seals=False)
    try:
        return [record.message for record in store.search(parse("", now_ns=0)).rows]  # type: ignore[union-attr]
    finally:
        store.close()


def test_records_are_where_logs_are_asked_for(place: Path):
    """In the directory of the settings' cache."""
    append(2)
    assert messages(place) == ["number 0", "number 1"]


def test_where_logs_are_off_there_is_nothing_to_append_to(place: Path, monkeypatch: pytest.MonkeyPatch):
    """And nothing is made."""
    monkeypatch.setenv("VCACHE_LOGS", "off")
    assert appender(Setup()) is None
    assert not place.exists()


def test_many_builds_leave_few_files(place: Path):
    """What they left is sealed by a process of its own, and nothing of it is lost."""
    append(MANY_TAILS)
    until(lambda: not any((place / "tail").iterdir()))
    assert sorted(messages(place)) == sorted(f"number {number}" for number in range(MANY_TAILS))


def test_what_is_over_the_budget_goes_then(place: Path, monkeypatch: pytest.MonkeyPatch):
    """By age or by size, as the settings say."""
    monkeypatch.setenv("VCACHE_LOGS_MAX_AGE", "1d")
    append(MANY_TAILS, at_ns=time.time_ns() - 2 * DAY_NS)
    until(lambda: not messages(place))
