"""A run as a trace file that https://ui.perfetto.dev, chrome://tracing and speedscope open.

In the JSON form of the Trace Event Format (Google, 2016): a row for each lane that nodes ran in, rows
for what came from the cache, the chain that the end waited for, and how many nodes ran at a time. It
must not know how lanes are given out.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from vcache.dag.events import Finished, Hit, Missed, Noted, RunEnded, RunStarted, Skipped, Started, UpToDate
from vcache.dag.waits import Waits
from vcache.errors import UsageError
from vcache.kit.data import dataclass
from vcache.kit.fs_atomic import write_atomic

if TYPE_CHECKING:
    from vcache.dag.events import Event
    from vcache.dag.node import Node

__all__ = ["Profile", "placed"]

_PID: Final = 1
_CRITICAL: Final = 1  # rows are sorted by their number
_LANES: Final = 10
_CALLS: Final = 10_000
_CACHE: Final = 20_000
_US: Final = 1_000
_FAILED: Final = "terrible"  # the viewers' names of colours
_TRIED_AGAIN: Final = "bad"


class Profile:
    """A listener that writes a trace file when the run ends.

    Args:
        path: the file. It appears whole or not at all.

    Raises:
        UsageError: the file's directory does not exist.
        OSError: from `on_event` at the run's end, or from `close`: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = placed(path)
        self._started_ns = 0
        self._trace: list[dict[str, object]] = []
        self._begun: dict[Node, Started] = {}
        self._reasons: dict[Node, str] = {}
        self._loose: list[_Loose] = []
        self._lanes: set[int] = set()
        self._n_fresh = 0
        self._head: dict[str, object] = {}
        self._end: dict[str, object] = {}
        self._waits = Waits()
        self._is_written = False

    def on_event(self, event: Event) -> None:
        """Take note of an event."""
        self._waits.on_event(event)
        if isinstance(event, UpToDate):
            self._n_fresh += 1  # a mark for each would drown what happened
        elif isinstance(event, Missed):
            self._reasons[event.node] = event.reason
        elif isinstance(event, Started):
            self._begun[event.node] = event
            self._count(event.at_ns)
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Hit):
            self._begun.pop(event.node, None)
            self._loose.append(
                _Loose(
                    event.node, event.at_ns - event.took_ns, event.at_ns, _CACHE,
                    {"saved_s": event.saved_ns / 1e9, "result": event.result},
                )
            )  # fmt: skip
        elif isinstance(event, (Noted, Skipped)):
            self._mark(event)
        elif isinstance(event, RunStarted):
            self._started_ns = event.at_ns
            self._head = {
                "run": event.run,
                "goals": list(event.goals),
                "base": event.base,
                "slots": event.slots,
            }
        elif isinstance(event, RunEnded):
            self._ended(event)

    def close(self) -> None:
        """Write the file, if the run's end was not seen."""
        if not self._is_written:
            self._write()

    def _finished(self, event: Finished) -> None:
        begun = self._begun.pop(event.node, None)
        since_ns = event.at_ns - event.took_ns if begun is None else begun.at_ns
        told: dict[str, object] = {
            "reason": self._reasons.get(event.node, ""),
            "command": "" if begun is None else begun.words,
            "remark": event.remark,
            "result": event.result,
            "attempt": 0 if begun is None or begun.attempt == 1 else begun.attempt,
        }
        arguments: dict[str, object] = {"status": event.status}
        arguments.update({name: value for name, value in told.items() if value})
        colour = _TRIED_AGAIN if event.will_retry else _FAILED if event.status else ""
        if begun is None:  # it took no slot: a Python function, or a failure before the start
            self._loose.append(_Loose(event.node, since_ns, event.at_ns, _CALLS, arguments, colour))
            return
        self._lanes.add(event.lane)
        self._span(event.node, since_ns, event.at_ns, _LANES + event.lane, arguments, colour=colour)
        self._count(event.at_ns)

    def _ended(self, event: RunEnded) -> None:
        self._end = {
            "status": event.status, "ran": event.n_run, "from the cache": event.n_hit,
            "up to date": event.n_up_to_date, "failed": event.n_failed, "saved_s": event.saved_ns / 1e9,
        }  # fmt: skip
        for begun in tuple(self._begun.values()):  # what the end cut off
            self._lanes.add(begun.lane)
            self._span(
                begun.node,
                begun.at_ns,
                event.at_ns,
                _LANES + begun.lane,
                {"cut off": True},
                colour=_TRIED_AGAIN,
            )
        self._begun.clear()
        self._count(event.at_ns)
        self._write()

    def _mark(self, event: Noted | Skipped) -> None:
        if isinstance(event, Noted):
            name, arguments = event.text, {"node": event.node.name} if event.node is not None else {}
        else:
            name, arguments = f"skipped {event.node.name}", {"because": event.because}
        self._trace.append(
            {"name": name, "ph": "i", "s": "g", "ts": self._us(event.at_ns), "pid": _PID, "tid": _CRITICAL,
             "args": arguments}
        )  # fmt: skip

    def _count(self, at_ns: int) -> None:
        counted = {"name": "running", "ph": "C", "ts": self._us(at_ns), "pid": _PID}
        self._trace.append(counted | {"args": {"nodes": len(self._begun)}})

    def _span(
        self,
        node: Node,
        since_ns: int,
        until_ns: int,
        row: int,
        arguments: dict[str, object],
        *,
        colour: str = "",
    ) -> None:
        span: dict[str, object] = {
            "name": node.name, "cat": node.rule or "node", "ph": "X", "ts": self._us(since_ns),
            "dur": max(0, until_ns - since_ns) / _US, "pid": _PID, "tid": row, "args": arguments,
        }  # fmt: skip
        if colour:
            span["cname"] = colour
        self._trace.append(span)

    def _us(self, at_ns: int) -> float:
        """A time from the run's start on; before it is the start, should the clock have been set back."""
        return max(0, at_ns - self._started_ns) / _US

    def _write(self) -> None:
        self._is_written = True
        rows = [(_CRITICAL, "critical path")]
        rows += [(_LANES + lane, f"lane {lane + 1}") for lane in sorted(self._lanes)]
        rows += self._place_loose()
        until_ns = self._started_ns
        for wait in self._waits.path():
            self._span(wait.node, max(wait.began_ns, until_ns), wait.ended_ns, _CRITICAL, {})
            until_ns = max(wait.ended_ns, until_ns)
        goals = self._head.get("goals")
        title = " ".join(["vcache build", *(goals if isinstance(goals, list) else [])])
        named = [_meta("process_name", _CRITICAL, name=title)]
        for row, name in rows:
            named += [_meta("thread_name", row, name=name), _meta("thread_sort_index", row, sort_index=row)]
        document = {
            "traceEvents": named + self._trace,
            "displayTimeUnit": "ms",
            "otherData": {**self._head, **self._end, "up to date seen": self._n_fresh},
        }
        write_atomic(self._path, json.dumps(document, separators=(",", ":")).encode())

    def _place_loose(self) -> list[tuple[int, str]]:
        """Put what has no lane into as few rows as hold it without overlap; their numbers and names."""
        free_ns: dict[int, list[int]] = {_CALLS: [], _CACHE: []}  # by row, from when on it is free
        for loose in sorted(self._loose, key=lambda loose: loose.since_ns):
            free = free_ns[loose.row]
            row = next((row for row, until_ns in enumerate(free) if until_ns <= loose.since_ns), len(free))
            free[row : row + 1] = [loose.until_ns]
            self._span(
                loose.node,
                loose.since_ns,
                loose.until_ns,
                loose.row + row,
                loose.arguments,
                colour=loose.colour,
            )
        names = {_CALLS: "without a lane", _CACHE: "from the cache"}
        return [(first + row, names[first]) for first, free in free_ns.items() for row in range(len(free))]


def placed(path: str) -> str:
    """A path that a run's report may be written to at its end, absolute: the run may change directory.

    Raises:
        UsageError: its directory does not exist. A long build must not end with that.
    """
    full = os.path.abspath(path)
    if not os.path.isdir(os.path.dirname(full)) or os.path.isdir(full):
        what = "it is a directory" if os.path.isdir(full) else "there is no such directory to write it to"
        raise UsageError(f"{path}: {what}")
    return full


@dataclass(frozen=True, slots=True)
class _Loose:
    """What has no lane: it is given a row of its kind at the end."""

    node: Node
    since_ns: int
    until_ns: int
    row: int
    arguments: dict[str, object]
    colour: str = ""


def _meta(kind: str, row: int, **arguments: object) -> dict[str, object]:
    return {"name": kind, "ph": "M", "pid": _PID, "tid": row, "args": arguments}
