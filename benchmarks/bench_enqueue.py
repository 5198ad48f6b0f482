"""Asking for no-op jobs, one by one and many in a call: on Redis and embedded. Askers are processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.measure import Scale
from benchmarks.queues.places import address_of, durable_redis
from benchmarks.queues.sides import DRAMATIQ, HUEY, OURS, RQ, TASKIQ, Asker, asker
from benchmarks.result import Compare, Figure, Row

TITLE = "asking for jobs"
_ROUNDS: Final = 5


def run(scale: Scale, directory: Path) -> list[Row]:
    """Sides take turns within each round."""
    return [*_redis(scale, directory), *_embedded(scale, directory)]


def _redis(scale: Scale, directory: Path) -> list[Row]:
    few, bulk, more = scale.pick(2_000, 20), scale.pick(5_000, 100), scale.pick(50_000, 100)
    with durable_redis(directory / "redis") as server, ExitStack() as opened:
        askers = {
            side.name: opened.enter_context(asker(side, address_of(server, number)))
            for number, side in enumerate((OURS, HUEY, TASKIQ, DRAMATIQ, RQ))
        }
        ours, *peers = _rates(scale, askers, "one", dict.fromkeys(askers, few))
        many, *others = _rates(scale, askers, "many", {"vcache": more, "RQ": bulk, "Taskiq": bulk})
    one = "Redis, one by one"
    return [
        *(_row(one, ours, peer, 1.0 if peer.name == "Huey" else None) for peer in peers),
        *(
            _row("Redis, a thousand in a call", many, peer, 8.0 if peer.name == "RQ" else None)
            for peer in others
        ),
    ]


def _embedded(scale: Scale, directory: Path) -> list[Row]:
    few, more = scale.pick(2_000, 20), scale.pick(50_000, 100)
    with (
        asker(OURS, f"sqlite:{directory / 'ours'}") as ours,
        asker(HUEY, f"{directory / 'huey.db'}") as huey,
    ):
        askers = {"vcache": ours, "Huey on SQLite": huey}
        one, peer = _rates(scale, askers, "one", dict.fromkeys(askers, few))
        (many,) = _rates(scale, askers, "many", {"vcache": more})
    note = "each is synced before the call returns"
    return [
        _row("embedded, one by one", one, peer, 1.0, note),
        Row("embedded, a thousand in a call", Compare.ALONE, "jobs/s", many),
    ]


def _rates(scale: Scale, askers: Mapping[str, Asker], way: str, counts: Mapping[str, int]) -> list[Figure]:
    """Jobs per second of each; another one begins each round, and the first round is not counted."""
    names, found = list(counts), {name: list[float]() for name in counts}
    for number in range(-1, min(scale.rounds, _ROUNDS)):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            rate = counts[name] / askers[name].ask(way, counts[name])
            if number >= 0:
                found[name].append(rate)
    return [Figure(name, tuple(each)) for name, each in found.items()]


def _row(what: str, ours: Figure, peer: Figure, bound: float | None, note: str = "") -> Row:
    return Row(what, Compare.MORE, "jobs/s", ours, peer, bound, note)
