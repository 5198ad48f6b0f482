"""Records that become one group of a segment: taken apart into columns as they come, then cut into blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from vcache.logs.record import FUTURE_NS, LONG_BYTES, Record, marked
from vcache.logs.segment.columns import Builder, Chunks, encode_more, encode_numbers, encode_text
from vcache.logs.segment.layout import Block, Run, Summary
from vcache.logs.segment.tokens import make_filter, word_hashes
from vcache.query.syntax import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BLOCK_ROWS", "MINUTE_NS", "MOST_LEVELS", "MOST_MINUTES", "MOST_NAMES", "Window"]

BLOCK_ROWS: Final = 16_384
_OWN_ROWS: Final = 4_096  # a source with so many rows in a window has blocks of its own
_NUMBERS: Final = ("@time", "@level", "@marks", "@repeats", "@seen")
MOST_LEVELS: Final = 256
MINUTE_NS: Final = 60 * 10**9
MOST_MINUTES: Final = 1 << 20
MOST_NAMES: Final = 512  # columns of fields; who sends others each time makes no more of them


class Window:
    """Columns of records, in the order of arrival.

    Attributes:
        n_rows, n_chars, n_cells: what it holds; of equal texts of a field one is counted.
    """

    def __init__(self) -> None:
        self.n_rows = self.n_chars = self.n_cells = self._message_chars = 0
        self._more: list[Mapping[str, Value]] = []
        self._numbers: dict[str, list[NDArray[np.int64]]] = {name: [] for name in _NUMBERS}
        self._sources = Builder("@source")
        self._messages: list[str] = []
        self._fields: dict[str, Builder] = {}
        self._streams: dict[int, int] = {}
        self._seqs: list[NDArray[np.int64]] = []
        self._which: list[NDArray[np.int64]] = []

    def add(
        self, stream: int, first_seq: int, records: Sequence[Record], *, seen_ns: int | None = None
    ) -> None:
        """Take records, one or more, of a stream, the next ones behind each other.

        Args:
            seen_ns: when a store takes them, which has not seen them before: they are marked as they are due.
        """
        import numpy as np

        count = len(records)
        times, levels, sources, messages, fields, marks, repeats, seen, _ = zip(*records, strict=True)
        text = "".join(messages)
        for name, values in zip(_NUMBERS, (times, levels, marks, repeats, seen), strict=True):
            self._numbers[name].append(np.array(values, np.int64))
        np.clip(self._numbers["@level"][-1], 0, MOST_LEVELS - 1, out=self._numbers["@level"][-1])
        if seen_ns is not None:
            self._numbers["@seen"][-1][:] = seen_ns
            latest_ns = int(self._numbers["@time"][-1].max())
            if latest_ns > seen_ns + FUTURE_NS or not text.isascii() or len(text) > LONG_BYTES // 4:
                self._numbers["@marks"][-1] = np.array(_marks(records, seen_ns), np.int64)
        self._sources.add(sources)
        self._messages += messages
        columns, more = _transposed(fields, self._fields.keys())
        if more or self._more:
            self._more += [*[{}] * (self.n_rows - len(self._more)), *(more or [{}] * count)]
            self._message_chars += _chars_of(more or ())
        for name, column in columns:
            builder = self._fields.get(name)
            if builder is None:
                builder = self._fields[name] = Builder(name, self.n_rows)
            builder.add(column)
        self._seqs.append(np.arange(first_seq, first_seq + count))
        number = self._streams.setdefault(stream, len(self._streams))
        self._which.append(np.full(count, number))
        self.n_rows += count
        self._message_chars += len(text)
        for builder in self._fields.values():
            if builder.n_rows < self.n_rows:
                builder.skip(count)
        self.n_chars = self._message_chars + sum(builder.n_chars for builder in self._fields.values())
        self.n_cells = self.n_rows * len(self._fields)

    def encode(self) -> tuple[list[Block], Summary | None, list[bytes]]:
        """The blocks, what they hold by the minute, and the chunks that both point into."""
        import numpy as np

        numbers = {name: np.concatenate(parts) for name, parts in self._numbers.items()}
        numbers["@seq"] = np.concatenate(self._seqs)
        which = np.concatenate(self._which)
        codes, names = self._sources.codes()
        columns = {name: builder.prepared() for name, builder in self._fields.items()}
        source = self._sources.prepared()
        chunks, blocks = Chunks(), []
        for rows in _parted(codes, len(names)):
            own = {name: values[rows] for name, values in numbers.items()}
            core = {name: encode_numbers(name, values, chunks) for name, values in own.items()}
            if len(self._streams) > 1:
                core["@stream"] = encode_numbers("@stream", which[rows], chunks)
            core["@source"], _ = source.encode(rows, chunks)
            messages = list(map(self._messages.__getitem__, rows.tolist()))
            core["@message"] = encode_text("@message", messages, chunks)
            if self._more:
                core["@more"] = encode_more([self._more[row] for row in rows.tolist()], chunks)
            known, fields = [word_hashes(messages)], {}
            for name, column in columns.items():
                fields[name], more = column.encode(rows, chunks)
                known.append(more)
            times = own["@time"]
            blocks.append(Block(
                len(rows), int(times.min()), int(times.max()), bool((times[1:] >= times[:-1]).all()),
                _levels(codes[rows], names, own["@level"]), int(np.bitwise_or.reduce(own["@marks"])),
                _runs(self._streams, own["@seq"], which[rows]), core, fields, chunks.add(make_filter(np.concatenate(known))),
            ))  # fmt: skip
        summary = _summary(numbers["@time"], codes, [str(name) for name in names], numbers["@level"], chunks)
        return blocks, summary, chunks.parts


def _marks(records: Sequence[Record], seen_ns: int) -> list[int]:
    """The marks of records that a store takes at that time."""
    later_ns, most = seen_ns + FUTURE_NS, LONG_BYTES // 4
    return [
        record[5]
        if record[0] <= later_ns and len(record[3]) <= most and record[3].isascii()
        else marked(record, now_ns=seen_ns).marks
        for record in records
    ]


def _transposed(
    fields: Sequence[Mapping[str, Value]], known: AbstractSet[str]
) -> tuple[Iterable[tuple[str, Sequence[Value]]], list[dict[str, Value]] | None]:
    """The columns of fields, and what rows have beyond them where there are more than `MOST_NAMES`.

    Args:
        known: columns that are there.
    """
    names = tuple(fields[0])
    if len(names) + len(known) <= MOST_NAMES and set(map(len, fields)) == {len(names)}:
        try:
            columns = [list(map(itemgetter(name), fields)) for name in names]
        except KeyError:
            pass  # equally many, and not the same
        else:
            return zip(names, columns, strict=True), None
    found = dict.fromkeys(name for shape in dict.fromkeys(map(tuple, fields)) for name in shape)
    more = None
    if len(found) + len(known) > MOST_NAMES and len(found.keys() | known) > MOST_NAMES:
        found, more = _parted_names(fields, known)
    return ((name, [row.get(name) for row in fields]) for name in found), more


def _chars_of(rows: Iterable[Mapping[str, Value]]) -> int:
    return sum(
        len(name) + (len(value) if type(value) is str else 0) for row in rows for name, value in row.items()
    )


def _parted_names(
    fields: Sequence[Mapping[str, Value]], known: AbstractSet[str]
) -> tuple[dict[str, None], list[dict[str, Value]]]:
    """The names that are columns, which are the most frequent ones, and what rows have of the others."""
    counts = Counter(name for row in fields for name in row)
    new = [name for name, _ in counts.most_common() if name not in known]
    found = dict.fromkeys([*(name for name in counts if name in known), *new[: MOST_NAMES - len(known)]])
    return found, [{name: value for name, value in row.items() if name not in found} for row in fields]


def _parted(codes: NDArray[np.int64], n_sources: int) -> Iterator[NDArray[np.int64]]:
    """The rows of blocks: those of one source together, in the order of arrival."""
    import numpy as np

    order = np.argsort(codes.astype(np.uint16 if n_sources <= 1 << 16 else np.int64), kind="stable")
    counts = np.bincount(codes, minlength=n_sources)
    pending: list[NDArray[np.int64]] = []
    n_pending = 0
    for count, end in zip(counts.tolist(), np.cumsum(counts).tolist(), strict=True):
        rows = order[end - count : end]
        if count >= _OWN_ROWS:
            yield from np.array_split(rows, -(-count // BLOCK_ROWS))
            continue
        # Half as long as others: who looks for a rare source reads what all rare ones have.
        if pending and n_pending + count > BLOCK_ROWS // 2:
            yield np.concatenate(pending)
            pending, n_pending = [], 0
        pending.append(rows)
        n_pending += count
    if pending:
        yield np.concatenate(pending)


def _levels(
    codes: NDArray[np.int64], names: Sequence[Value], levels: NDArray[np.int64]
) -> dict[str, dict[int, int]]:
    """How many records there are, by source and level."""
    import numpy as np

    pairs, counts = np.unique(codes * MOST_LEVELS + levels, return_counts=True)
    found: dict[str, dict[int, int]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(str(names[pair // MOST_LEVELS]), {})[pair % MOST_LEVELS] = count
    return found


def _summary(
    times: NDArray[np.int64], codes: NDArray[np.int64], sources: Sequence[str], levels: NDArray[np.int64],
    chunks: Chunks,
) -> Summary | None:  # fmt: skip
    """How many records there are, by minute, source and level; None where that would be long."""
    import numpy as np

    minutes = times // MINUTE_NS
    first = int(minutes.min())
    if (int(minutes.max()) - first) * len(sources) > MOST_MINUTES:
        return None
    pairs = codes * MOST_LEVELS + levels
    keys, counts = np.unique((minutes - first) * (len(sources) * MOST_LEVELS) + pairs, return_counts=True)
    if len(keys) * 4 > len(times):
        return None
    at, pair = np.divmod(keys, len(sources) * MOST_LEVELS)
    which, level = np.divmod(pair, MOST_LEVELS)
    columns = (("minute", at + first), ("source", which), ("level", level), ("count", counts))
    return Summary(tuple(sources), tuple(encode_numbers(name, values, chunks) for name, values in columns))


def _runs(streams: Mapping[int, int], seqs: NDArray[np.int64], which: NDArray[np.int64]) -> tuple[Run, ...]:
    runs = []
    for stream, number in streams.items():
        own = seqs[which == number] if len(streams) > 1 else seqs
        # A block that has none of a stream says so: the numbers of the others stay what they are.
        runs.append(Run(stream, int(own.min()), int(own.max())) if len(own) else Run(stream, 1, 0))
    return tuple(runs)
