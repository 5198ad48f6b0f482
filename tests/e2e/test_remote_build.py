"""Builds of several machines over one server: what one made, the others take, and nobody waits for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.servers import VcacheServer, vcache_serve, wait_until

pytestmark = pytest.mark.e2e

_NODES: Final = 300
_DELAY_S: Final = 0.02


class Machine:
    """A checkout with a cache of its own, in processes of its own."""

    def __init__(self, place: Path, remote: str, *, nodes: int = 20) -> None:
        self.tree, self.nodes = place / "tree", nodes
        self.tree.mkdir(parents=True)
        lines = [f"build o{number}: copy i{number}\n" for number in range(nodes)]
        (self.tree / "build.ninja").write_text("rule copy\n  command = cp $in $out\n" + "".join(lines))
        for number in range(nodes):
            (self.tree / f"i{number}").write_text(f"content {number}")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", "XDG_"))},
            "HOME": str(place), "VCACHE_DIR": str(place / "cache"), "VCACHE_REMOTE": remote,
        }  # fmt: skip

    def vcache(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vcache", *arguments], cwd=self.tree, env=self.environ,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def build(self) -> subprocess.CompletedProcess[str]:
        done = self.vcache("build", "-v", "-j4")
        assert done.returncode == 0, done.stderr + done.stdout
        return done

    def holds_all(self) -> bool:
        return all(
            (self.tree / f"o{number}").read_text() == f"content {number}" for number in range(self.nodes)
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VcacheServer]:
    with vcache_serve(tmp_path / "server") as running:
        yield running


def test_what_one_machine_made_another_takes(tmp_path: Path, server: VcacheServer) -> None:
    """The second machine runs nothing: all of it came in one go, before it was asked for."""
    one, two = Machine(tmp_path / "one", server.url), Machine(tmp_path / "two", server.url)
    one.build()
    said = two.build().stdout
    assert "fetched 60 entries ahead" in said
    assert "20 from the cache" in said
    assert two.holds_all()
    # The set and its sixty entries; who needs one that has its turn later asks for it too.
    assert 61 <= json.loads(two.vcache("stats", "--json").stdout)["fetched"] < 75


def test_a_server_that_is_gone_stops_no_build(tmp_path: Path, server: VcacheServer) -> None:
    """Neither one that was never reached, nor one that ended after it was used."""
    one, two = Machine(tmp_path / "one", server.url), Machine(tmp_path / "two", server.url)
    one.build()
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(30)
    two.build()
    assert two.holds_all()
    (one.tree / "i0").write_text("changed")
    one.build()
    assert (one.tree / "o0").read_text() == "changed"


def test_a_remote_that_is_far_away_costs_a_few_round_trips(tmp_path: Path, server: VcacheServer) -> None:
    """A warm build of hundreds of nodes into an empty cache takes a part of what it takes to ask for each."""
    Machine(tmp_path / "one", server.url, nodes=_NODES).build()
    with delaying(server.port, _DELAY_S) as (port, requests):
        two = Machine(tmp_path / "two", f"http://127.0.0.1:{port}", nodes=_NODES)
        said = two.build().stdout
    assert f"fetched {3 * _NODES} entries ahead" in said
    assert two.holds_all()
    assert len(requests) < 40, "each of 900 entries would take one"


def test_the_local_tree_is_not_asked_for_the_remote(tmp_path: Path) -> None:
    """Who counts, lists or cleans the cache waits for no server that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        machine = Machine(tmp_path / "one", f"http://127.0.0.1:{silent.getsockname()[1]}?deadline=60s")
        for words in (["ls"], ["stats"], ["gc"], ["verify"]):
            assert machine.vcache(*words).returncode == 0
            silent.settimeout(0)
            with pytest.raises(BlockingIOError):
                silent.accept()


@contextmanager
def delaying(port: int, delay_s: float) -> Iterator[tuple[int, list[int]]]:
    """A port whose answers come from another one, that much later; and the sizes of what was asked in one go."""
    requests: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def forward(source: socket.socket, target: socket.socket, wait_s: float) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if wait_s:
                    time.sleep(wait_s)  # this is what it is for
                else:
                    requests.append(len(data))
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", port))
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            open_ones.extend((near, far))
            threading.Thread(target=forward, args=(near, far, 0), daemon=True).start()
            threading.Thread(target=forward, args=(far, near, delay_s), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in open_ones:
            each.close()
        wait_until(lambda: not thread.is_alive(), "the proxy to end")
