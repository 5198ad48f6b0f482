"""The frames of a ring, as bytes: docs/design/logs-rings.md is normative. No I/O.

It must not know files, threads and stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vcache.errors import DecodeError
from vcache.hash import frame_checksum
from vcache.logs.record import MOST_FIELDS, NAME_CHARS, Mark, Record, flat
from vcache.serialize.plain import pack_exactly, pack_plain, unpack_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Buffer

    from vcache.query.syntax import Value

__all__ = [
    "FRAME_BYTES", "HEADS", "MARK", "decode", "encode", "frame", "head_of", "opening", "run_at", "salvage",
]  # fmt: skip

MARK: Final = b"\xf1\x0a\xc4\x52"
FRAME_BYTES: Final = 16
"""Of a frame that are not payload: mark, length, checksum."""
_LENGTH_END: Final = 8
_pack: Final = pack_exactly()
_INT_BOUND: Final = 1 << 63
_FLAT: Final = frozenset((str, float, bool, int))
_TEXT: Final = frozenset((str,))


def head_of(size_bytes: int) -> bytes:
    """The first 8 bytes of a frame whose payload has so many."""
    return MARK + size_bytes.to_bytes(4, "little")


HEADS: Final = tuple(map(head_of, range(2048)))
"""Those of usual lengths: a look-up costs a tenth."""


def opening(level: int, source: str, fields: Mapping[str, Value]) -> bytes:
    """What the payloads of one logger at one level begin with."""
    return b"\x93" + pack_plain([level, source, dict(fields)])


def encode(record: Record) -> bytes:
    """A record as payload."""
    said = [record.at_ns, record.message, dict(record.fields), record.marks, record.repeats]
    whole = [[record.level, record.source, {}], None, said]
    try:
        return _pack(whole)
    except (TypeError, ValueError, OverflowError):  # text that is no UTF-8, a mark that is an enum's
        return pack_plain(whole)


def frame(payload: bytes, at: int) -> bytes:
    """A payload as it stands at a position."""
    return head_of(len(payload)) + frame_checksum(payload, at) + payload


def decode(payload: Buffer) -> Record:
    """The record that a payload says.

    Raises:
        DecodeError: it says none.
    """
    said: Any = unpack_plain(payload)
    try:
        (level, source, bound), around, (at_ns, message, own, *more) = said
        fields = {**bound, **(around or {}), **own}
        marks, repeats = more or (0, 1)
        if not (isinstance(at_ns, int) and isinstance(level, int) and isinstance(source, str)):
            raise TypeError("a record's time, level or source")
    except (TypeError, ValueError) as error:
        raise DecodeError(f"no record of a ring: {error}") from None
    known, is_cut = (fields, False) if _is_flat(fields) else flat(fields)
    text = message if isinstance(message, str) else str(message)
    return Record(at_ns, level, source, text, known, marks | Mark.CUT if is_cut else marks, repeats)


def _is_flat(fields: dict[object, object]) -> bool:
    """Whether fields are as a record has them: most are, and to make them so takes twice as long."""
    values = fields.values()
    if len(fields) > MOST_FIELDS or not _FLAT.issuperset(map(type, values)):
        return False
    for value in values:
        if value.__class__ is int and not -_INT_BOUND <= value < _INT_BOUND:
            return False
    return _TEXT.issuperset(map(type, fields)) and max(map(len, fields), default=0) <= NAME_CHARS  # type: ignore[arg-type]


def run_at(ring: memoryview, at: int, end: int) -> Iterator[bytes]:
    """The payloads of the frames that stand one behind the other between two positions, up to one that is not whole.

    Args:
        ring: a power of two bytes. Positions count on; a place in it is the position modulo its length.
    """
    data, place = _read(ring, at & len(ring) - 1, end - at), 0
    while data[place : place + 4] == MARK:
        stop = place + FRAME_BYTES + int.from_bytes(data[place + 4 : place + _LENGTH_END], "little")
        payload = data[place + FRAME_BYTES : stop]
        whole = frame_checksum(payload, at + place) == data[place + _LENGTH_END : place + FRAME_BYTES]
        if not whole or not payload or stop > len(data):
            return
        yield payload
        place = stop


def salvage(ring: memoryview, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The payloads that stand between two positions, with theirs, past whatever cannot be read."""
    size = len(ring)
    data = _read(ring, start & size - 1, end - start)
    place = data.find(MARK)
    while place >= 0:
        length = int.from_bytes(data[place + 4 : place + _LENGTH_END], "little")
        stop = place + FRAME_BYTES + length
        payload = data[place + FRAME_BYTES : stop]
        is_whole = (
            0 < length == len(payload)
            and frame_checksum(payload, start + place) == data[place + _LENGTH_END : place + FRAME_BYTES]
        )
        if is_whole:
            yield start + place, payload
        place = data.find(MARK, stop if is_whole else place + 1)


def _read(ring: memoryview, place: int, count: int) -> bytes:
    stop = place + count
    if stop <= len(ring):
        return bytes(ring[place:stop])
    return b"".join((ring[place:], ring[: stop - len(ring)]))
