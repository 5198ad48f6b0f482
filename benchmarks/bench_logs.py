"""The log store beside its peers: 2,000,000 records in, and queries over them.

Each engine is a process of its own. At ingest they take turns batch by batch, all on the same core; at queries round
by round, and each query has fresh processes, so that the peak of one is not that of another. All answers must agree.
VictoriaLogs is in no registry: what is known of it stands in the notes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.log_peers import ENGINES
from benchmarks.log_work import QUERIES, Asked, write
from benchmarks.measure import Scale
from benchmarks.result import Compare, Figure, Row

TITLE = "the store of logs"

_OURS, _KEPT, _PEER, _PARQUET = "vcache", "vcache, answers kept", "DuckDB", "Parquet and DuckDB"
_ASKED: Final[Mapping[str, tuple[str, float, str]]] = {
    "rare": ("a rare pair of source and level, rows", 1.0, "0.64 ms"),
    "common": ("a common level, count", 1.0, "10.7 ms"),
    "token": ("a rare word, rows", 1.0, "2.8 ms"),
    "trace": ("a trace id, rows", 1.0, ""),
    "substring": ("a substring, count", 1.3, "72 ms"),
    "word": ("a common word, count", 1.0, "9.9 ms"),
    "histogram": ("levels per minute, histogram", 1.0, "75 ms"),
    "last": ("the last 100, rows", 1.0, "26 ms"),
    "id": ("one by its id", 1.0, "1.3 ms"),
}
_ELSEWHERE: Final = "{} on another day on a machine like this, over HTTP; not measured here"
_MEMORY_MB: Final = 100.0
_RECORDS: Final = 2_000_000
_ROOT: Final = str(Path(__file__).parents[1])


def run(scale: Scale, directory: Path) -> list[Row]:
    """Ingest, space, queries and memory."""
    if shutil.which("rg") is None:
        raise RuntimeError("ripgrep is a peer here, and there is no rg: install the package ripgrep")
    work = directory / "work.jsonl"
    count = scale.pick(_RECORDS, 20_000)
    asked = write(work, count)
    rows = _ingest(directory, work, count)
    rows += _lines(directory, work, count)
    for names in [QUERIES] if scale.is_smoke else [(name,) for name in QUERIES]:
        rows += _queries(directory, names, asked, rounds=scale.rounds)
    return rows


class _Side:
    """An engine's process, and what it is told."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        place = directory / name.partition(",")[0].replace(" ", "-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.log_peers", name, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            if process.stdin is not None:
                process.stdin.close()

    def start(self, **command: object) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it says to it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def told(self, **command: object) -> dict[str, Any]:
        """Both."""
        self.start(**command)
        return self.answer()


def _ingest(directory: Path, work: Path, count: int) -> list[Row]:
    names = [name for name in ENGINES if name != _KEPT]
    with ExitStack() as stack:
        sides = [stack.enter_context(_Side(name, directory)) for name in names]
        ends = _in_turns(sides, work)
        small = stack.enter_context(_Side(_PEER, directory))
        copied = small.told(do="parquet", place=str(directory / "copy.parquet"))["took_ms"]
    rate = {name: _one(count / end["took_ms"] * 1e3, name) for name, end in ends.items()}
    size = {name: _one(end["size_bytes"] / count, name) for name, end in ends.items()}
    smaller = _one(min(copied / count, size[_PARQUET].value), "Parquet with zstd")
    note = "from Python's objects, one core, durable at the end. VictoriaLogs: " + _ELSEWHERE.format(
        "348,000/s"
    )
    return [
        Row("ingest", Compare.MORE, "records/s", rate[_OURS], rate[_PEER], 1.0, note),
        *_others("ingest, against", Compare.MORE, "records/s", rate),
        Row("bytes of a record", Compare.SPACE, "bytes", size[_OURS], smaller, 1.05,
            "the smaller one of what pyarrow and DuckDB write. VictoriaLogs: " + _ELSEWHERE.format("42 bytes")),
        *_others("bytes of a record, against", Compare.SPACE, "bytes", size),
        _peak("ingest", ends),
    ]  # fmt: skip


