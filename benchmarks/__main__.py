"""`python -m benchmarks [--smoke] [NAME...]`, and `python -m benchmarks report`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from benchmarks import report
from benchmarks.machine import machine, versions
from benchmarks.measure import Scale
from benchmarks.result import Result

RESULTS = Path(__file__).parent / "results"
NAMES = tuple(sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks, or make the page of those that were run."""
    chosen = _parser().parse_args(arguments)
    names = chosen.names or list(NAMES)
    if names == ["report"]:
        print(report.write(chosen.results or RESULTS))
        return 0
    if unknown := [name for name in names if name not in NAMES]:
        print(f"no benchmark {', '.join(unknown)}: there are {', '.join(NAMES)}, and report", file=sys.stderr)
        return 2
    scale = Scale(is_smoke=True, rounds=1) if chosen.smoke else Scale(rounds=chosen.rounds)
    with _place(chosen.results, is_smoke=chosen.smoke) as results:
        for name in names:
            _run(name, scale, Path(results), chosen.dir)
        report.write(Path(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=f"Benchmarks: {', '.join(NAMES)}."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which; all by default; report: the page only"
    )
    parser.add_argument("--smoke", action="store_true", help="see that all of it runs; nothing is kept")
    parser.add_argument("--results", type=Path, help="where results are kept (default: benchmarks/results)")
    parser.add_argument("--dir", type=Path, help="on which file system to run (default: the temporary one)")
    parser.add_argument("--rounds", type=int, default=Scale().rounds, help="rounds of each comparison")
    return parser


def _place(results: Path | None, *, is_smoke: bool) -> AbstractContextManager[str | Path]:
    """Where results go: figures of a smoke run mean nothing and are not to be kept by mistake."""
    if results is None and is_smoke:
        return tempfile.TemporaryDirectory()
    kept = results or RESULTS
    kept.mkdir(parents=True, exist_ok=True)
    return nullcontext(kept)


def _run(name: str, scale: Scale, results: Path, parent: Path | None) -> None:
    module = import_module(f"benchmarks.bench_{name}")
    with tempfile.TemporaryDirectory(prefix="vcache-bench-", dir=parent) as directory:
        place = Path(directory)
        facts, started = machine(place), time.perf_counter()
        rows = tuple(module.run(scale, place))
        result = Result(
            name, module.TITLE, rows, facts, versions(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            scale.is_smoke, time.perf_counter() - started,
        )  # fmt: skip
    result.write(results)
    print(f"{name}: {result.title} ({result.seconds:.1f} s)")
    for row in rows:
        met = {None: "", True: "  met", False: "  NOT MET"}[row.is_met]
        print(f"  {row.what:<52} {report.outcome_text(row)}   {report.target_text(row)}{met}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
