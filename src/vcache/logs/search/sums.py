"""Numbers of groups over blocks: from counters where they say enough, else from columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.logs.search.masks import Mask, mask_of, rows_of
from vcache.logs.search.named import column_of
from vcache.logs.segment.reading import OpenBlock
from vcache.logs.segment.values import Numbers
from vcache.query.rows import compiled, fields_of
from vcache.query.syntax import Aggregate, Expression, Group, Value
from vcache.query.totals import Totals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["add_block"]

_COUNTED: Final = frozenset(("level", "source"))


def add_block(totals: Totals, where: Expression, block: OpenBlock) -> bool:
    """Add what a block has; whether any of it had to be read.

    Raises:
        DecodeError: it is damaged; nothing was added.
        QueryError: there are too many groups.
    """
    aggregate = totals.aggregate
    if totals.is_counting and _is_counted(aggregate, where):
        _add_counters(totals, where, block)
        return False
    mask = mask_of(where, block)
    if mask is False:
        return False
    if totals.is_counting and not aggregate.by:
        totals.add_count((), _count(mask, block))
        return mask is not True
    _add_columns(totals, mask, block)
    return True


def _is_counted(aggregate: Aggregate, where: Expression) -> bool:
    """Whether counters of sources and levels say all."""
    return fields_of(where) <= _COUNTED and all(group.field in _COUNTED for group in aggregate.by)


def _add_counters(totals: Totals, where: Expression, block: OpenBlock) -> None:
    names = [group.field for group in totals.aggregate.by]
    test: Callable[[dict[str, Value]], bool] = compiled(where, lambda name: lambda row: row.get(name))
    for source, levels in block.about.levels.items():
        for level, count in levels.items():
            row: dict[str, Value] = {"source": source, "level": level}
            if test(row):
                totals.add_count([row[name] for name in names], count)


def _count(mask: Mask, block: OpenBlock) -> int:
    import numpy as np

    return block.about.rows if mask is True else int(np.count_nonzero(mask))


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
    for own, values in parts:
        if own is not None:
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
