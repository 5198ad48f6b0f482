"""Events of made-up runs, at times that the caller counts in milliseconds."""

from __future__ import annotations

from vcache.dag.events import (
    Event,
    Finished,
    Hit,
    Missed,
    Output,
    Planned,
    RunEnded,
    RunStarted,
    Started,
    UpToDate,
)
from vcache.dag.node import Node

RUN = "01890000-0000-7000-8000-00000000000"  # and a last digit
START_NS = 1_700_000_000_000_000_000
A_LOG = bytes(range(32))


def at(time_ms: float) -> int:
    return START_NS + round(time_ms * 1_000_000)


def ms(time_ms: float) -> int:
    return round(time_ms * 1_000_000)


def node(name: str, *ins: str, rule: str = "cc", pool: str = "", after: tuple[str, ...] = ()) -> Node:
    return Node(name=name, outs=(name,), ins=ins, after=after, rule=rule, pool=pool)


A, B, C, APP = node("a.o", "a.c"), node("b.o", "b.c"), node("c.o", "c.c"), node("app", "a.o", "b.o", "c.o")


def started(number: int = 1, *, base: str = "/src", goals: tuple[str, ...] = ("app",)) -> RunStarted:
    return RunStarted(f"{RUN}{number}", at(0), base, goals, slots=2)


def ended(
    time_ms: float, status: int = 0, n_run: int = 0, n_hit: int = 0, *, n_up_to_date: int = 0,
    n_failed: int = 0, saved_ns: int = 0, error: str = "",
) -> RunEnded:  # fmt: skip
    return RunEnded(at(time_ms), status, n_run, n_hit, n_up_to_date, n_failed, saved_ns, error)


def ran(
    what: Node, begin_ms: float, end_ms: float, *, status: int = 0, lane: int = 0, reason="never built",
    text: bytes = b"", log: bytes = b"",
):  # fmt: skip
    """All that is told of a node that runs."""
    events: list[Event] = [
        Missed(at(begin_ms), what, reason),
        Started(at(begin_ms), what, f"make {what.name}", 1, lane),
        Finished(at(end_ms), what, status, ms(end_ms - begin_ms), f"dag:{what.name}:00", log=log, lane=lane),
    ]
    if text:
        events.append(Output(at(end_ms), what, ((1, 0, text),), is_replayed=False))
    return events


def a_build():
    """Two compiles side by side, one from the cache, one up to date, and a link."""
    first, second = ran(A, 1, 500, text=b"a.c:1:2: warning: w\n", log=A_LOG), ran(B, 2, 200, lane=1)
    return [
        started(),
        Planned(at(0), 4),
        UpToDate(at(0), node("gen.h")),
        *first[:2],
        *second[:2],
        Hit(at(5), C, "dag:c.o:00", ms(900), ms(2), A_LOG),
        Output(at(5), C, ((2, 0, b"from the cache\n"),), is_replayed=True),
        *second[2:],
        *first[2:],
        *ran(APP, 501, 800, reason="changed file a.o"),
        ended(801, n_run=3, n_hit=1, n_up_to_date=1, saved_ns=ms(900)),
    ]
