"""Log stores beside each other: each in a process of its own, which is told what to do by lines of JSON.

`python -m benchmarks.log_peers ENGINE DIRECTORY` takes a command a line, and answers each with a line. So the
memory of an engine is that of its process, and engines take turns batch by batch and query by query.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final, Protocol

from benchmarks.log_work import Asked

__all__ = ["ENGINES", "TURN", "Answer", "Batches", "Engine", "Plain", "Run", "counted", "listed", "size_of"]

TURN: Final = 65_536
_MS: Final = 1e6
_BEST_OF: Final = 3
_ENOUGH_MS: Final = 150.0

Answer = list[int]
"""What all engines have to agree on: how many rows, and sums over them."""
Run = Callable[[], Answer]
Batches = Iterable[list[Any]]


class Engine(Protocol):
    """One store, in a directory of its own. Imports what is heavy in its methods.

    Attributes:
        batch: how many records it likes to be given at once.
    """

    batch: int

    def objects(self, lines: list[bytes]) -> list[Any]:
        """Records as the objects of Python that it likes best; not timed."""

    def ingest(self, batches: Batches) -> None:
        """Store all of it, each record with an id that finds it again; durable when this returns."""

    def size_bytes(self) -> int:
        """What is stored takes so many bytes of files."""

    def open(self, asked: Asked) -> Mapping[str, Run]:
        """The queries by name; each gives its rows to Python."""


class Plain:
    """What most engines like: many dictionaries at once."""

    batch = TURN

    def objects(self, lines: list[bytes]) -> list[Any]:
        """See `Engine`."""
        import orjson

        return list(map(orjson.loads, lines))


ENGINES: Final = {
    "vcache": "log_columns:Ours",
    "vcache, answers kept": "log_columns:OursKept",
    "DuckDB": "log_columns:DuckDb",
    "Parquet and DuckDB": "log_columns:Parquet",
    "SQLite FTS5": "log_indexes:Sqlite",
    "tantivy": "log_indexes:Tantivy",
    "chdb": "log_indexes:ClickHouse",
    "ripgrep": "log_indexes:Ripgrep",
}
"""The module and the class of each."""


def listed(times_us: Iterable[int]) -> Answer:
    """The answer that is rows."""
    known = list(times_us)
    return [len(known), sum(known)]


def counted(groups: Iterable[tuple[int, int]]) -> Answer:
    """The answer that is a histogram: minutes and counts of those that have any."""
    known = [(minute, count) for minute, count in groups if count]
    return [len(known), sum(count for _, count in known), sum(minute * count for minute, count in known)]


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files of a directory."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(each.stat().st_size for each in files if each.is_file())


class _Work:
    """Batches, whose making is not timed; the other side says when the next one's turn is."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine, self._path = engine, path
        self._started = self.took_ns = 0

    def go(self) -> None:
        """Start the clock."""
        self._started = perf_counter_ns()

    def stop(self) -> None:
        """Stop it, where it runs."""
        if self._started:
            self.took_ns += perf_counter_ns() - self._started
        self._started = 0

    def __iter__(self) -> Iterator[list[Any]]:
        number = 0
        with self._path.open("rb") as file:
            while True:
                self.stop()
                batch = self._engine.objects(list(islice(file, self._engine.batch)))
                if not batch:
                    break
                if number % TURN == 0:
                    _say({"turn": True})
                    sys.stdin.readline()
                number += len(batch)
                self.go()
                yield batch
                del batch
        self.go()  # what comes behind the last batch counts, too: commits, checkpoints, footers


def _ingest(engine: Engine, path: Path) -> dict[str, object]:
    """All of it on one core, whatever threads there are."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    work = _Work(engine, path)
    engine.ingest(work)
    work.stop()
    return {"took_ms": work.took_ns / _MS, "size_bytes": engine.size_bytes(), **_memory()}


def _ask(run: Run) -> dict[str, object]:
    """The best of a few, as one finds it warm."""
    best, spent, answer = float("inf"), 0.0, []
    for _ in range(_BEST_OF):
        started = perf_counter_ns()
        answer = run()
        took = (perf_counter_ns() - started) / _MS
        best, spent = min(best, took), spent + took
        if spent > _ENOUGH_MS:
            break
    return {"took_ms": best, "answer": answer}


def _memory() -> dict[str, object]:
    """The most that was resident, and what of it are mapped files, in MB; the greatest child's with it."""
    import resource

    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    child_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "peak_mb": (int(status["VmHWM"].split()[0]) + child_kb) * 1024 / 1e6,
        "mapped_mb": int(status["RssFile"].split()[0]) * 1024 / 1e6,
    }


def _say(message: Mapping[str, object]) -> None:
    print(json.dumps(message), flush=True)


def main(name: str, directory: str) -> None:
    """Answer commands until there are no more."""
    module, kind = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(f"benchmarks.{module}"), kind)(Path(directory))
    runs: Mapping[str, Run] = {}
    for line in sys.stdin:
        command = json.loads(line)
        match command["do"]:
            case "ingest":
                _say(_ingest(engine, Path(command["path"])))
            case "open":
                runs = engine.open(Asked(**command["asked"]))
                _say({"queries": list(runs)})
            case "ask":
                _say(_ask(runs[command["query"]]))
            case "memory":
                _say(_memory())
            case other:
                _say({"took_ms": getattr(engine, other)(command)})


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    main(*arguments)
