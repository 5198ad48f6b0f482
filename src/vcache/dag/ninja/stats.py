"""`-d stats`: how often things were done in a run, and how long they took. A `Listener`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vcache.dag.events import Finished, Hit, Planned, RunStarted, UpToDate

if TYPE_CHECKING:
    from vcache.dag.events import Event

__all__ = ["Stats"]


class Stats:
    """Counts, in the form of ninja's own table."""

    def __init__(self) -> None:
        self._began_ns = 0
        self._took_ns: dict[str, list[int]] = {}

    def on_event(self, event: Event) -> None:
        """See `Listener`."""
        if isinstance(event, RunStarted):
            self._began_ns = event.at_ns
        elif isinstance(event, Planned):
            self._note("plan", event.at_ns - self._began_ns)
            self._began_ns = event.at_ns
        elif isinstance(event, UpToDate):
            self._note("up to date", 0)
        elif isinstance(event, Hit):
            self._note("cache hit", event.took_ns)
        elif isinstance(event, Finished):
            self._note("command", event.took_ns)

    def _note(self, name: str, took_ns: int) -> None:
        self._took_ns.setdefault(name, []).append(took_ns)

    def lines(self) -> Iterator[str]:
        """The table."""
        width = max(map(len, ("metric", *self._took_ns)))
        yield f"{'metric':<{width}}\t{'count':<6}\t{'avg (us)':<9}\t{'total (ms)'}"
        for name, times in self._took_ns.items():
            total = sum(times)
            yield f"{name:<{width}}\t{len(times):<6}\t{total / len(times) / 1e3:<8.1f}\t{total / 1e6:.1f}"
