"""Statistics and a collection's plan over 1,000,000 entries, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.measure import Scale
from benchmarks.peers import Values
from benchmarks.result import Compare, Figure, Row
from vcache import Cache

TITLE = "a million entries"

_BATCH = 2000
_ROOT = Path(__file__).parent.parent


def run(scale: Scale, directory: Path) -> list[Row]:
    """Wall time from before the open to the answer, and the peak of resident memory."""
    count = scale.pick(1_000_000, 2000)
    where = directory / "million"
    filled_s = _fill(where, count)
    rows: list[Row] = []
    for task, title in _TITLES.items():
        runs = [_in_process(task, where, count) for _ in range(scale.pick(5, 1))]
        wall = Figure("vcache", tuple(seconds for seconds, _ in runs))
        peak = Figure("vcache", tuple(mb for _, mb in runs))
        what = f"{title} of {count:,} entries"
        rows += [
            Row(what, Compare.ALONE, "s", wall, bound=1.0, note="open, answer; imports not included"),
            Row(
                f"{what}: peak memory",
                Compare.ALONE,
                "MB",
                peak,
                bound=300.0,
                note="VmHWM, all of the process",
            ),
        ]
    each_us = filled_s / count * 1e6
    filling = Figure("vcache", (each_us,))
    return [*rows, Row(f"put_many in batches of {_BATCH}, an entry", Compare.ALONE, "µs", filling)]


def _fill(where: Path, count: int) -> float:
    values = Values(100)
    taken_s = 0.0
    with Cache(f"disk:{where}") as cache:
        for _ in range(0, count, _BATCH):
            batch = dict(values.take(_BATCH))
            started = perf_counter()
            assert cache.put_many(batch)
            taken_s += perf_counter() - started
    return taken_s


def _in_process(task: str, where: Path, count: int) -> tuple[float, float]:
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", __name__, task, str(where)]
    answer = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    found = json.loads(answer.stdout)
    assert found["entries"] == count, found
    return found["seconds"], found["peak_mb"]


def _stats(cache: Cache) -> int:
    return cache.stats().entries


def _plan(cache: Cache) -> int:
    """A plan that drops a third of the entries."""
    report = cache.gc(max_bytes=cache.stats().size_bytes * 2 // 3, dry_run=True)
    assert report.dropped_entries > 0
    return report.kept_entries + report.dropped_entries


_TASKS: dict[str, Callable[[Cache], int]] = {"stats": _stats, "plan": _plan}
_TITLES = {"stats": "stats", "plan": "gc plan"}


def _peak_mb() -> float:
    # Not ru_maxrss: Linux hands the parent's peak down through fork and exec.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status has no VmHWM: this benchmark needs Linux")


def _main(task: str, where: str) -> None:
    started = perf_counter()
    with Cache(f"disk:{where}") as cache:
        entries = _TASKS[task](cache)
        seconds = perf_counter() - started
    print(json.dumps({"entries": entries, "seconds": seconds, "peak_mb": _peak_mb()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
