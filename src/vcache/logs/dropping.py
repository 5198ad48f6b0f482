"""Drops sealed records: by the rules of retention, or by source and time.

Blocks of which all stays are copied as they are; those of which a part goes are written anew. It carries out
what `vcache.logs.retention` plans, and must not know who asks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.logs.retention import Cut, Holding, Rules, plan
from vcache.logs.sealed import Sealed
from vcache.logs.sealing import Sealer
from vcache.logs.tail.writer import DAMAGED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vcache.logs.segment import OpenBlock, Segment, SegmentInfo

    Cuts = Mapping[OpenBlock, Mapping[str, Cut]]
    Going = Mapping[OpenBlock, NDArray[np.bool_]]

__all__ = ["Dropped", "planned", "purge", "retain"]

_FEW_PART: Final = 8
"""Of a block's rows: fewer than that are not worth writing the others anew, for a while."""


class Dropped(NamedTuple):
    """What is gone."""

    records: int
    size_bytes: int


def retain(
    sealer: Sealer, sealed: Sealed, rules: Rules, *, now_ns: int, mend: Callable[[bytes], bool]
) -> Dropped:
    """Drop what the rules ask for. The lock of `sealer` is held.

    Of what is damaged nothing goes before all of its block may, or of its segment where that is not known.

    Args:
        mend: asked for a segment that is damaged, by its digest; whether the file is sound now.

    Raises:
        OSError: no space, no permission.
    """
    gone, is_mended = Dropped(0, 0), False
    segments = sealed.current()
    cuts = _cuts(segments, rules, now_ns)
    for segment in segments:
        going = _going(segment, cuts, passes_damage=True)
        if segment.gaps and _count(going) < segment.info.records:
            continue
        try:
            gone = _sum(gone, _drop(sealer, segment, going))
        except DecodeError:
            # A copy is another file, which nobody elsewhere has: what can be had again is fetched before.
            if mend(segment.info.digest):
                is_mended = True
            else:
                gone = _sum(gone, _drop(sealer, segment, going, keeps_damage=True))
    if is_mended:
        return _sum(gone, retain(sealer, sealed, rules, now_ns=now_ns, mend=_never))
    _forget_gaps(sealer.directory / "tail", sealed)
    return gone


def planned(segments: Sequence[Segment], rules: Rules, *, now_ns: int) -> Dropped:
    """What `retain` would drop of segments, its bytes by the number of records."""
    cuts = _cuts(segments, rules, now_ns)
    records, size_bytes = 0, 0.0
    for segment in segments:
        count = _count(_going(segment, cuts, passes_damage=True))
        if not segment.gaps or count == segment.info.records:
            records, size_bytes = records + count, size_bytes + count * _row_bytes(segment)
    return Dropped(records, round(size_bytes))


def purge(sealer: Sealer, sealed: Sealed, source: str | None, before_ns: int | None) -> Dropped:
    """Drop exactly the records of a pattern of sources, of before a time; None for any. The lock of `sealer` is held.

    Raises:
        DecodeError: a segment that may have some of them is damaged; it is left as it is.
        OSError: no space, no permission.
    """
    gone = Dropped(0, 0)
    for segment in sealed.current():
        cuts = {block: _meant(block, source, before_ns) for block in segment.blocks}
        going = _going(segment, cuts)
        if going and segment.gaps:
            raise DecodeError(f"{segment.path} is damaged: {segment.gaps[0].reason}")
        gone = _sum(gone, _drop(sealer, segment, going))
    return gone


def _never(_digest: bytes) -> bool:
    return False


def _cuts(segments: Sequence[Segment], rules: Rules, now_ns: int) -> Cuts:
    """What stays of each block, by source."""
    held = [
        (
            block,
            Holding(
                source, sum(levels.values()), sum(levels.values()) * _row_bytes(segment), block.about.last_ns
            ),
        )
        for segment in segments
        for block in segment.blocks
        for source, levels in block.about.levels.items()
    ]
    found: dict[OpenBlock, dict[str, Cut]] = {}
    cuts = plan([holding for _, holding in held], rules, now_ns=now_ns)
    for (block, holding), cut in zip(held, cuts, strict=True):
        found.setdefault(block, {})[holding.source] = cut
    return found


