"""`vcache logs` over a real server: what a directory answers, the server answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.served import WRONG_TOKEN, guarded
from tests.patience import until
from tests.servers import vcache_serve
from vcache.errors import ConfigError, QueryError, StoreClosed, StoreError, StoreUnavailable, UsageError
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.logs.remote import RemoteLogs
from vcache.query.parser import parse

pytestmark = [pytest.mark.e2e]

AT = 1_795_000_000_000_000_001
RECORDS = [
    Record(AT, 13, "gcc", "unused variable 'x'", {"run": "r1", "line": 3, "ok": True, "ratio": 0.5}),
    Record(AT + 1, 17, "ld", "bad \udcff\x1b[31m \u202e", {"run": "r2", "message": "of its own"}),
    Record(AT + 10**9, 0, "", "three\nlines\n", {}),
]
QUERIES = (
    "", "level >= warning", 'message ~ "unused"', "| count by level | sort -count, level",
    "| stats min(@time) as first, max(level) as worst by source | sort source",
    "| fields @time, level, line", "| histogram 1s by level", "| last 1",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with vcache_serve(tmp_path_factory.mktemp("served") / "cache") as running:
        yield running


@pytest.fixture(scope="module")
def both(server, tmp_path_factory):
    """The same records at a server and in a directory."""
    remote, local = RemoteLogs(server.url), DiskLogs(tmp_path_factory.mktemp("local"))
    for store in (remote, local):
        store.append(RECORDS)
    yield remote, local
    for store in (remote, local):
        store.close()


def _said(rows):
    return [row._replace(seen_ns=0, id="") if isinstance(row, Record) else row for row in rows]


@pytest.mark.parametrize("text", QUERIES)
def test_answers_are_those_of_a_directory(both, text):
    """Records, rows, columns and counts agree"""
    remote, local = both
    query = parse(text, now_ns=0)
    there, here = remote.search(query), local.search(query)
    assert there.columns == here.columns
    assert _said(there.rows) == _said(here.rows)
    assert there.seen.records == here.seen.records
    assert there.gaps == []


def test_a_record_is_found_by_its_id(both):
    """Every id that a server tells leads back"""
    remote, _ = both
    for record in list(remote.search(parse("", now_ns=0)).rows):
        assert remote.find(record.id) == record
    assert remote.find("01a20004-ae66-7ad5-8f0c-35f500000000") is None
    with pytest.raises(UsageError):
        remote.find("no id")


def test_what_is_there_is_counted(both):
    """Figures by source and level"""
    remote, local = both
    there, here = remote.stats(), local.stats()
    assert (there.records, there.first_ns, there.last_ns) == (here.records, here.first_ns, here.last_ns)
    assert there.sources == here.sources


def test_what_comes_is_heard(server):
    """A follower hears what others append, from the moment that it is there"""
    with_ear, other = RemoteLogs(server.url), RemoteLogs(server.url)
    follower = with_ear.follow()
    other.append([Record(AT, 9, "live", f"number {number}") for number in range(3)])
    heard: list[Record] = []

    def has_heard() -> bool:
        heard.extend(follower.wait(0.2))
        return len([each for each in heard if each.source == "live"]) == 3

    until(has_heard)
    assert [each.message for each in heard if each.source == "live"] == ["number 0", "number 1", "number 2"]
    assert follower.dropped == 0
    follower.close()
    with_ear.close()
    with pytest.raises(StoreClosed):
        with_ear.append([Record(AT)])


def test_the_command_asks_a_server(server, tmp_path: Path):
    """ingest, query, templates and stats take an address for a store"""
    environ = {**os.environ, "VCACHE_DIR": str(tmp_path)}

    def logs(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "vcache", "logs", words[0], "--logs", server.url, *words[1:]], input=given, env=environ, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip

    assert logs("ingest", "--source", "cmd", given=b"x.c:1:1: warning: odd\n").returncode == 0
    row = json.loads(logs("query", "--json", "source = cmd").stdout)
    assert (row["level"], row["message"]) == ("warning", "x.c:1:1: warning: odd")
    assert b"<path.c>:<n>:<n>: warning: odd" in logs("templates", "source = cmd").stdout
    assert "cmd" in json.loads(logs("stats", "--json").stdout)["sources"]
    assert b"where the store's directory is" in logs("seal").stderr
    done = logs("query", "level >= loud")
    assert done.returncode == 2


def test_who_may_not_is_told_what_to_do(tmp_path, monkeypatch):
    """A wrong token is refused with the remedy, not the token"""
    with guarded(tmp_path / "cache") as running:
        monkeypatch.setenv("VCACHE_TOKEN", WRONG_TOKEN)
        with pytest.raises(StoreError, match="401") as refused:
            list(RemoteLogs(running.url).search(parse("", now_ns=0)).rows)
        assert WRONG_TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://", "http://h/path", "http://h:x", "http://h?nonsense=1", "ftp://h"]
)
def test_an_address_that_is_none(address):
    """Refused before anything is sent"""
    with pytest.raises((ConfigError, QueryError)):
        RemoteLogs(address)


def test_nobody_is_there():
    """An unreachable server is an error that a retry may help"""
    with pytest.raises(StoreUnavailable):
        RemoteLogs("http://127.0.0.1:9").stats()


def test_builds_record_at_a_server_that_the_settings_name(server, tmp_path: Path):
    """VCACHE_LOGS=http://…: `vcache build` writes there, marks and all, and `vcache logs` asks there"""
    (tmp_path / "build.ninja").write_text(
        "rule say\n  command = echo 'x.c:1:1: warning: odd' >&2; touch $out\nbuild a.o: say\n"
    )
    environ = {**os.environ, "VCACHE_DIR": str(tmp_path / "c"), "VCACHE_LOGS": server.url}

    def vcache(*words: str) -> str:
        command = [sys.executable, "-m", "vcache", *words]
        return subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, check=True, text=True, timeout=60
        ).stdout

    for _ in range(2):
        vcache("build")
        (tmp_path / "a.o").unlink()
    marks = 'level = warning and node = "a.o" | count by @marks | sort @marks'
    rows = [json.loads(line) for line in vcache("logs", "query", "--json", marks).splitlines()]
    assert sorted((row["@marks"] or "", row["count"]) for row in rows) == [("", 1), ("replayed", 1)]
    assert "x.c:1:1: warning: odd" in vcache("logs", "show", "last", "a.o", "--fields", "text")
