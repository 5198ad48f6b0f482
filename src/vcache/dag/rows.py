"""Records of varying length under numbers, and how a `Made` becomes one. Pure.

A file of ten thousand records is read by slicing: no record becomes an object before it is asked
for, and a few new ones are spliced in where the old ones stood.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, pairwise
from struct import Struct
from typing import TYPE_CHECKING, Final

from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "LOOK",
    "OUTDATED",
    "Row",
    "Rows",
    "find_number",
    "has_all_outs",
    "numbers_of",
    "pack_row",
    "record_of",
    "unpack_row",
]

OUTDATED: Final = 1 << 31
"""Set in a reference to something that has changed since the run that saw it."""
LOOK: Final = 1 << 30
"""Set in a reference to a look: all that is not a file's content."""

# took; lengths of base, log and result; how many of its references were found; how many outs
_HEAD: Final = Struct("<qIIIII")
_OUTS_AT: Final = _HEAD.size - 4
_SIZE: Final = Struct("<I")


class Rows:
    """Bytes by number: a blob with offsets, and what was put in since.

    Args:
        offsets: where each record begins, and where the last one ends; 32-bit.
        blob: all records, one behind the other.
    """

    __slots__ = ("_blob", "_count", "_new", "_offsets", "_whole")

    def __init__(self, offsets: Buffer = bytes(4), blob: Buffer = b"") -> None:
        self._offsets = memoryview(offsets).cast("B").cast("I")
        self._blob = memoryview(blob)
        self._new: dict[int, bytes] = {}
        self._whole: bytes | None = None
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

    def holding(self, part: bytes) -> list[int]:
        """The numbers of the records that hold some bytes, at a multiple of their length."""
        found = {number for number, record in self._new.items() if _is_at_multiple(record, part)}
        whole = self._whole
        if whole is None:
            whole = self._whole = bytes(self._blob)
        at = whole.find(part)
        while at >= 0:
            number = bisect_right(self._offsets, at) - 1
            if (at - self._offsets[number]) % len(part) == 0 and number not in self._new:
                found.add(number)
                at = self._offsets[number + 1] - 1
            at = whole.find(part, at + 1)
        return sorted(found)

    def pieces(self) -> tuple[bytes, bytes]:
        """Offsets and blob as they are to be stored."""
        offsets, old = self._offsets, len(self._offsets) - 1
        parts: list[Buffer] = []
        at = 0
        for number in sorted(self._new):
            parts += self._blob[at : offsets[min(number, old)]], self._new[number]
            at = offsets[min(number + 1, old)]
        parts.append(self._blob[at:])
        return self._new_offsets(), b"".join(parts)

    def _new_offsets(self) -> bytes:
        offsets, old, new = self._offsets, len(self._offsets) - 1, self._new
        if self._count == old and all(
            len(record) == offsets[at + 1] - offsets[at] for at, record in new.items()
        ):
            return offsets.tobytes()
        sizes = [end - begin for begin, end in pairwise(offsets)] + [0] * (self._count - old)
        for number, record in new.items():
            sizes[number] = len(record)
        return array("I", accumulate(sizes, initial=0)).tobytes()


def _is_at_multiple(record: bytes, part: bytes) -> bool:
    return any(record.startswith(part, at) for at in range(0, len(record), len(part)))


def find_number(rows: Rows, number: int) -> list[int]:
    """The records, each of 32-bit numbers, that hold a number."""
    return rows.holding(_SIZE.pack(number))


@dataclass(frozen=True, slots=True)
class Row:
    """A `Made` without what it refers to.

    Attributes:
        n_found: how many of its references it found; the others are heeded: its base fingerprint
            holds them.
    """

    base: bytes
    n_found: int = 0
    outs: tuple[bytes, ...] = ()
    took_ns: int = 0
    result: str = ""
    log: bytes = b""


def pack_row(row: Row) -> bytes:
    """The record of a row."""
    result = row.result.encode("utf-8", "surrogateescape")
    head = _HEAD.pack(row.took_ns, len(row.base), len(row.log), len(result), row.n_found, len(row.outs))
    sizes = array("I", map(len, row.outs)).tobytes()
    return b"".join((head, sizes, row.base, row.log, result, *row.outs))


def unpack_row(record: Buffer) -> Row:
    """The row of a record."""
    view = memoryview(record)
    took, base, log, result, n_found, n_outs = _HEAD.unpack_from(view)
    end = _HEAD.size + 4 * n_outs
    sizes = view[_HEAD.size : end].cast("B").cast("I").tolist()
    ends = list(accumulate((base, log, result, *sizes), initial=end))
    parts = [bytes(view[begin:stop]) for begin, stop in pairwise(ends)]
    return Row(
        base=parts[0],
        n_found=n_found,
        outs=tuple(parts[3:]),
        took_ns=took,
        result=parts[2].decode("utf-8", "surrogateescape"),
        log=parts[1],
    )


def has_all_outs(record: Buffer) -> bool:
    """Whether everything that the node promised was made."""
    (n_outs,) = _SIZE.unpack_from(record, _OUTS_AT)
    sizes = memoryview(record)[_HEAD.size : _HEAD.size + 4 * n_outs]
    return 0 not in sizes.cast("B").cast("I").tolist()


def numbers_of(record: Buffer) -> list[int]:
    """The 32-bit numbers of a record."""
    return memoryview(record).cast("B").cast("I").tolist()


def record_of(numbers: Iterable[int]) -> bytes:
    """The record of 32-bit numbers."""
    return array("I", numbers).tobytes()
