"""The bytes of a tail file: header, frames, and how frames are found again behind damage. Pure.

The format is specified in docs/design/logs.md, "Tail files".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, cast

from vcache.errors import DecodeError, EncodeError
from vcache.hash import placement
from vcache.kit.data import NamedTuple
from vcache.logs.ids import ids_from
from vcache.logs.record import FUTURE_NS, LONG_BYTES, Record, marked
from vcache.serialize.plain import pack_plain, unpack_plain

__all__ = [
    "FRAME_BYTES", "HEADER_BYTES", "MARK", "PAYLOAD_BYTES", "Damage", "Frame", "Packed", "file_header", "frame",
    "frames", "is_file_header", "pack", "unpack",
]  # fmt: skip

MARK: Final = b"\xf1\x0a\xc4\x7e"
"""No UTF-8, so that no text within a payload looks like the beginning of a frame."""
HEADER_BYTES: Final = 32
FRAME_BYTES: Final = 40
PAYLOAD_BYTES: Final = 4 << 20
"""An append that packs to more is several frames."""
_MAGIC: Final = b"vcacheT1"
_HEAD: Final = struct.Struct("<4sIIIqQ")
_SUM: Final = struct.Struct("<Q")
_IS_PART: Final = 1 << 31
_LONGEST: Final = 1 << 30


class Packed(NamedTuple):
    """Records as the payload of a frame, and how many."""

    payload: bytes
    records: int


class Frame(NamedTuple):
    """A frame whose header is sound.

    Attributes:
        at, end: where it begins and where the next one does.
        first_seq, records: which sequences it holds.
        is_part: more of the same append follows.
        payload: None when it is damaged; empty where it goes on behind the end of the data.
        is_torn: the data ends within it.
    """

    at: int
    end: int
    first_seq: int
    records: int
    is_part: bool
    seen_ns: int
    payload: bytes | None
    is_torn: bool = False


class Damage(NamedTuple):
    """Bytes that are no frame, up to one that is or to the end of the data.

    Attributes:
        is_at_end: no sound frame follows.
    """

    at: int
    end: int
    is_at_end: bool


def file_header(stream: int) -> bytes:
    """The first bytes of a tail file."""
    head = _MAGIC + stream.to_bytes(16, "big")
    return head + _SUM.pack(placement(head))


def is_file_header(data: bytes, stream: int) -> bool:
    """Whether a tail file of that stream begins so."""
    return data[:HEADER_BYTES] == file_header(stream)


def pack(records: Sequence[Record], *, now_ns: int) -> list[Packed]:
    """Records as payloads, with the marks that they earn at that time.

    Raises:
        EncodeError: a record holds what none can, or is longer than 1 GiB.
    """
    rows = [_row(record, now_ns) for record in records]
    return list(_packed(rows))


def _row(record: Record, now_ns: int) -> tuple[object, ...]:
    message = record[3]
    if len(message) > LONG_BYTES // 4 or record[0] > now_ns + FUTURE_NS or not message.isascii():
        record = marked(record, now_ns=now_ns)
    fields = record[4]
    if type(fields) is dict:
        return record[:7]
    return (*record[:4], dict(fields), *record[5:7])


def _packed(rows: list[tuple[object, ...]]) -> Iterator[Packed]:
    payload = pack_plain(rows)
    if len(payload) <= PAYLOAD_BYTES:
        yield Packed(payload, len(rows))
    elif len(rows) > 1:
        pieces = -(-len(payload) // PAYLOAD_BYTES)
        step = max(1, len(rows) // (pieces + 1))
        for at in range(0, len(rows), step):
            yield from _packed(rows[at : at + step])
    elif len(payload) > _LONGEST:
        raise EncodeError(f"a record of {len(payload)} bytes: 1 GiB is the most that one can have")
    else:
        yield Packed(payload, 1)


def frame(stream: int, first_seq: int, packed: Packed, *, seen_ns: int, is_part: bool) -> bytes:
    """A payload as the file has it, with header and padding."""
    name = stream.to_bytes(16, "big")
    payload = packed.payload
    count = packed.records | (_IS_PART if is_part else 0)
    head = _HEAD.pack(MARK, len(payload), count, first_seq, seen_ns, placement(name + payload))
    return b"".join((head, _SUM.pack(placement(head + name)), payload, bytes(-len(payload) % 8)))


def frames(data: bytes, start: int, stream: int) -> Iterator[Frame | Damage]:
    """What is in a piece of a tail file, in order; ends with a torn frame or damage where there is one.

    Args:
        data: from a multiple of 8 in the file on, to its end.
        start: where in the file that is; places in the answer are of the file.
    """
    name = stream.to_bytes(16, "big")
    at = 0
    while at < len(data):
        found = _frame_at(data, at, start, name) or _damage(data, at, start, name)
        if found is None:
            return
        yield found
        at = found.end - start


def _frame_at(data: bytes, at: int, start: int, name: bytes) -> Frame | None:
    """The frame there; None where no sound header is."""
    begins = at + FRAME_BYTES
    if begins > len(data) or data[at : at + 4] != MARK:
        return None
    head = data[at : at + _HEAD.size]
    if _SUM.unpack_from(data, at + _HEAD.size)[0] != placement(head + name):
        return None
    _, length, count, first_seq, seen_ns, expected = _HEAD.unpack(head)
    ends = begins + length
    end = start + ends + -length % 8
    is_part, records = bool(count & _IS_PART), count & ~_IS_PART
    if ends > len(data):
        return Frame(start + at, end, first_seq, records, is_part, seen_ns, b"", True)
    payload = data[begins:ends]
    is_sound = placement(name + payload) == expected
    return Frame(start + at, end, first_seq, records, is_part, seen_ns, payload if is_sound else None)


def _damage(data: bytes, at: int, start: int, name: bytes) -> Damage | None:
    """What is not sound there; None where it is the beginning of a header: what a killed writer leaves."""
    follows = at
    while (follows := data.find(MARK, follows + 1)) >= 0:
        if follows % 8 == 0 and _frame_at(data, follows, start, name) is not None:
            return Damage(start + at, start + follows, False)
    rest = data[at:]
    if len(rest) < FRAME_BYTES and rest[:4] == MARK[: len(rest)]:
        return None
    return Damage(start + at, start + len(data), True)


def unpack(found: Frame, stream: int) -> list[Record]:
    """The records of a frame that is sound.

    Raises:
        DecodeError: they are not what the header says, or none.
    """
    assert found.payload is not None
    rows = unpack_plain(found.payload)
    if type(rows) is not list or len(rows) != found.records:
        raise DecodeError(f"a frame of {found.records} records that does not hold them")
    seen_ns = found.seen_ns
    named = zip(
        cast("list[list[object]]", rows), ids_from(stream, found.first_seq, found.records), strict=True
    )
    try:
        # `_make` passes the compiled constructor by, which takes as long as decoding.
        return [Record._make((*row, seen_ns, id_)) for row, id_ in named]
    except TypeError as error:
        raise DecodeError(f"a frame that holds no records: {error}") from None
