"""Numbers of groups over blocks: from counters where they say enough, else from columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vcache.logs.search.decided import PAIRED, pair_getter
from vcache.logs.search.masks import Mask, count_of, mask_of, rows_of
from vcache.logs.search.named import column_of
from vcache.logs.segment.reading import OpenBlock, Segment
from vcache.logs.segment.values import Numbers
from vcache.logs.segment.window import MINUTE_NS
from vcache.query.levels import LEVELS, word_of
from vcache.query.rows import compiled, fields_of
from vcache.query.syntax import Aggregate, Everything, Expression, Group, Value
from vcache.query.totals import Totals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Counts", "add_block", "add_counted", "rows_counted"]

_LEVELS: Final = 256
_MOST_PRODUCT: Final = 1 << 62


Counts: TypeAlias = "Counter[tuple[Value, ...]]"
"""How many records each group has: what it has in common, as `group_value` says it."""


def add_counted(found: Counts, aggregate: Aggregate, where: Expression, segment: Segment) -> bool:
    """Add what counters of a segment say, if they say all; whether they did.

    Raises:
        DecodeError: they are damaged; nothing was added.
    """
    if not _is_counting(aggregate) or not fields_of(where) <= PAIRED or segment.gaps:
        return False
    steps = {group.step_ns for group in aggregate.by if group.field == "@time"}
    if {group.field for group in aggregate.by} - PAIRED - {"@time"} or any(
        not step or step % MINUTE_NS for step in steps
    ):
        return False
    if not steps:
        _count_pairs(found, aggregate, where, segment)
        return True
    counts = segment.counts()
    if counts is None:
        return False
    for sources, columns in list(counts):
        _count_minutes(found, aggregate, where, sources, columns)
    return True


def rows_counted(found: Counts, aggregate: Aggregate) -> Iterator[tuple[Value, ...]]:
    """A row for each group that counters told of, in the order of what they have in common."""
    # Of each column all values are texts, or all are numbers: they sort as they are.
    for key, count in sorted(found.items(), key=itemgetter(0)):
        yield (*key, *([count] * len(aggregate.calls)))


def _is_counting(aggregate: Aggregate) -> bool:
    return all(call.function == "count" and not call.field for call in aggregate.calls)


def _count_pairs(found: Counts, aggregate: Aggregate, where: Expression, segment: Segment) -> None:
    test = compiled(where, pair_getter)
    places = [("source", "level").index(group.field) for group in aggregate.by]
    for source, stats in segment.info.sources.items():
        for level, count in stats.by_level.items():
            if test((source, level)):
                found[tuple((source, _least_of(level))[place] for place in places)] += count


@cache
def _least_of(level: int) -> int:
    """The least number of a level's word."""
    return LEVELS.get(word_of(level), 0)