def _meant(block: OpenBlock, source: str | None, before_ns: int | None) -> dict[str, Cut]:
    """What a purge leaves of a block."""
    levels = {name: sum(own.values()) for name, own in block.about.levels.items()}
    fits = {name for name in levels if source is None or fnmatchcase(name, source)}
    if before_ns is None:
        return {name: Cut(0 if name in fits else count) for name, count in levels.items()}
    return {name: Cut(count, before_ns) if name in fits else Cut(count) for name, count in levels.items()}


def _going(segment: Segment, cuts: Cuts, *, passes_damage: bool = False) -> Going:
    """The rows of its blocks that go, of those that have some.

    Raises:
        DecodeError: it is not known of a block, as that is damaged.
    """
    found = {}
    for block in segment.blocks:
        try:
            rows = _rows_going(block, cuts[block])
        except DecodeError:
            if not passes_damage:
                raise
            rows = None
        finally:
            block.forget()
        if rows is not None:
            found[block] = rows
    return found


def _rows_going(block: OpenBlock, cuts: Mapping[str, Cut]) -> NDArray[np.bool_] | None:
    """Which rows of a block go; None where none does, or it is not worth it."""
    import numpy as np

    about = block.about
    if not any(cut.records for cut in cuts.values()):
        return np.ones(about.rows, np.bool_)
    counts = {source: sum(levels.values()) for source, levels in about.levels.items()}
    if not any(
        cut.records < counts[source] or about.first_ns < cut.before_ns for source, cut in cuts.items()
    ):
        return None
    from vcache.logs.segment.trust import numbers_of

    times = numbers_of(block.core("@time"))
    going, is_urgent = np.zeros(about.rows, np.bool_), False
    for source, rows in _by_source(block, tuple(cuts)):
        cut, own = cuts[source], times[rows]
        over = len(rows) - cut.records
        going[rows] = own < cut.before_ns
        if over > 0:
            # Of one time those that came first.
            going[rows[np.argsort(own, kind="stable")[:over]]] = True
        is_urgent |= over > 0 or bool((own < cut.before_ns - cut.slack_ns).any())
    count = int(going.sum())
    return going if count and (is_urgent or count * _FEW_PART >= about.rows) else None


def _by_source(block: OpenBlock, sources: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The rows of each source of a block."""
    import numpy as np

    every = np.arange(block.about.rows)
    if len(sources) == 1:
        yield sources[0], every
        return
    numbers = {source: number for number, source in enumerate(sources)}
    which = np.array([numbers.get(str(name), -1) for name in block.core("@source").take(every)])
    for source, number in numbers.items():
        yield source, np.flatnonzero(which == number)


def _drop(sealer: Sealer, segment: Segment, going: Going, *, keeps_damage: bool = False) -> Dropped:
    """Drop rows of a segment: remove it, or put another one in its place."""
    if not going:
        return Dropped(0, 0)
    if _count(going) == segment.info.records:
        return _replace(sealer, segment, None, None)
    from vcache.logs.segment import merge

    temporary = sealer.temporary()
    return _replace(
        sealer, segment, temporary, merge((segment,), temporary, going=going, keeps_damage=keeps_damage)
    )


def _count(going: Going) -> int:
    return sum(int(rows.sum()) for rows in going.values())


def _row_bytes(segment: Segment) -> float:
    return segment.info.size_bytes / max(1, segment.info.records)


def _replace(sealer: Sealer, segment: Segment, temporary: Path | None, info: SegmentInfo | None) -> Dropped:
    if temporary is not None and info is not None:
        sealer.place(temporary, info)
    sealer.remove((segment,))
    left = (0, 0) if info is None else (info.records, info.size_bytes)
    return Dropped(segment.info.records - left[0], segment.info.size_bytes - left[1])


def _forget_gaps(tail: Path, sealed: Sealed) -> None:
    """Remove damaged remains of tails that are older than all that is kept."""
    oldest_ns = min((segment.info.first_ns for segment in sealed.current()), default=None)
    for name in os.listdir(tail):
        if name.endswith(DAMAGED):
            with contextlib.suppress(FileNotFoundError):
                if oldest_ns is None or os.stat(tail / name).st_mtime_ns < oldest_ns:
                    os.unlink(tail / name)


def _sum(one: Dropped, two: Dropped) -> Dropped:
    return Dropped(one.records + two.records, one.size_bytes + two.size_bytes)
