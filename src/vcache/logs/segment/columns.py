"""Columns: the values of one name, encoded by what they are.

What is decided for a whole window (which values are different, and how many) serves all its blocks: they share
a dictionary.


Kinds, each with what its description holds behind name and kind (docs/design/logs-segments.md):

    constant     the value                      numbers    how, chunk, presence
    dictionary   chunk of values, how, chunk    decimals   digits behind the point, how, chunk, presence
    text         how, chunk of lengths, chunk   hex        digits, chunk, presence
    mixed        chunk

It must not know what columns mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from vcache.hash import placement
from vcache.kit.data import NamedTuple
from vcache.logs.segment.ints import Ints, encode_ints
from vcache.logs.segment.tokens import pair_hash
from vcache.query.syntax import Value
from vcache.serialize.plain import compress, pack_plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Builder", "Chunk", "Chunks", "Column", "Prepared", "encode_more", "encode_numbers", "encode_text"]

_TEXT: Final = frozenset((str, type(None)))
_FEW: Final = 256  # different numbers: a dictionary of more is no shorter
_MOST_DISTINCT: Final = 0.5  # of the rows: beyond it a dictionary is longer than the values
_HEX: Final = frozenset("0123456789abcdef")
_HEX_DIGITS: Final = (16, 32, 40, 64)
_DECIMALS: Final = (0, 1, 2, 3, 6)
_MOST_SCALED: Final = 1e9
FILTERED_CHARS: Final = 256  # longer texts are found by reading


class Chunk(NamedTuple):
    """Where bytes of a block are, from its first chunk on, and what they must hash to.

    Attributes:
        raw_bytes: how long they are when they are decompressed; 0 for chunks of numbers, which say so.
    """

    offset: int
    size_bytes: int
    check: int
    raw_bytes: int


class Column(NamedTuple):
    """How one column is stored.

    Attributes:
        kind: c(onstant), t(exts of a dictionary), d(ictionary), i(nts), f(loats), s(trings), h(ex), m(ixed), n(ames).
        how: of the numbers in it.
        chunks: in the order that the kind has.
        value: of a constant; of a dictionary whether all values are texts, or how many texts there are; of decimals the digits behind the point; of hex how many digits each has.
    """

    name: str
    kind: str
    how: Ints | None
    chunks: tuple[Chunk, ...]
    value: Value


class Chunks:
    """Collects the bytes of a block."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size_bytes = 0

    def add(self, data: bytes, raw_bytes: int = 0) -> Chunk:
        """Where the data will be."""
        found = Chunk(self.size_bytes, len(data), placement(data), raw_bytes)
        self.parts.append(data)
        self.size_bytes += len(data)
        return found


def encode_numbers(name: str, values: NDArray[np.int64], chunks: Chunks) -> Column:
    """A column of whole numbers, all present."""
    how, data = encode_ints(values)
    return Column(name, "i", how, (chunks.add(data),), None)


def encode_more(rows: Sequence[Mapping[str, Value]], chunks: Chunks) -> Column:
    """What rows have of names that are no columns."""
    flat: list[Value] = []
    for row in rows:
        flat.append(len(row))
        for name, value in row.items():
            flat += name, value
    packed = pack_plain(flat)
    return Column("@more", "n", None, (chunks.add(compress(packed), len(packed)),), None)


def encode_text(name: str, values: Sequence[str], chunks: Chunks) -> Column:
    """A column of texts, all present and mostly different."""
    text, lengths = _joined(values)
    how, data = encode_ints(lengths)
    return Column(name, "s", how, (chunks.add(data), chunks.add(compress(text), len(text))), None)


class Prepared(Protocol):
    """A column of a window, of which blocks take their rows."""

    def encode(self, rows: NDArray[np.int64], chunks: Chunks) -> tuple[Column, NDArray[np.uint64]]:
        """The column of those rows, and what a filter is to know of its texts."""


class _Numbering(dict[Any, int]):
    """Gives a text, or none, that is asked for the first time the next number."""

    n_chars = 0

    def __missing__(self, value: str | None) -> int:
        found = self[value] = len(self)
        if value is not None:
            self.n_chars += len(value)
        return found


