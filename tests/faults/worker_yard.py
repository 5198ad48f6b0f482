"""Worker processes for fault tests: `python worker_yard.py ADDRESS LEASE_S [fleet SIZE]`, and the handlers they run.

Each run of a handler leaves a line in the file that its payload names, so that repeats can be counted.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vcache.jobs.handlers import Registry, current_job, job
from vcache.jobs.opening import open_queue
from vcache.jobs.worker import Worker, run_fleet

__all__ = ["Yard", "worker_pids"]

_ROOT: Final = Path(__file__).parents[2]


def _leave(notes: str) -> None:
    with open(notes, "a", encoding="ascii") as file:
        file.write(f"{current_job().id} {os.getpid()}\n")


@job("note", retries=0)
def note(notes: str, pause_s: float = 0.0) -> int:
    _leave(notes)
    time.sleep(pause_s)
    return os.getpid()


@job("until", retries=0)
def until_file(notes: str, path: str) -> int:
    """Runs until a file is there."""
    _leave(notes)
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()


@job("poison", retries=0)
def poison(notes: str) -> None:
    _leave(notes)
    os.kill(os.getpid(), 9)


class Yard:
    """Starts workers, and ends them all."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """One more process."""
        process = subprocess.Popen(
            [sys.executable, __file__, self.address, *map(str, arguments)],
            stdin=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
            cwd=_ROOT,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    @classmethod
    @contextlib.contextmanager
    def at(cls, address: str) -> Iterator[Yard]:
        made = cls(address)
        try:
            yield made
        finally:
            made.close()


def worker_pids(queue: object) -> list[int]:
    """Of the workers that have a session."""
    return [int(each.worker.rpartition("/")[2]) for each in queue.sessions()]  # type: ignore[attr-defined]


def main(address: str, lease_s: str, *more: str) -> int:
    if more:
        argv = (sys.executable, __file__, address, lease_s)
        return run_fleet(argv, int(more[1]), queue=lambda: open_queue(address))
    queue = open_queue(address)
    worker = Worker(queue, Registry((note, until_file, poison)), concurrency=4, lease_s=float(lease_s))
    _end_with_parent(worker)
    worker.run()
    queue.close()
    return 0


def _end_with_parent(worker: Worker) -> None:
    """The test may be killed in the middle: nothing it started stays."""
    import threading

    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