def _in_turns(sides: Sequence[_Side], work: Path) -> dict[str, dict[str, Any]]:
    """Each stores a batch, then the next one does; what each said at the end."""
    ends: dict[str, dict[str, Any]] = {}
    waiting = list(sides)
    for side in waiting:
        side.start(do="ingest", path=str(work))
        side.answer()
    while waiting:
        for side in list(waiting):
            side.start()
            found = side.answer()
            if "turn" not in found:
                ends[side.name] = found
                waiting.remove(side)
        waiting.append(waiting.pop(0)) if waiting else None
    return ends


def _lines(directory: Path, work: Path, count: int) -> list[Row]:
    rates = {}
    for name in (_OURS, _PEER):
        with _Side(name, directory) as side:
            place = directory / f"lines-{name}"
            took_ms = side.told(do="lines", path=str(work), place=str(place))["took_ms"]
            rates[name] = _one(count / took_ms * 1e3, name)
    note = "DuckDB reads them with one thread of its own C++, ours with orjson in Python"
    what = "ingest of a file of JSON lines"
    return [Row(what, Compare.MORE, "records/s", rates[_OURS], rates[_PEER], None, note)]


def _queries(directory: Path, names: Sequence[str], asked: Asked, *, rounds: int) -> list[Row]:
    """Some queries, in processes of their own; their peaks are one's alone where there is but one."""
    with ExitStack() as stack:
        sides = [stack.enter_context(_Side(engine, directory)) for engine in ENGINES]
        for side in sides:
            side.start(do="open", asked=asdict(asked))
        for side in sides:
            side.answer()
        return [row for name in names for row in _query(sides, name, rounds=rounds)]


def _query(sides: Sequence[_Side], name: str, *, rounds: int) -> list[Row]:
    what, bound, elsewhere = _ASKED[name]
    took: dict[str, list[float]] = {side.name: [] for side in sides}
    answers: dict[str, object] = {}
    for number in range(-1, rounds):  # one to warm up
        for side in _from(sides, number):
            found = side.told(do="ask", query=name)
            answers[side.name] = found["answer"]
            if number >= 0:
                took[side.name].append(found["took_ms"])
    if any(answer != answers[_OURS] for answer in answers.values()):
        raise AssertionError(f"{what}: the engines do not agree: {answers}")
    figures = {side: Figure(side, tuple(each)) for side, each in took.items()}
    peaks = {side.name: side.told(do="memory") for side in sides}
    note = f"VictoriaLogs: {_ELSEWHERE.format(elsewhere)}" if elsewhere else ""
    return [
        Row(what, Compare.WITHIN, "ms", figures[_OURS], figures[_PEER], bound, note),
        *_others(f"{what}, against", Compare.WITHIN, "ms", figures),
        Row(f"{what}, answers kept", Compare.WITHIN, "ms", figures[_KEPT], figures[_PEER]),
        _peak(what, peaks),
    ]


def _from(sides: Sequence[_Side], number: int) -> Iterator[_Side]:
    """All of them, another one first each time."""
    for turn in range(len(sides)):
        yield sides[(number + turn) % len(sides)]


def _others(what: str, compare: Compare, unit: str, figures: Mapping[str, Figure]) -> list[Row]:
    return [
        Row(f"{what} {name}", compare, unit, figures[_OURS], figure)
        for name, figure in figures.items()
        if name not in (_OURS, _KEPT, _PEER)
    ]


def _peak(what: str, ends: Mapping[str, Mapping[str, float]]) -> Row:
    ours = ends[_OURS]
    others = ", ".join(f"{name} {end['peak_mb']:.0f}" for name, end in ends.items() if name != _OURS)
    note = (
        f"all that was resident, the interpreter and {ours['mapped_mb']:.0f} MB of mapped files included; "
        f"MB of others: {others}"
    )
    return Row(f"{what}, peak memory", Compare.ALONE, "MB", _one(ours["peak_mb"]), None, _MEMORY_MB, note)


def _one(value: float, name: str = _OURS) -> Figure:
    return Figure(name, (value,))