class Builder:
    """A column of a window, taken in by parts while they are at hand.

    Args:
        n_rows: how many rows came before and have no value.
    """

    def __init__(self, name: str, n_rows: int = 0) -> None:
        self.name, self.n_rows = name, 0
        self._numbers = _Numbering()
        self._parts: list[Any] = []  # of texts the numbers of theirs, else the values
        self._kinds: set[type] = set()
        self._chars = 0  # of texts in `_parts`
        if n_rows:
            self.skip(n_rows)

    def add(self, values: Sequence[Value]) -> None:
        """The values of the next rows; None for none."""
        import numpy as np

        kinds = set(map(type, values))
        self._kinds |= kinds
        self.n_rows += len(values)
        if not kinds <= _TEXT:
            self._parts.append(values)
            if str in kinds:
                self._chars += sum(len(value) for value in values if type(value) is str)
            return
        self._parts.append(np.fromiter(map(self._numbers.__getitem__, values), np.int64, len(values)))

    @property
    def n_chars(self) -> int:
        """How long its texts are; equal ones count once."""
        return self._chars + self._numbers.n_chars

    def skip(self, count: int) -> None:
        """So many rows have none."""
        self.add([None] * count)

    def codes(self) -> tuple[NDArray[np.int64], list[Value]]:
        """A number for each row, and what it stands for; of a column that has nothing but texts."""
        import numpy as np

        return np.concatenate(self._parts), list(self._numbers)

    def prepared(self) -> Prepared:
        """The column, ready for blocks."""
        name = self.name
        if self._kinds <= _TEXT:
            codes, distinct = self.codes()
            if len(distinct) <= self.n_rows * _MOST_DISTINCT or len(distinct) == 1:
                return _Dictionary(name, codes, distinct)
            return _Texts(name, [distinct[code] for code in codes.tolist()])
        values = self._values()
        kinds = self._kinds - {type(None)}
        if len(kinds) > 1:  # 1, 1.0 and True would be one key
            return _Mixed(name, values)
        if float in kinds:
            return _decimals(name, values) or _Mixed(name, values)
        distinct = list(dict.fromkeys(values))
        if len(distinct) <= _FEW:
            return _Dictionary(name, _numbered(values, distinct), distinct)
        return _ints(name, values)

    def _values(self) -> list[Value]:
        texts = list(self._numbers)
        values: list[Value] = []
        for part in self._parts:
            values += part if isinstance(part, list | tuple) else [texts[code] for code in part.tolist()]
        return values


def _numbered(values: Sequence[Value], distinct: Sequence[Value]) -> NDArray[np.int64]:
    import numpy as np

    numbers = {value: number for number, value in enumerate(distinct)}
    return np.fromiter(map(numbers.__getitem__, values), np.int64, len(values))


class _Dictionary:
    """Few different values, kept once for all blocks."""

    def __init__(self, name: str, codes: NDArray[np.int64], distinct: list[Value]) -> None:
        self._name, self._codes, self._distinct = name, codes, distinct
        self._is_text = type(distinct[0] if distinct[0] is not None else distinct[-1]) is str
        self._chunk: Chunk | None = None
        if self._is_text and None in distinct:
            self._put_none_last()
        self._hashes = _hashes(name, self._distinct)
        texts: list[Any] = [value for value in self._distinct if value is not None]
        is_plain = self._is_text and not any("\0" in text for text in texts)
        self._texts = texts if is_plain else None

    def _put_none_last(self) -> None:
        import numpy as np

        at, distinct = self._distinct.index(None), self._distinct
        self._distinct = [*distinct[:at], *distinct[at + 1 :], None]
        moved = np.arange(len(distinct))
        moved[at], moved[at + 1 :] = len(distinct) - 1, moved[at + 1 :] - 1
        self._codes = moved[self._codes]

    def encode(self, rows: NDArray[np.int64], chunks: Chunks) -> tuple[Column, NDArray[np.uint64]]:
        import numpy as np

        codes = self._codes[rows]
        used = np.flatnonzero(np.bincount(codes))
        hashes = self._hashes[used]
        if len(used) == 1:
            return Column(self._name, "c", None, (), self._distinct[used[0]]), hashes
        if self._chunk is None:
            self._chunk = self._values(chunks)
        how, data = encode_ints(codes)
        found = self._chunk, chunks.add(data)
        if self._texts is not None:
            return Column(self._name, "t", how, found, len(self._texts)), hashes
        return Column(self._name, "d", how, found, self._is_text), hashes

    def _values(self, chunks: Chunks) -> Chunk:
        if self._texts is None:
            packed = pack_plain(self._distinct)
        else:
            packed = "\0".join((*self._texts, "")).encode("utf-8", "surrogatepass")
        return chunks.add(compress(packed), len(packed))


