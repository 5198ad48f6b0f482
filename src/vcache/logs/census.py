"""Counts records by source and level. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from vcache.logs.base import Gap, LogStats, SourceStats
from vcache.logs.record import Record

__all__ = ["Census"]


class Census:
    """What a store holds, added up. One thread at a time."""

    def __init__(self) -> None:
        self._sources: dict[str, SourceStats] = {}

    @property
    def records(self) -> int:
        """How many."""
        return sum(stats.records for stats in self._sources.values())

    def count(self, records: Iterable[Record]) -> None:
        """Add records."""
        levels: dict[str, Counter[int]] = {}
        times: dict[str, tuple[int, int]] = {}
        for record in records:
            at_ns, level, source = record[:3]
            counted = levels.get(source)
            if counted is None:
                counted, times[source] = Counter(), (at_ns, at_ns)
                levels[source] = counted
            counted[level] += 1
            first_ns, last_ns = times[source]
            if not first_ns <= at_ns <= last_ns:
                times[source] = min(first_ns, at_ns), max(last_ns, at_ns)
        self.add({name: SourceStats(by.total(), by, *times[name]) for name, by in levels.items()})

    def add(self, sources: Mapping[str, SourceStats]) -> None:
        """Add what was counted elsewhere."""
        for name, more in sources.items():
            known = self._sources.get(name)
            if known is not None:
                more = SourceStats(
                    known.records + more.records,
                    Counter(known.by_level) + Counter(more.by_level),
                    min(known.first_ns, more.first_ns),
                    max(known.last_ns, more.last_ns),
                )
            self._sources[name] = more

    def stats(
        self, *, tail_records: int, segments: int = 0, size_bytes: int = 0, gaps: Sequence[Gap] = ()
    ) -> LogStats:
        """All of it; what is not counted here is given."""
        found = self._sources.values()
        return LogStats(
            records=self.records,
            tail_records=tail_records,
            segments=segments,
            size_bytes=size_bytes,
            first_ns=min((stats.first_ns for stats in found), default=0),
            last_ns=max((stats.last_ns for stats in found), default=0),
            sources={
                name: stats._replace(by_level=dict(stats.by_level))
                for name, stats in sorted(self._sources.items())
            },
            gaps=list(gaps),
        )
