"""Commands elsewhere: what a node costs a build that has it run by workers, on this machine, that do nothing else.

Every command writes one short object; each round has new ones, so that all run. (What commands may read
without saying so, which objects are not, is listed anew for each that follows: a thousand headers made one by
one cost more.) Workers of a queue and of Dask
are one process with two threads each, and share the build's own cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic, sleep

from benchmarks.commands import environ_of, installed, run_ms, turns
from benchmarks.measure import Scale
from benchmarks.result import Compare, Row
from tests.servers import redis_server
from vcache.jobs.opening import open_queue

TITLE = "builds: commands on workers"

_NODES = 500
_SLOTS = "2"
_START_S = 60.0


def run(scale: Scale, directory: Path) -> list[Row]:
    """Local, by a queue in a directory, by one in Redis, and by Dask."""
    nodes = scale.pick(_NODES, 3)
    vcache = installed(directory / "bin")
    environ = environ_of(directory)
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(directory / "redis"))
        queues = {
            "queue, SQLite": f"sqlite:{directory}/queue",
            "queue, Redis": f"redis://127.0.0.1:{server.port}/0",
        }
        sides: dict[str, list[str]] = {"local": []}
        for name, address in queues.items():
            stack.enter_context(_worker(vcache, address, directory, environ))
            sides[name] = ["--executor", f"queue://{address}"]
        sides["Dask"] = ["--executor", stack.enter_context(_dask(directory / "dask", environ))]
        numbers = count()
        times = turns(
            {name: partial(_built_us, [vcache, "build", "-j", _SLOTS, *words], directory / name[-5:].strip(), environ,
                           nodes, numbers) for name, words in sides.items()},
            scale.pick(3, 1),
        )  # fmt: skip
    what = f"a node of {nodes}"
    return [
        *(Row(f"{what}, {name}", Compare.WITHIN, "µs", times[name], times["Dask"], 1.0) for name in queues),
        *(
            Row(f"{what}, {name}", Compare.PLUS, "µs", times[name], times["local"])
            for name in (*queues, "Dask")
        ),
    ]


def _built_us(
    command: Sequence[str], place: Path, environ: Mapping[str, str], nodes: int, numbers: Iterator[int]
) -> float:
    """A build of commands that nobody has seen, by the node."""
    place.mkdir(exist_ok=True)
    words = f"{next(numbers)}"
    edges = "".join(f"build {words}/out{number}.o: write\n" for number in range(nodes))
    (place / "build.ninja").write_text(f"rule write\n  command = echo {words} > $out\n{edges}")
    return run_ms(command, place, environ) * 1e3 / nodes


@contextmanager
def _running(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> Iterator[None]:
    with open(log, "wb") as file:
        process = subprocess.Popen(command, env=environ, cwd=log.parent, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _worker(vcache: str, address: str, directory: Path, environ: Mapping[str, str]) -> Iterator[None]:
    own = ("--processes", "0", "--concurrency", _SLOTS)
    words = ("--module", "vcache.jobs.building.handlers", *own, "--queue", address)
    queue = open_queue(address)
    try:
        with _running((vcache, "worker", *words), directory / "worker.log", environ):
            _until(queue.sessions)
            yield
    finally:
        queue.close()


@contextmanager
def _dask(home: Path, environ: Mapping[str, str]) -> Iterator[str]:
    home.mkdir()
    file = home / "scheduler.json"
    quiet = ("--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", os.fspath(file))
    scheduler = (sys.executable, "-m", "distributed.cli.dask_scheduler", *quiet, "--port", "0")
    own = ("--nthreads", _SLOTS, "--no-nanny", "--local-directory", os.fspath(home / "worker"))
    worker = (sys.executable, "-m", "distributed.cli.dask_worker", *quiet, *own)
    with _running(scheduler, home / "scheduler.log", environ):
        _until(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
        with _running(worker, home / "worker.log", environ):
            yield str(json.loads(file.read_text())["address"]).replace("tcp://", "dask://")


def _until(is_so: Callable[[], object]) -> None:
    end_s = monotonic() + _START_S
    while not is_so():
        if monotonic() > end_s:
            raise RuntimeError("it did not start")
        sleep(0.02)
