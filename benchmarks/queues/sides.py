"""The sides of a benchmark of queues: how each asks for jobs, and how its worker is started.

Workers are started by the command that each queue has for it, as one process that runs jobs, with the
settings that were the fastest of those its documentation names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.servers import wait_until

__all__ = [
    "DRAMATIQ",
    "HUEY",
    "OURS",
    "RQ",
    "TASKIQ",
    "Asker",
    "Ran",
    "Side",
    "Worker",
    "asker",
    "drained",
    "worker",
]

_ROOT: Final = Path(__file__).parents[2]
_MOST_S: Final = 120.0

ADDRESS: Final = "ADDRESS"
"""Stands for the queue's address in a worker's command."""


class Side(NamedTuple):
    """One of the queues.

    Attributes:
        module: that asks for jobs, below this package.
        work: the worker's command; the first word is a script of this environment.
        env: further variables, for both.
    """

    name: str
    module: str
    work: Sequence[str] = ()
    env: Sequence[tuple[str, str]] = ()


OURS: Final = Side(
    "vcache", "ours",
    ("vcache-py", "worker", "--processes=0", "--module=benchmarks.queues.ours", "--concurrency=1000",
     "--metrics=127.0.0.1:0", "--log-store=off", "--queue", ADDRESS),
)  # fmt: skip
HUEY: Final = Side(
    "Huey", "with_huey",
    ("huey_consumer", "benchmarks.queues.with_huey.huey", "--workers=2", "--no-periodic", "--quiet"),
)  # fmt: skip
TASKIQ: Final = Side(
    "Taskiq", "with_taskiq",
    ("taskiq", "worker", "benchmarks.queues.with_taskiq:broker", "--workers=1", "--no-parse",
     "--log-level=WARNING"),
)  # fmt: skip
DRAMATIQ: Final = Side(
    "Dramatiq", "with_dramatiq",
    ("dramatiq", "benchmarks.queues.with_dramatiq", "--processes=1", "--threads=8"),
    (("dramatiq_queue_prefetch", "1000"),),
)  # fmt: skip
RQ: Final = Side("RQ", "with_rq")


class Ran(NamedTuple):
    """What the last job told: how many ran within which time, and each one's delay, where it was noted."""

    jobs: int
    seconds: float
    late_ms: Sequence[float] = ()


class Asker:
    """A process that asks for jobs. See `asking`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, way: str, *numbers: int) -> float:
        """Ask for jobs, in one of the ways that the side has; the seconds that took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, (way, *numbers))) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._process.args!r} cannot ask for jobs: it ended")
        return float(line)


@contextmanager
def asker(side: Side, address: str) -> Iterator[Asker]:
    """A side's process that asks for jobs."""
    command = [sys.executable, "-m", f"benchmarks.queues.{side.module}"]
    with subprocess.Popen(
        command,
        cwd=_ROOT,
        env=_environ(side, address),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Asker(process)
        assert process.stdin is not None
        process.stdin.close()
        if process.wait(_MOST_S):
            raise RuntimeError(f"{side.name}: who asks for jobs ended with status {process.returncode}")


class Worker(NamedTuple):
    """A worker that runs."""

    process: subprocess.Popen[bytes]
    report: Path
    log: Path

    def ran(self, timeout_s: float = _MOST_S) -> Ran:
        """Wait for the last job."""

        def is_done() -> bool:
            if self.process.poll() is not None:
                said = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"a worker ended with status {self.process.returncode}: {said}")
            return self.report.exists()

        wait_until(is_done, f"all jobs run ({self.log.stem})", timeout_s=timeout_s)
        found = json.loads(self.report.read_text())
        each_ns = array("q")
        if (late := self.report.with_suffix(".late")).exists():
            each_ns.frombytes(late.read_bytes())
            late.unlink()
        seconds = (found.get("ended_ns", 0) - found.get("began_ns", 0)) / 1e9
        return Ran(found["jobs"], seconds, [each / 1e6 for each in each_ns])


@contextmanager
def worker(side: Side, address: str, jobs: int, directory: Path) -> Iterator[Worker]:
    """A side's worker, which reports when so many jobs have run; ended at the end."""
    report, log = directory / "report.json", directory / f"{side.name}.log"
    report.unlink(missing_ok=True)
    program, *arguments = side.work
    command = [
        os.path.join(sysconfig.get_path("scripts"), program),
        *(address if each is ADDRESS else each for each in arguments),
    ]
    env = _environ(side, address, BENCH_JOBS=str(jobs), BENCH_REPORT=os.fspath(report))
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, cwd=_ROOT, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield Worker(process, report, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(
                process.pid, signal.SIGKILL
            )  # nobody's way to end in peace is measured, and some are long
        process.wait()


def drained(side: Side, address: str, jobs: int, directory: Path) -> float:
    """Jobs per second of a worker that is started on a queue of so many."""
    with worker(side, address, jobs, directory) as running:
        return jobs / running.ran().seconds


def _environ(side: Side, address: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
    return {**kept, "PYTHONPATH": os.fspath(_ROOT), "BENCH_ADDRESS": address, **dict(side.env), **more}
