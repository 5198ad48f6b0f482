"""Records of varying length under numbers, and how a `Made` becomes one. Pure.

A file of ten thousand records is read by slicing: no record becomes an object before it is asked
for, and a few new ones are spliced in where the old ones stood.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "LOOK",
    "OUTDATED",
    "Row",
    "Rows",
    "found_of",
    "has_all_outs",
    "pack_row",
    "unpack_row",
    "with_references",
]

OUTDATED: Final = 1 << 31
"""Set in a reference to something that has changed since the run that saw it."""
LOOK: Final = 1 << 30
"""Set in a reference to a look: all that is not a file's content."""

# took, then lengths: base, log, result, and counts: found, heeded, outs
_HEAD: Final = Struct("<qIIIIII")
_COUNTS: Final = Struct("<II")
_COUNTS_OUTS: Final = Struct("<III")
_COUNTS_AT: Final = 8 + 3 * 4


class Rows:
    """Bytes by number: a blob with offsets, and what was put in since.

    Args:
        offsets: where each record begins, and where the last one ends; 32-bit.
        blob: all records, one behind the other.
    """

    __slots__ = ("_blob", "_count", "_new", "_offsets")

    def __init__(self, offsets: Buffer = bytes(4), blob: Buffer = b"") -> None:
        self._offsets: Sequence[int] = memoryview(offsets).cast("B").cast("I")
        self._blob = memoryview(blob)
        self._new: dict[int, bytes] = {}
        self._count = len(self._offsets) - 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> bytes | memoryview:
        new = self._new.get(number)
        if new is not None:
            return new
        return self._blob[self._offsets[number] : self._offsets[number + 1]]

    def __setitem__(self, number: int, record: bytes) -> None:
        self._new[number] = record

    def append(self, record: bytes) -> int:
        """The number of a new record."""
        self._new[self._count] = record
        self._count += 1
        return self._count - 1

    def pieces(self) -> tuple[bytes, bytes]:
        """Offsets and blob as they are to be stored."""
        if not self._new:
            return bytes(self._offsets), bytes(self._blob)
        offsets, old = self._offsets, len(self._offsets) - 1
        sizes = [end - begin for begin, end in pairwise(offsets)]
        sizes += [0] * (self._count - old)
        parts: list[Buffer] = []
        at = 0
        for number in sorted(self._new):
            record = self._new[number]
            sizes[number] = len(record)
            parts += self._blob[at : offsets[min(number, old)]], record
            at = offsets[min(number + 1, old)]
        parts.append(self._blob[at:])
        return array("I", accumulate(sizes, initial=0)).tobytes(), b"".join(parts)


@dataclass(frozen=True, slots=True)
class Row:
    """A `Made` with numbers in place of names.

    Attributes:
        found: what it found, as numbers of things or, with `LOOK`, of looks.
        heeds: looks that its base fingerprint holds: variables and tools.
    """

    base: bytes
    found: tuple[int, ...] = ()
    heeds: tuple[int, ...] = ()
    outs: tuple[bytes, ...] = ()
    took_ns: int = 0
    result: str = ""
    log: bytes = b""


def pack_row(row: Row) -> bytes:
    """The record of a row."""
    result = row.result.encode("utf-8", "surrogateescape")
    head = _HEAD.pack(
        row.took_ns, len(row.base), len(row.log), len(result), len(row.found), len(row.heeds), len(row.outs)
    )
    numbers = array("I", (*row.found, *row.heeds, *map(len, row.outs)))
    return b"".join((head, numbers.tobytes(), row.base, row.log, result, *row.outs))


def unpack_row(record: Buffer) -> Row:
    """The row of a record."""
    view = memoryview(record)
    took, base, log, result, n_found, n_heeds, n_outs = _HEAD.unpack_from(view)
    at = _HEAD.size
    end = at + 4 * (n_found + n_heeds + n_outs)
    numbers = view[at:end].cast("B").cast("I").tolist()
    sizes = (base, log, result, *numbers[n_found + n_heeds :])
    ends = list(accumulate(sizes, initial=end))
    parts = [bytes(view[begin:stop]) for begin, stop in pairwise(ends)]
    return Row(
        base=parts[0],
        found=tuple(numbers[:n_found]),
        heeds=tuple(numbers[n_found : n_found + n_heeds]),
        outs=tuple(parts[3:]),
        took_ns=took,
        result=parts[2].decode("utf-8", "surrogateescape"),
        log=parts[1],
    )


def found_of(record: Buffer) -> list[int]:
    """The references of a record, found ones and heeded ones, without unpacking the rest."""
    n_found, n_heeds = _COUNTS.unpack_from(record, _COUNTS_AT)
    end = _HEAD.size + 4 * (n_found + n_heeds)
    return memoryview(record)[_HEAD.size : end].cast("B").cast("I").tolist()


def with_references(record: Buffer, change: Callable[[int], int]) -> bytes:
    """The record with each reference put through a function."""
    n_found, n_heeds = _COUNTS.unpack_from(record, _COUNTS_AT)
    end = _HEAD.size + 4 * (n_found + n_heeds)
    numbers = array("I", map(change, found_of(record)))
    view = memoryview(record)
    return b"".join((view[: _HEAD.size], numbers.tobytes(), view[end:]))


def has_all_outs(record: Buffer) -> bool:
    """Whether everything that the node promised was made."""
    n_found, n_heeds, n_outs = _COUNTS_OUTS.unpack_from(record, _COUNTS_AT)
    begin = _HEAD.size + 4 * (n_found + n_heeds)
    return 0 not in memoryview(record)[begin : begin + 4 * n_outs].cast("B").cast("I").tolist()
