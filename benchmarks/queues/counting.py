"""What a no-op job does in every queue: it counts itself, and the last one writes when the first and last ran.

It must not know any queue. Times are of CLOCK_MONOTONIC, one for all processes of a machine.
"""

from __future__ import annotations

import itertools
import json
import os
from array import array
from pathlib import Path
from time import monotonic_ns
from typing import Final

__all__ = ["count", "late"]

_JOBS: Final = int(os.environ.get("BENCH_JOBS", "0"))
_REPORT: Final = Path(os.environ.get("BENCH_REPORT", os.devnull))

_number: Final = itertools.count(1)  # its next() is one step for all threads
_began_ns: Final = array("q", [0])
_late_ns: Final = array("q")


def count() -> None:
    """Count a run."""
    number = next(_number)
    if number == 1:
        _began_ns[0] = monotonic_ns()
    if number == _JOBS:
        _tell({"began_ns": _began_ns[0], "ended_ns": monotonic_ns(), "jobs": number})


def late(sent_ns: int) -> None:
    """Note how long ago a job was asked for; the last one writes them all beside the report."""
    _late_ns.append(monotonic_ns() - sent_ns)
    if len(_late_ns) == _JOBS:
        _REPORT.with_suffix(".late").write_bytes(_late_ns.tobytes())
        _tell({"jobs": _JOBS})


def _tell(found: dict[str, int]) -> None:
    part = _REPORT.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.replace(_REPORT)