class _Numbers:
    """Numbers, or none where `present` is false."""

    def __init__(
        self,
        name: str,
        kind: str,
        values: NDArray[np.int64],
        present: NDArray[np.bool_] | None,
        digits: Value,
    ) -> None:
        self._name, self._kind, self._values = name, kind, values
        self._present, self._digits = present, digits

    def encode(self, rows: NDArray[np.int64], chunks: Chunks) -> tuple[Column, NDArray[np.uint64]]:
        values, present = self._values[rows], None
        if self._present is not None:
            own = self._present[rows]
            if not own.any():
                return Column(self._name, "c", None, (), None), _none()
            if not own.all():
                values, present = values[own], own
        how, data = encode_ints(values)
        found = (chunks.add(data), *_presence(present, chunks))
        return Column(self._name, self._kind, how, found, self._digits), _none()


class _Texts:
    """Texts that are mostly different."""

    def __init__(self, name: str, values: Sequence[Value]) -> None:
        self._name, self._values = name, values

    def encode(self, rows: NDArray[np.int64], chunks: Chunks) -> tuple[Column, NDArray[np.uint64]]:
        import numpy as np

        all_values = self._values
        values = [all_values[row] for row in rows.tolist()]
        there: list[Any] = [value for value in values if value is not None]
        if not there:
            return Column(self._name, "c", None, (), None), _none()
        present = None
        if len(there) < len(values):
            present = np.fromiter((value is not None for value in values), np.bool_, len(values))
        name = self._name
        column = _hex(name, there, chunks) or encode_text(name, there, chunks)
        hashes = _hashes(name, there)
        return column._replace(chunks=(*column.chunks, *_presence(present, chunks))), hashes


class _Mixed:
    """Values of several kinds, or numbers that cannot be made whole."""

    def __init__(self, name: str, values: Sequence[Value]) -> None:
        self._name, self._values = name, values

    def encode(self, rows: NDArray[np.int64], chunks: Chunks) -> tuple[Column, NDArray[np.uint64]]:
        all_values, name = self._values, self._name
        values = [all_values[row] for row in rows.tolist()]
        packed = pack_plain(values)
        found = chunks.add(compress(packed), len(packed))
        return Column(name, "m", None, (found,), None), _hashes(name, values)


def _hashes(name: str, values: Sequence[Value]) -> NDArray[np.uint64]:
    """What a filter is to know of values: one for each; of what is no text, or a long one, no matter what."""
    import numpy as np

    found = (
        pair_hash(name, value) if type(value) is str and len(value) <= FILTERED_CHARS else 0
        for value in values
    )
    return np.fromiter(found, np.uint64, len(values))


def _none() -> NDArray[np.uint64]:
    import numpy as np

    return np.zeros(0, np.uint64)


def _ints(name: str, values: Sequence[Any]) -> _Numbers:
    import numpy as np

    present = _present(values)
    numbers = values if present is None else [value or 0 for value in values]
    return _Numbers(name, "i", np.array(numbers, np.int64), present, None)


def _decimals(name: str, values: Sequence[Any]) -> _Numbers | None:
    """Numbers with few digits behind the point, as whole ones: what most measured values are."""
    import numpy as np

    present = _present(values)
    floats = np.array(
        values if present is None else [0.0 if value is None else value for value in values], np.float64
    )
    if not np.isfinite(floats).all() or np.abs(floats).max() > _MOST_SCALED:
        return None
    if (np.signbit(floats) & (floats == 0)).any():  # a whole number has no -0.0
        return None
    for digits in _DECIMALS:
        scaled = np.rint(floats * 10.0**digits)
        if np.array_equal(scaled / 10.0**digits, floats):
            return _Numbers(name, "f", scaled.astype(np.int64), present, digits)
    return None


def _present(values: Sequence[Value]) -> NDArray[np.bool_] | None:
    import numpy as np

    if None not in values:
        return None
    return np.fromiter((value is not None for value in values), np.bool_, len(values))


def _hex(name: str, values: list[str], chunks: Chunks) -> Column | None:
    digits = len(values[0])
    if digits not in _HEX_DIGITS or set(map(len, values)) != {digits}:
        return None
    text = "".join(values)
    return (
        Column(name, "h", None, (chunks.add(bytes.fromhex(text)),), digits) if _HEX.issuperset(text) else None
    )


def _presence(present: NDArray[np.bool_] | None, chunks: Chunks) -> tuple[Chunk, ...]:
    import numpy as np

    if present is None:
        return ()
    return (chunks.add(np.packbits(present, bitorder="little").tobytes()),)


def _joined(values: Sequence[str]) -> tuple[bytes, NDArray[np.int64]]:
    import numpy as np

    text = "".join(values)
    if text.isascii():
        return text.encode(), np.fromiter(map(len, values), np.int64, len(values))
    parts = [value.encode("utf-8", "surrogatepass") for value in values]
    return b"".join(parts), np.fromiter(map(len, parts), np.int64, len(parts))