def _count_minutes(
    found: Counts,
    aggregate: Aggregate,
    where: Expression,
    sources: Sequence[str],
    columns: Mapping[str, NDArray[np.int64]],
) -> None:
    import numpy as np

    which, levels, counts = columns["source"], columns["level"], columns["count"]
    if not isinstance(where, Everything):
        pairs, numbers = np.unique(which * _LEVELS + levels, return_inverse=True)
        test = compiled(where, pair_getter)
        answers = [test((sources[pair // _LEVELS], pair % _LEVELS)) for pair in pairs.tolist()]
        is_meant = np.array(answers, np.bool_)[numbers]
        which, levels, counts = which[is_meant], levels[is_meant], counts[is_meant]
        columns = {"minute": columns["minute"][is_meant]}
    if not len(counts):
        return
    parts: list[tuple[NDArray[np.int64] | None, Sequence[Value]]] = []
    for group in aggregate.by:
        if group.field == "source":
            parts.append((which, sources))
        elif group.field == "level":
            parts.append((levels, [_least_of(level) for level in range(_LEVELS)]))
        else:
            buckets = columns["minute"] // (group.step_ns // MINUTE_NS)
            low, high = int(buckets.min()), int(buckets.max())
            parts.append((buckets - low, [bucket * group.step_ns for bucket in range(low, high + 1)]))
    numbers, keys = _keys(parts, len(counts))
    sums: list[int] = np.bincount(numbers, weights=counts, minlength=len(keys)).astype(np.int64).tolist()
    for key, count in zip(keys, sums, strict=True):
        found[tuple(key)] += count


def add_block(totals: Totals, where: Expression, block: OpenBlock) -> bool:
    """Add what a block has; whether any of it had to be read.

    Raises:
        DecodeError: it is damaged; nothing was added.
        QueryError: there are too many groups.
    """
    mask = mask_of(where, block)
    if mask is False:
        return False
    if totals.is_counting and not totals.aggregate.by:
        totals.add_count((), count_of(mask, block.about.rows))
        return mask is not True
    _add_columns(totals, mask, block)
    return True


def _add_columns(totals: Totals, mask: Mask, block: OpenBlock) -> None:
    import numpy as np

    aggregate = totals.aggregate
    rows = None if mask is True else rows_of(mask, block.about.rows)
    n_rows = block.about.rows if rows is None else len(rows)
    if not n_rows:
        return
    numbers, keys = _keys([_grouped(group, block, rows) for group in aggregate.by], n_rows)
    counts: list[int] = np.bincount(numbers, minlength=len(keys)).tolist()
    if totals.is_counting:
        for key, count in zip(keys, counts, strict=True):
            totals.add_count(key, count)
        return
    order = np.argsort(numbers, kind="stable")
    ends: list[int] = np.cumsum(counts).tolist()
    picked = order if rows is None else rows[order]
    times: Sequence[Value] = column_of(block, "@time").take(picked)
    columns = [column_of(block, call.field).take(picked) if call.field else None for call in aggregate.calls]
    for key, count, end in zip(keys, counts, ends, strict=True):
        begin = end - count
        for index, (call, column) in enumerate(zip(aggregate.calls, columns, strict=True)):
            if column is None:
                totals.add_pairs(key, index, ((None, count),))
            elif call.function in ("first", "last"):
                at = [int(str(time)) for time in times[begin:end]]
                totals.add_timed(key, index, zip(column[begin:end], at, strict=True))
            else:
                totals.add_values(key, index, column[begin:end])


def _grouped(
    group: Group, block: OpenBlock, rows: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64] | None, Sequence[Value]]:
    """A number for each row, and the value it stands for."""
    import numpy as np

    column = column_of(block, group.field)
    if group.step_ns and isinstance(column, Numbers) and column.values.dtype.kind == "i":
        values = column.values if rows is None else column.values[rows]
        buckets = values // group.step_ns
        low = int(buckets.min())
        if column.present is None and int(buckets.max()) - low <= 2 * len(buckets):
            # A bucket is its own number: nothing needs to be sorted.
            span = range(low, int(buckets.max()) + 1)
            return (buckets - low).astype(np.int64), [bucket * group.step_ns for bucket in span]
    numbers, values_of = column.groups()
    if numbers is not None and rows is not None:
        numbers = numbers[rows]
    return numbers, values_of


def _keys(
    parts: Sequence[tuple[NDArray[np.int64] | None, Sequence[Value]]], n_rows: int
) -> tuple[NDArray[np.int64], list[list[Value]]]:
    """A number for each row's group, and what its rows have in common."""
    import numpy as np

    numbers = np.zeros(n_rows, np.int64)
    size = 1
    for at, (own, values) in enumerate(parts):
        if own is None:
            continue
        if size * len(values) > _MOST_PRODUCT:
            # The numbers of what comes before stand for few: they are numbered anew.
            return _keys_of_two(_keys(parts[:at], n_rows), _keys(parts[at:], n_rows), n_rows)
        numbers = numbers * len(values) + own
        size *= len(values)
    if size > 4 * n_rows + 64:
        # Most of the numbers stand for nobody.
        distinct, numbers = np.unique(numbers, return_inverse=True)
    else:
        counts = np.bincount(numbers, minlength=size)
        distinct = np.flatnonzero(counts)
        places = np.zeros(size, np.int64)
        places[distinct] = np.arange(len(distinct))
        numbers = places[numbers]
    keys: list[list[Value]] = []
    for number in distinct.tolist():
        key: list[Value] = []
        for own, values in reversed(parts):
            if own is None:
                key.append(values[0])
            else:
                number, at = divmod(number, len(values))
                key.append(values[at])
        keys.append(key[::-1])
    return numbers, keys


def _keys_of_two(
    one: tuple[NDArray[np.int64], list[list[Value]]],
    two: tuple[NDArray[np.int64], list[list[Value]]],
    n_rows: int,
) -> tuple[NDArray[np.int64], list[list[Value]]]:
    """What `_keys` gives for both, whose numbers are less than there are rows."""
    places = [list(range(len(one[1]))), list(range(len(two[1])))]
    pairs: Any
    numbers, pairs = _keys([(one[0], places[0]), (two[0], places[1])], n_rows)
    # What stands for a pair are places in the two.
    return numbers, [[*one[1][first], *two[1][second]] for first, second in pairs]
