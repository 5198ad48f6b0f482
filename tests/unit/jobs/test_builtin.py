"""Built-in jobs: they do what the commands do, with the worker's settings, and answer with what they did."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcache.cache import Cache
from vcache.jobs.builtin import GC, LOGS_GC, LOGS_SEAL, collect_cache, collect_logs, seal_logs
from vcache.jobs.handlers import GiveUp, Registry
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("VCACHE_LOGS", "VCACHE_NAMESPACE", "VCACHE_QUEUE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VCACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("VCACHE_LOGS", str(tmp_path / "logs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_their_payloads_can_be_checked():
    """Each takes what its docstring says, by name."""
    import vcache.jobs.builtin as module

    found = Registry()
    found.add_all(vars(module))
    found.prepare()
    assert found.kinds == (GC, LOGS_GC, LOGS_SEAL)
    handler = found.get(LOGS_GC)
    assert handler is not None
    assert handler.arguments({"max_age": "30d", "keep": {"gcc": "7d"}}) == {
        "max_age": "30d",
        "keep": {"gcc": "7d"},
    }


def test_the_cache_is_collected():
    """To the bounds of the payload."""
    with Cache() as cache:
        for number in range(5):
            cache.put(f"name {number}", number)
    report = collect_cache(max_entries=2)
    assert (report["dropped_entries"], report["kept_entries"]) == (3, 2)


def test_logs_are_sealed_and_collected(home: Path):
    """A tail becomes a segment; what is too much goes."""
    with DiskLogs(home / "logs", seals=False) as store:
        store.append([Record(number, 0, "gcc", "x") for number in range(1, 11)])
    assert seal_logs()["records"] == 10
    assert collect_logs(keep={"gcc": "1d"})["records"] == 10


def test_bounds_that_are_none_end_the_job():
    """At once: no further attempt would help."""
    with pytest.raises(GiveUp, match="not a size"):
        collect_cache(max_bytes="much")
    with pytest.raises(GiveUp, match="soon"):
        collect_logs(max_age="soon")
    with pytest.raises(GiveUp, match="nothing bounds the logs"):
        collect_logs()


def test_a_store_elsewhere_is_said(monkeypatch: pytest.MonkeyPatch):
    """Logs of a server are the server's affair."""
    monkeypatch.setenv("VCACHE_LOGS", "http://127.0.0.1:1")
    with pytest.raises(GiveUp, match="where its directory is"):
        seal_logs()
