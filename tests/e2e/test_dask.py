"""Builds on a real Dask cluster: a scheduler and workers, each a process that cannot see the project."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

_COUNT = 5
_NINJA = """\
rule cc
  command = gcc -g -O1 -Wall -I{root}/inc -Igen -MMD -MF $out.d -c {root}/$in -o $out
  depfile = $out.d
  deps = gcc
rule gen
  command = printf '#define GENERATED 7\\n' > $out
rule who
  command = echo "$${{WHO:-nobody}}" > $out
rule link
  command = gcc -o $out @$out.rsp
  rspfile = $out.rsp
  rspfile_content = $in
build gen/gen.h: gen
build headers: phony gen/gen.h
build who: who
"""


@dataclass
class Cluster:
    """Processes of Dask, ended by their ids."""

    home: Path
    hidden: Path  # the directory that its workers see empty
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        file = self.home / "scheduler.json"
        # It is there before it is written: an object has come whole with its last brace.
        _wait(lambda: file.exists() and file.read_text().rstrip().endswith("}"), "the scheduler starts")
        return str(json.loads(file.read_text())["address"]).replace("tcp://", "dask://")

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def _wait(is_there: Callable[[], object], what: str, *, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not is_there():
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.02)


def _start(home: Path, hidden: Path, *, workers: int) -> Cluster:
    """A cluster with a scheduler on a free port of the loopback."""
    home.mkdir(parents=True)
    hidden.mkdir(exist_ok=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
    environ |= {"WHO": "worker", "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "0"}
    file = ("--scheduler-file", os.fspath(home / "scheduler.json"))
    dask = (sys.executable, "-m", "distributed.cli.dask_scheduler")
    quiet = ("--no-dashboard", "--host", "127.0.0.1")
    with open(home / "log", "wb") as log:
        scheduler = subprocess.Popen(
            (*dask, *file, *quiet, "--port", "0"), cwd=home, env=environ, stdout=log, stderr=log
        )
        cluster = Cluster(home, hidden, scheduler)
        for number in range(workers):
            dask = (sys.executable, "-m", "distributed.cli.dask_worker")
            own = ("--nthreads", "2", "--no-nanny", "--local-directory", os.fspath(home / f"worker{number}"))
            # What it is not told to build from, it cannot see.
            hide = (
                ("unshare", "--user", "--map-root-user", "--mount")
                if os.geteuid()
                else ("unshare", "--mount")
            )
            script = 'mount -t tmpfs none "$0" && exec "$@"'
            argv = (*hide, "/bin/sh", "-c", script, os.fspath(hidden), *dask, *file, *quiet, *own)
            cluster.workers.append(subprocess.Popen(argv, cwd=home, env=environ, stdout=log, stderr=log))
    return cluster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dask")


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[Cluster]:
    """Two workers that see nothing below `place/hidden`."""
    found = _start(place / "cluster", place / "hidden", workers=2)
    yield found
    found.close()


@dataclass(frozen=True)
class World:
    """A project, and a cache that workers can open."""

    root: Path
    cache: Path
    url: str

    @property
    def environ(self) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        return {
            **environ,
            "VCACHE_DIR": os.fspath(self.cache),
            "WHO": "client",
            "LC_ALL": "C",
            "NO_COLOR": "1",
        }

    def argv(self, *words: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "vcache", "build", "-f", "build.ninja", *words)

    def build(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*words),
            cwd=self.root, env=self.environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def there(self, *words: str, status: int = 0, cache: str = "") -> subprocess.CompletedProcess[str]:
        return self.build(
            "--executor", self.url + (f"?cache={cache}" if cache else ""), *words, status=status
        )

    def outputs(self) -> dict[str, bytes]:
        names = [f"obj/f{number}.o" for number in range(_COUNT)] + ["obj/main.o", "gen/gen.h", "app"]
        return {name: (self.root / name).read_bytes() for name in names}

    def sweep(self) -> None:
        for name in ("obj", "gen", "app", "who", "out", ".vcache"):
            subprocess.run(("rm", "-rf", os.fspath(self.root / name)), check=True)


def _project(root: Path) -> None:
    """Sources with headers of their own, a generated one, and a program."""
    (root / "src").mkdir(parents=True)
    (root / "inc").mkdir()
    (root / "inc/all.h").write_text('#include "gen.h"\n#include "deep/more.h"\n')
    (root / "inc/deep").mkdir()
    (root / "inc/deep/more.h").write_text("#define MORE 1000\n")
    ninja = _NINJA.format(root=root)
    names = [*(f"f{number}" for number in range(_COUNT)), "main"]
    for number in range(_COUNT):
        text = f'#include "all.h"\nint f{number}(int x) {{ return x * {number} + GENERATED + MORE; }}\n'
        (root / f"src/f{number}.c").write_text(text)
    calls = " + ".join(f"f{number}({number})" for number in range(_COUNT))
    heads = "".join(f"int f{number}(int);" for number in range(_COUNT))
    (root / "src/main.c").write_text(
        f'#include <stdio.h>\n{heads}\nint main(void) {{ printf("%d\\n", {calls}); return 0; }}\n'
    )
    ninja += "".join(f"build obj/{name}.o: cc src/{name}.c || headers\n" for name in names)
    ninja += f"build app: link {' '.join(f'obj/{name}.o' for name in names)}\nbuild all: phony app who\ndefault all\n"
    (root / "build.ninja").write_text(ninja)


@pytest.fixture
def world(place: Path, cluster: Cluster, request: pytest.FixtureRequest) -> World:
    root = place / "hidden" / request.node.name
    _project(root)
    return World(root, place / f"{request.node.name}-cache", cluster.url)


def test_a_build_elsewhere_makes_what_one_here_makes(world: World):
    """Every output is that of a local build, byte by byte, and all of it was made by workers."""
    done = world.there("--json")
    assert done.stderr.count("runs on this machine") == 0, done.stderr
    assert json.loads(done.stdout)["run_count"] == _COUNT + 4
    made = world.outputs()
    assert (world.root / "who").read_text() == "worker\n"
    assert subprocess.run((world.root / "app",), capture_output=True, check=True).stdout == b"5065\n"
    assert not list((world.root / "obj").glob("*.d"))

    # What the workers made is in the cache, for whoever asks next: no worker is needed.
    world.sweep()
    again = json.loads(world.build("--json").stdout)
    assert (again["run_count"], again["hit_count"]) == (0, _COUNT + 4)
    assert world.outputs() == made

    world.sweep()
    world.build("--no-cache")
    assert world.outputs() == made
    assert (world.root / "who").read_text() == "client\n"


def test_an_edit_reaches_workers(world: World, place: Path):
    """A header that nobody declared is brought along as it is now, in this run and in the next."""
    shared = f"disk:{place}/edit-shared"
    world.there(cache=shared)
    (world.root / "inc/deep/more.h").write_text("#define MORE 2000\n")
    done = world.there("--json", cache=shared)
    assert json.loads(done.stdout)["run_count"] == _COUNT + 1
    assert "runs on this machine" not in done.stderr
    assert subprocess.run((world.root / "app",), capture_output=True, check=True).stdout == b"10065\n"


def test_an_honest_failure_is_told_once(world: World, place: Path):
    """A compiler's own error is that of a local build, and the command does not run a second time."""
    log = place / "failures"
    ninja = world.root / "build.ninja"
    ninja.write_text(ninja.read_text().replace("gcc -g", f"echo x >> {log}; gcc -g"))
    (world.root / "src/f1.c").write_text("int f1(int x) { return y; }\n")
    done = world.there("obj/f1.o", status=1)
    assert f"{world.root}/src/f1.c:1:24: error: 'y' undeclared" in done.stdout
    assert "runs on this machine" not in done.stderr
    assert log.read_text() == "x\n"


