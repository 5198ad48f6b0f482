"""Redis is killed again and again, with every write synced: askers and workers go on, and no acknowledged job is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.patience import until
from tests.servers import ended, free_port, needed, running
from vcache.errors import StoreError
from vcache.jobs import Jobs, Spec, open_queue
from vcache.jobs.base import KindTotals
from vcache.jobs.states import State
from vcache.kit.ids import uuid7
from vcache.kit.orphans import OrphanGuard

KINDS: Final = ("woven", "spun")  # on an event loop, and in threads
HANDLERS: Final = """
import os
from vcache.jobs import current_job, job

RUNS = os.open({runs!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@job("woven", retries=0)
async def woven(n: int) -> int:
    os.write(RUNS, current_job().id.encode() + b"\\n")
    return n

@job("spun", retries=0)
def spun(n: int) -> int:
    os.write(RUNS, current_job().id.encode() + b"\\n")
    return n
"""


class Mortal:
    """A Redis server that syncs each write, and is killed and started at one place."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._opened = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it on what it has kept.

        A transaction that a kill cut is taken out first, as `redis-check-aof` does it: Redis itself
        (`aof-load-truncated`, seen with 7.0) leaves its beginning in the file, and runs that again with what
        comes behind it at the next start.
        """
        manifest = self._directory / "appendonlydir" / "appendonly.aof.manifest"
        if manifest.exists():
            check = [needed("redis-check-aof", "redis-tools"), "--fix", os.fspath(manifest)]
            subprocess.run(check, input=b"y\n", stdout=subprocess.DEVNULL, check=True)
        command = [
            needed("redis-server", "redis-server"),
            "--bind",
            "127.0.0.1",
            "--port",
            str(self._port),
            "--save",
            "",
        ]
        command += ["--dir", os.fspath(self._directory), "--appendonly", "yes", "--appendfsync", "always"]
        command += ["--aof-load-truncated", "no"]
        self._process = self._opened.enter_context(
            running(command, self._port, log=self._directory / "redis.log")
        )

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._opened.close()

    def close(self) -> None:
        self._opened.close()


@contextmanager
def working(directory: Path, address: str, guard: OrphanGuard) -> Iterator[None]:
    """A worker, started by its command."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "vcache",
        "worker",
        "--module",
        directory / "handlers.py",
        "--queue",
        address,
    ]
    command += ["--lease", "2s", "--log-store", "off", "--no-plugins"]
    environ = {**os.environ, "VCACHE_DIR": os.fspath(directory / "cache")}
    with open(directory / "worker.log", "ab") as said:
        process = subprocess.Popen(command, env=environ, stdout=said, stderr=said)
    guard.watch(process.pid, is_group=False)
    try:
        yield
        assert process.poll() is None, (directory / "worker.log").read_text()[-3000:]
    finally:
        ended(process)
        guard.forget(process.pid, is_group=False)


class Asker(threading.Thread):
    """Submits until it is told to stop; what it was not told to be kept it submits again."""

    def __init__(self, address: str, seed: int, told: threading.Event) -> None:
        super().__init__(daemon=True)
        self.kept: list[str] = []
        self.n_again = 0
        self.error: BaseException | None = None
        self._address, self._draw, self._told = address, random.Random(seed), told

    def run(self) -> None:
        try:
            with Jobs(open_queue(self._address)) as jobs:
                while not self._told.wait(0.002):
                    count = self._draw.choice((1, 1, 1, 5, 20))
                    self._keep(
                        jobs, [Spec(uuid7.text(), self._draw.choice(KINDS), {"n": n}) for n in range(count)]
                    )
        except BaseException as error:  # the test judges it
            self.error = error

    def _keep(self, jobs: Jobs, specs: Sequence[Spec]) -> None:
        while True:
            try:
                self.kept += jobs.submit_many(specs)
            except StoreError as error:
                if not error.retryable:
                    raise
                self.n_again += 1
                self._told.wait(0.01)
            else:
                return


def size_of(path: Path) -> int:
    """Of a file that may not be there yet."""
    return path.stat().st_size if path.exists() else 0


def totals_of(jobs: Jobs) -> KindTotals:
    """Of all kinds."""
    each = jobs.stats().totals.values()
    return KindTotals(*(sum(values) for values in zip(*each, strict=True)))


@pytest.mark.e2e
@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_each_acknowledged_job_runs_and_completes_once(kills: int, tmp_path: Path) -> None:
    """Kills of the server delay jobs; none is lost, none completes twice, and workers come back by themselves"""
    runs_file = tmp_path / "runs"
    (tmp_path / "handlers.py").write_text(HANDLERS.format(runs=os.fspath(runs_file)))
    draw, stop, guard, server = random.Random(kills), threading.Event(), OrphanGuard(), Mortal(tmp_path)
    server.start()
    askers = [Asker(server.address, seed, stop) for seed in range(2)]
    with ExitStack() as opened:
        opened.callback(server.close)
        opened.callback(guard.close)
        opened.callback(stop.set)
        for _ in range(2):
            opened.enter_context(working(tmp_path, server.address, guard))
        jobs = opened.enter_context(Jobs(open_queue(server.address)))
        for asker in askers:
            asker.start()
        for _ in range(kills):
            there = size_of(runs_file)
            until(lambda there=there: size_of(runs_file) > there)  # type: ignore[misc]  # it works again
            threading.Event().wait(draw.uniform(0, 0.1))
            server.kill()
            server.start()
        stop.set()
        for asker in askers:
            asker.join(60)
            assert asker.error is None
        kept = [job_id for asker in askers for job_id in asker.kept]
        until(lambda: totals_of(jobs).completed >= len(kept))
        found, stats = totals_of(jobs), jobs.stats()
    runs = Counter(runs_file.read_text().split())
    assert set(runs) == set(kept)
    assert (found.submitted, found.completed) == (len(kept), len(kept))
    assert (found.failed, found.dead, found.cancelled) == (0, 0, 0)
    assert stats.by_state[State.RUNNING] == stats.by_state[State.QUEUED] == 0
    print(
        f"{kills} kills: {len(kept)} jobs acknowledged, each completed once; {runs.total() - len(runs)} runs were repeats, "
        f"{sum(asker.n_again for asker in askers)} submissions were made again"
    )
