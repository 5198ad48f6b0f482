"""Entries brought to a server, fetched from it, and carried in files, by the real command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_remote_build import Machine, delaying
from tests.patience import no_hang
from tests.servers import VcacheServer, vcache_serve, wait_until
from vcache import Cache
from vcache.store.disk import DiskStore

pytestmark = pytest.mark.e2e


class Here:
    """A cache directory, and the command over it."""

    def __init__(self, place: Path, name: str) -> None:
        self.directory, self._place = place / name, place

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", "XDG_"))
        }
        return subprocess.Popen(
            [sys.executable, "-m", "vcache", "--dir", str(self.directory), *arguments],
            cwd=self._place, env={**environ, "HOME": str(self._place)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
        )  # fmt: skip

    def run(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, err.decode()
        found: dict[str, Any] = json.loads(out)
        return found

    def content(self) -> dict[str | bytes, object]:
        with Cache(DiskStore(self.directory)) as cache:
            return cache.get_many(list(cache))

    def fill(self, count: int, *, size_bytes: int = 200, tag: str = "") -> None:
        with Cache(DiskStore(self.directory)) as cache:
            for number in range(count):
                body = number.to_bytes(4, "big") * (size_bytes // 4)
                cache.put(f"{tag}{number}", body, tags=[tag] if tag else [])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VcacheServer]:
    with vcache_serve(tmp_path / "server") as running:
        yield running


def test_push_then_pull_gives_equal_caches(tmp_path: Path, server: VcacheServer) -> None:
    """Thousands of entries, a large one among them, go there and come to a third."""
    one, two = Here(tmp_path, "one"), Here(tmp_path, "two")
    one.fill(2500)
    with Cache(DiskStore(one.directory)) as cache:
        cache.put("large", os.urandom(20 << 20))
    assert one.run("push", server.url)["moved"] == 2501
    again = one.run("push", server.url)
    assert (again["moved"], again["skipped"]) == (0, 2501)
    assert two.run("pull", server.url)["moved"] == 2501
    assert two.content() == one.content()


def test_a_push_that_was_killed_goes_on(tmp_path: Path, server: VcacheServer) -> None:
    """What came before stays, and is not moved again."""
    one, two = Here(tmp_path, "one"), Here(tmp_path, "two")
    one.fill(6000)
    with delaying(server.port, 0.05) as (port, _):
        process = one.start("push", f"http://127.0.0.1:{port}")
        there = DiskStore(server.directory, read_only=True)
        wait_until(lambda: there.counters().entries > 0 or process.poll() is not None, "the first entries")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        there.close()
    report = one.run("push", server.url)
    assert report["skipped"] > 0
    assert report["moved"] + report["skipped"] == 6000
    two.run("pull", server.url)
    assert two.content() == one.content()


def test_a_server_that_goes_away_is_told(tmp_path: Path, server: VcacheServer) -> None:
    """The exit status is 1, the reason is said, and nothing is taken for moved."""
    one = Here(tmp_path, "one")
    one.fill(3000)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(30)
    with no_hang():
        report = one.run("push", server.url, status=1)
    assert report["moved"] == 0
    assert report["stopped"]


def test_only_what_has_a_label(tmp_path: Path, server: VcacheServer) -> None:
    """Both ways, a label takes what has it."""
    one, two, three = (Here(tmp_path, name) for name in ("one", "two", "three"))
    one.fill(20, tag="red")
    one.fill(30, tag="blue")
    assert one.run("push", "--tag", "red", server.url)["moved"] == 20
    one.run("push", server.url)
    assert two.run("pull", "--tag", "blue", server.url)["moved"] == 30
    assert len(three.content()) == 0


def test_only_what_a_run_used(tmp_path: Path) -> None:
    """What the last run made or took goes with all that another machine needs to take it too, and no more."""
    one, two = Machine(tmp_path / "one", ""), Machine(tmp_path / "two", "")
    rule = "rule copy\n  command = cat $in h > $out && echo $out: $in h > $out.d\n  depfile = $out.d\n  deps = gcc\n"
    for machine in (one, two):
        text = (machine.tree / "build.ninja").read_text()
        (machine.tree / "build.ninja").write_text(rule + text.partition("$out\n")[2])
        (machine.tree / "h").write_text("old")
    one.build()
    (one.tree / "h").write_text("new")
    one.build()
    there = f"disk:{tmp_path / 'there'}"
    assert '"moved": 80' in one.vcache("push", "--json", "--since=-1", there).stdout
    assert '"moved": 60' in one.vcache("push", "--json", "--since=-2", there).stdout, "its lists are the same"
    assert '"moved": 0' in one.vcache("push", "--json", "--since=-2", there).stdout
    assert two.vcache("pull", there).returncode == 0
    (two.tree / "h").write_text("new")
    assert "20 from the cache" in two.build().stdout
    assert (two.tree / "o1").read_text() == "content 1new"


def test_a_file_carries_a_cache_over_an_air_gap(tmp_path: Path) -> None:
    """Through a pipe or a file, small memory, the same content."""
    one, two, three = (Here(tmp_path, name) for name in ("one", "two", "three"))
    one.fill(500)
    with Cache(DiskStore(one.directory)) as cache:
        cache.put("large", os.urandom(30 << 20))
    one.run("export", "all.vcx")
    assert two.run("import", "all.vcx")["moved"] == 501
    assert two.content() == one.content()
    writing = one.start("export", "-")
    reading = three.start("import", "-", stdin=writing.stdout)
    assert reading.wait(60) == 0
    assert writing.wait(60) == 0
    for process in (writing, reading):
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    assert three.content() == one.content()


def test_workspaces_of_one_machine_share_one_directory(tmp_path: Path) -> None:
    """There is nothing to move: what one checkout put, the other gets from the same files."""
    shared = tmp_path / "shared"
    with Cache(DiskStore(shared), root=tmp_path) as one, Cache(DiskStore(shared), root=tmp_path / "x") as two:
        one.put("large", bytes(2 << 20))
        assert two.path("large").samefile(one.path("large"))
        used = one.stats().disk_bytes
        two.put("again", bytes(2 << 20))
        assert two.stats().disk_bytes - used < 100_000, "equal content is kept once"