def test_what_only_this_machine_can_do_is_done_here(world: World, place: Path):
    """A command that needs what no worker has runs here, and the build says why."""
    outside = place / "hidden" / "outside"
    outside.write_text("of this machine\n")
    ninja = world.root / "build.ninja"
    ninja.write_text(ninja.read_text() + f"rule take\n  command = cat {outside} > $out\nbuild out: take\n")
    done = world.there("out")
    assert (world.root / "out").read_text() == "of this machine\n"
    assert "out runs on this machine: it failed in a way that another machine may cause" in done.stderr


def test_a_stopped_build_stops_its_workers(world: World):
    """SIGINT ends what runs elsewhere, too."""
    marker = f"{os.getpid()}.25"
    ninja = world.root / "build.ninja"
    ninja.write_text(f"rule slow\n  command = sleep 60{marker} && touch $out\nbuild out: slow\n")

    def words_of(pid: str) -> list[bytes]:
        try:
            return Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:
            return []  # it has ended since it was listed

    def sleeps() -> bool:
        return any(f"60{marker}".encode() in words_of(pid) for pid in os.listdir("/proc") if pid.isdigit())

    with subprocess.Popen(world.argv("--executor", world.url), cwd=world.root, env=world.environ) as process:
        try:
            _wait(sleeps, "the command runs")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    _wait(lambda: not sleeps(), "the command has ended")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("dask://127.0.0.1:1", "no scheduler answers there"),
        ("dask://127.0.0.1", "write dask://HOST:PORT"),
        ("{url}?cash=disk:x", "is none of cache=ADDRESS"),
        ("{url}?cache=disk:{root}/mine", "is another one"),
    ],
)
def test_a_wrong_address_is_a_clear_error(world: World, url: str, words: str):
    """Exit code 2, with what is wrong, before anything runs."""
    done = world.build("--executor", url.format(url=world.url, root=world.root), status=2)
    assert words in done.stderr
    assert not (world.root / "gen").exists()


def test_lost_workers_and_a_lost_scheduler_cost_time_only(place: Path):
    """A build goes on when a worker is killed, and when the scheduler is."""
    cluster = _start(place / "mortal", place / "hidden", workers=2)
    root = place / "hidden" / "mortal-project"
    root.mkdir()
    count = 12
    rule = "rule slow\n  command = sleep 0.3; echo $out > $out; echo $out >> $log\n"
    (root / "build.ninja").write_text(
        f"log = {place}/mortal-log\n{rule}"
        + "".join(f"build {batch}{number}: slow\n" for batch in "ab" for number in range(count))
        + "".join(f"build {batch}: phony {' '.join(f'{batch}{n}' for n in range(count))}\n" for batch in "ab")
    )
    log = place / "mortal-log"
    log.write_text("")
    try:
        world, output = World(root, place / "mortal-cache", cluster.url), ""
        for batch, victim in (("a", cluster.workers[0]), ("b", cluster.scheduler)):
            argv = world.argv("--executor", world.url, batch)
            log.write_text("")
            with subprocess.Popen(
                argv, cwd=root, env=world.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as process:
                _wait(lambda: log.read_text().count("\n") >= 2, "commands run")
                victim.kill()
                output, _ = process.communicate(timeout=120)
            assert process.returncode == 0, output
            names = [f"{batch}{number}" for number in range(count)]
            assert [(root / name).read_text() for name in names] == [f"{name}\n" for name in names]
        assert "the scheduler is gone" in output
    finally:
        cluster.close()
