"""Columns of a block as they are read: what a row has, which rows pass a test, which have what in common.

Every number and every length is checked before it is used: a block that contradicts itself is damaged.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.logs.segment.columns import Chunk, Column
from vcache.logs.segment.glossary import Glossary
from vcache.logs.segment.ints import decode_ints
from vcache.query.syntax import Value
from vcache.serialize.plain import decompress, unpack_flat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MOST_CHUNK_BYTES",
    "Coded",
    "Constant",
    "Mixed",
    "Numbers",
    "Read",
    "Texts",
    "Values",
    "decode_column",
    "decode_more",
]

MOST_CHUNK_BYTES: Final = 1 << 29
_MOST_PAIRS: Final = 1 << 24  # names and values: a window has no more characters, but for its last part
_MOST_DISTINCT: Final = 1 << 16  # a window has no more rows
_TEXT: Final = frozenset((str, type(None)))
_NARROW: Final = 1_024
_FEW: Final = 16
_N = TypeVar("_N", bound="np.generic")

Test = Callable[[Value], bool]


class Values(Protocol):
    """One column, all rows of a block."""

    def mask(self, test: Test) -> NDArray[np.bool_] | bool:
        """Which rows pass; one answer where it is the same for all."""

    def take(self, rows: NDArray[np.int64]) -> Sequence[Value]:
        """The values of those rows."""

    def groups(self) -> tuple[NDArray[np.int64] | None, Sequence[Value]]:
        """A number for each row, and what it stands for; None where all rows have the one value.

        Not every value need occur.
        """


class Read(Protocol):
    """Gives the checked bytes of a chunk; `owner` tells in whose file, and where, chunks begin."""

    @property
    def owner(self) -> bytes: ...

    def __call__(self, chunk: Chunk) -> memoryview: ...


class Constant(NamedTuple):
    """All rows have the same."""

    value: Value

    def mask(self, test: Test) -> bool:
        return test(self.value)

    def take(self, rows: NDArray[np.int64]) -> Sequence[Value]:
        return [self.value] * len(rows)

    def groups(self) -> tuple[None, Sequence[Value]]:
        return None, [self.value]


class Coded(NamedTuple):
    """Few different values: a number for each row, which `values` has."""

    codes: NDArray[np.int64]
    values: Sequence[Value]

    def mask(self, test: Test) -> NDArray[np.bool_] | bool:
        return _looked_up(self.codes, [test(value) for value in self.values])

    def take(self, rows: NDArray[np.int64]) -> Sequence[Value]:
        # Of a dictionary of thousands some texts are read one by one.
        values = self.values if len(rows) * _FEW < len(self.values) else list(self.values)
        return [values[code] for code in self.codes[rows].tolist()]

    def groups(self) -> tuple[NDArray[np.int64], Sequence[Value]]:
        return self.codes, self.values


class Numbers(NamedTuple):
    """A number in each row, as int64 or float64, or none where `present` is false (and `values` is 0)."""

    values: NDArray[np.int64] | NDArray[np.float64]
    present: NDArray[np.bool_] | None

    def mask(self, test: Test) -> NDArray[np.bool_] | bool:
        numbers, distinct = self.groups()
        return _looked_up(numbers, [test(value) for value in distinct])

    def take(self, rows: NDArray[np.int64]) -> Sequence[Value]:
        found: list[Value] = self.values[rows].tolist()
        if self.present is None:
            return found
        return [
            value if is_there else None
            for value, is_there in zip(found, self.present[rows].tolist(), strict=True)
        ]

    def groups(self) -> tuple[NDArray[np.int64], Sequence[Value]]:
        import numpy as np

        low, high = self.values.min(), self.values.max()
        if self.values.dtype.kind == "i" and int(high) - int(low) < _NARROW:
            # Nothing needs to be sorted; that some values do not occur does no harm.
            numbers, values = self.values - low, list[Value](range(int(low), int(high) + 1))
        else:
            distinct, numbers = np.unique(self.values, return_inverse=True)
            values = distinct.tolist()
        if self.present is None:
            return numbers, values
        return np.where(self.present, numbers, len(values)), [*values, None]


class Texts:
    """Mostly different texts.

    Attributes:
        text: all of them, one behind the other.
        ends: of each, in `text`.
        present: which rows have one; None for all. A row that has none is empty in `text`.
    """

    __slots__ = ("ends", "present", "text")

    def __init__(self, text: bytes, ends: NDArray[np.int64], present: NDArray[np.bool_] | None) -> None:
        self.text, self.ends, self.present = text, ends, present

    def mask(self, test: Test) -> NDArray[np.bool_]:
        import numpy as np

        return np.fromiter(map(test, self.all()), np.bool_, len(self.ends))

    def all(self) -> list[Value]:
        """The texts of all rows."""
        ends: list[int] = self.ends.tolist()
        begins = [0, *ends[:-1]]
        if self.text.isascii():
            text = self.text.decode("ascii")
            found: list[Value] = [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
        else:
            data = self.text
            found = [
                data[begin:end].decode("utf-8", "surrogatepass")
                for begin, end in zip(begins, ends, strict=True)
            ]
        if self.present is None:
            return found
        return [
            value if is_there else None for value, is_there in zip(found, self.present.tolist(), strict=True)
        ]

    def take(self, rows: NDArray[np.int64]) -> Sequence[Value]:
        if len(rows) * 2 > len(self.ends):
            whole = self.all()
            return [whole[row] for row in rows.tolist()]
        ends, data, present = self.ends, self.text, self.present
        found: list[Value] = []
        for row in rows.tolist():
            if present is not None and not present[row]:
                found.append(None)
                continue
            begin = int(ends[row - 1]) if row else 0
            found.append(data[begin : int(ends[row])].decode("utf-8", "surrogatepass"))
        return found

    def groups(self) -> tuple[NDArray[np.int64], Sequence[Value]]:
        return _numbered(self.all())


class Mixed(NamedTuple):
    """Values of several kinds."""

    values: Sequence[Value]

    def mask(self, test: Test) -> NDArray[np.bool_]:
        import numpy as np

        return np.fromiter(map(test, self.values), np.bool_, len(self.values))

    def take(self, rows: NDArray[np.int64]) -> Sequence[Value]:
        return [self.values[row] for row in rows.tolist()]

    def groups(self) -> tuple[NDArray[np.int64], Sequence[Value]]:
        return _numbered(self.values)


def decode_column(column: Column, rows: int, read: Read) -> Values:
    """A column again.

    Raises:
        DecodeError: the bytes are not what the description says.
    """
    try:
        return _READERS[column.kind](column, rows, read)
    except (KeyError, IndexError, ValueError, TypeError, OverflowError, AttributeError, MemoryError) as error:
        raise DecodeError(f"column {column.name!r:.80} of kind {column.kind!r:.20}: {error}") from None


def _constant(column: Column, rows: int, read: Read) -> Values:
    return Constant(column.value)


def _dictionary(column: Column, rows: int, read: Read) -> Values:
    values = _shared(column.chunks[0], read, lambda chunk: _unpacked(chunk, read, _MOST_DISTINCT))
    if (
        not values
        or isinstance(values, Glossary)
        or (column.value is True and not _TEXT.issuperset(map(type, values)))
    ):
        raise DecodeError(f"column {column.name!r:.80}: not the values that it promises")
    codes = _ints(column, 1, rows, read)
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(values):
        raise DecodeError(f"column {column.name!r:.80}: a number that stands for nothing")
    return Coded(codes, values)


def _glossary(column: Column, rows: int, read: Read) -> Values:
    count = column.value
    if type(count) is not int or not 0 < count <= _MOST_DISTINCT:
        raise DecodeError(f"column {column.name!r:.80}: {count!r:.20} texts")
    values = _shared(column.chunks[0], read, lambda chunk: Glossary(_decompressed(chunk, read), count))
    codes = _ints(column, 1, rows, read)
    if not isinstance(values, Glossary) or len(values) != count + 1:
        raise DecodeError(f"column {column.name!r:.80}: not the texts that it promises")
    if not 0 <= int(codes.min()) <= int(codes.max()) < len(values):
        raise DecodeError(f"column {column.name!r:.80}: a number that stands for nothing")
    return Coded(codes, values)


def _whole(column: Column, rows: int, read: Read) -> Values:
    present = _presence(column, 1, rows, read)
    values = _ints(column, 0, rows if present is None else int(present.sum()), read)
    return Numbers(_spread(values, present), present)


def _decimals(column: Column, rows: int, read: Read) -> Values:
    present = _presence(column, 1, rows, read)
    values = _ints(column, 0, rows if present is None else int(present.sum()), read)
    digits = column.value
    if type(digits) is not int or not 0 <= digits <= 6:
        raise DecodeError(f"column {column.name!r:.80}: {digits!r:.20} digits behind the point")
    return Numbers(_spread(values / 10.0**digits, present), present)


def _texts(column: Column, rows: int, read: Read) -> Values:
    import numpy as np

    present = _presence(column, 2, rows, read)
    lengths = _ints(column, 0, rows if present is None else int(present.sum()), read)
    stored = column.chunks[1]
    text = _decompressed(stored, read)
    ends = np.cumsum(_spread(lengths, present))
    # Each by itself: sums of longer ones wrap around.
    if not 0 <= int(lengths.min()) <= int(lengths.max()) <= len(text) or int(ends[-1]) != len(text):
        raise DecodeError(f"column {column.name!r:.80}: lengths that are not the text's")
    return Texts(text, ends, present)


def _hex(column: Column, rows: int, read: Read) -> Values:
    import numpy as np

    present = _presence(column, 1, rows, read)
    text = bytes(read(column.chunks[0])).hex().encode()
    digits, count = column.value, rows if present is None else int(present.sum())
    if type(digits) is not int or digits <= 0 or digits * count != len(text):
        raise DecodeError(f"column {column.name!r:.80}: {len(text)} digits for {count} rows")
    lengths = np.full(count, digits, np.int64)
    return Texts(text, np.cumsum(_spread(lengths, present)), present)


def _mixed(column: Column, rows: int, read: Read) -> Values:
    values = _unpacked(column.chunks[0], read, rows)
    if len(values) != rows:
        raise DecodeError(f"column {column.name!r:.80}: {len(values)} values for {rows} rows")
    return Mixed(values)


def decode_more(column: Column, rows: int, read: Read) -> list[dict[str, Value]]:
    """What rows have of names that are no columns.

    Raises:
        DecodeError: the bytes are not what the description says.
    """
    if column.kind != "n" or len(column.chunks) != 1:
        raise DecodeError("no names and values")
    flat = iter(_unpacked(column.chunks[0], read, 2 * _MOST_PAIRS + rows))
    found: list[dict[str, Value]] = []
    for count in flat:
        if type(count) is not int or not 0 <= count <= _MOST_PAIRS:
            raise DecodeError(f"{count!r:.20} names of a row")
        pairs: list[Any] = list(islice(flat, 2 * count))
        if len(pairs) != 2 * count or not {str}.issuperset(map(type, pairs[::2])) or None in pairs:
            raise DecodeError("names that are none")
        found.append(dict(zip(pairs[::2], pairs[1::2], strict=True)))
    if len(found) != rows:
        raise DecodeError(f"names of {len(found)} rows, not {rows}")
    return found


_READERS = {
    "c": _constant, "d": _dictionary, "t": _glossary, "i": _whole, "f": _decimals, "s": _texts, "h": _hex, "m": _mixed,
}  # fmt: skip


def _ints(column: Column, place: int, rows: int, read: Read) -> NDArray[np.int64]:
    if column.how is None or column.how.count != rows:
        raise DecodeError(f"column {column.name!r:.80}: not {rows} numbers")
    return decode_ints(column.how, read(column.chunks[place]))


def _presence(column: Column, place: int, rows: int, read: Read) -> NDArray[np.bool_] | None:
    import numpy as np

    if len(column.chunks) <= place:
        return None
    bits = np.frombuffer(read(column.chunks[place]), np.uint8)
    return np.unpackbits(bits, count=rows, bitorder="little").astype(np.bool_)


def _spread(values: NDArray[_N], present: NDArray[np.bool_] | None) -> NDArray[_N]:
    """Values at the rows that have one, 0 at the others."""
    import numpy as np

    if present is None:
        return values
    whole = np.zeros(len(present), values.dtype)
    whole[present] = values
    return whole


# Blocks of one window share their dictionaries, and are read one after the other.
_dictionaries: Final[OrderedDict[tuple[bytes, Chunk], Sequence[Value]]] = OrderedDict()
_lock: Final = threading.Lock()  # guards the dictionaries
_MOST_DICTIONARIES: Final = 6
_MOST_RAW_BYTES: Final = 2 << 20  # longer ones are read anew each time


def _shared(chunk: Chunk, read: Read, make: Callable[[Chunk], Sequence[Value]]) -> Sequence[Value]:
    key = read.owner, chunk
    with _lock:
        found = _dictionaries.get(key)
        if found is not None:
            _dictionaries.move_to_end(key)
            return found
    found = make(chunk)
    if chunk.raw_bytes <= _MOST_RAW_BYTES:
        with _lock:
            _dictionaries[key] = found
            while len(_dictionaries) > _MOST_DICTIONARIES:
                _dictionaries.popitem(last=False)
    return found


def _unpacked(chunk: Chunk, read: Read, most: int) -> list[Value]:
    return unpack_flat(_decompressed(chunk, read), most_items=most)


def _decompressed(chunk: Chunk, read: Read) -> bytes:
    if not 0 <= chunk.raw_bytes <= MOST_CHUNK_BYTES:
        raise DecodeError(f"a chunk that is to hold {chunk.raw_bytes} bytes")
    return decompress(read(chunk), size_bytes=chunk.raw_bytes)


def _looked_up(numbers: NDArray[np.int64] | None, answers: list[bool]) -> NDArray[np.bool_] | bool:
    """An answer for each row, from those for what its number stands for."""
    import numpy as np

    if numbers is None or all(answers):
        return bool(answers) and answers[0]
    if not any(answers):
        return False
    if answers.count(True) == 1:
        return np.equal(numbers, answers.index(True))
    return np.array(answers, np.bool_)[numbers]


def _numbered(values: Sequence[Value]) -> tuple[NDArray[np.int64], Sequence[Value]]:
    import numpy as np

    numbers: dict[tuple[type, Value], int] = {}  # 1, 1.0 and True are one key of a dict
    found = [numbers.setdefault((type(value), value), len(numbers)) for value in values]
    return np.array(found, np.int64), [value for _, value in numbers]
