"""Whole numbers as few bytes: minimum and common step taken out, differences where they are smaller, planes of bytes.

Sole knowledge: arrays of int64. What they mean is the columns' affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.serialize.plain import compress, decompress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["Ints", "decode_ints", "encode_ints"]

_WIDTHS: Final = ((1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF))
_SAMPLE: Final = 4_096


class Ints(NamedTuple):
    """How an array was encoded: all that decoding needs but the bytes.

    Attributes:
        count: how many numbers.
        width: bytes of each of what is stored: 0 (all are equal), 1, 2, 4 or 8.
        base: what is added to each.
        step: by which each is multiplied before.
        first: of differences: what they are added to; None where the numbers themselves are stored.
    """

    count: int  # type: ignore[assignment]  # instead of the method of a tuple
    width: int
    base: int
    step: int
    first: int | None


def encode_ints(values: NDArray[np.int64]) -> tuple[Ints, bytes]:
    """Numbers, one or more, as a description and a zstd frame (b"" where all are equal)."""
    import numpy as np

    count = len(values)
    low, high = int(values.min()), int(values.max())
    if low == high:
        return Ints(count, 0, low, 1, None), b""
    first, work = None, values
    if high - low > 0xFF and count > 2:
        # Differences of numbers beyond ± 2⁶² wrap around, and back when they are summed up.
        steps = np.diff(values)
        if int(steps.max()) - int(steps.min()) < min(high - low, 1 << 62):
            first, work = int(values[0]), steps
            low, high = int(steps.min()), int(steps.max())
            if low == high:
                return Ints(count, 0, low, 1, first), b""
    offsets = work.astype(np.uint64) - np.uint64(low & 0xFFFFFFFFFFFFFFFF)
    step = _step_of(offsets, high - low)
    if step > 1:
        offsets //= np.uint64(step)
    width = next((width for width, bound in _WIDTHS if (high - low) // step <= bound), 8)
    small = offsets.astype(f"<u{width}")
    if width > 1:
        # The high bytes of all, then the next: the first are nearly always the same.
        small = np.ascontiguousarray(small.view(np.uint8).reshape(-1, width).T)
    return Ints(count, width, low, step, first), compress(small.data)


def decode_ints(how: Ints, data: Buffer) -> NDArray[np.int64]:
    """The numbers again.

    Raises:
        DecodeError: the bytes are not what the description says.
    """
    import numpy as np

    stored = how.count - (how.first is not None)
    if how.width == 0:
        values = np.full(stored, how.base, np.int64)
    else:
        if how.width not in (1, 2, 4, 8):
            raise DecodeError(f"numbers of {how.width} bytes")
        raw = np.frombuffer(decompress(data, size_bytes=stored * how.width), np.uint8)
        if how.width > 1:
            raw = np.ascontiguousarray(raw.reshape(how.width, stored).T)
        values = raw.view(f"<u{how.width}").reshape(stored).astype(np.int64)
        if how.step != 1:
            # Modulo 2⁶⁴, as everything here: half of the steps are negative numbers of 64 bits.
            values *= how.step - (how.step >> 63 << 64)
        if how.base:
            values += how.base
    if how.first is None:
        return values
    whole = np.empty(how.count, np.int64)
    whole[0] = how.first
    np.cumsum(values, out=whole[1:])
    whole[1:] += how.first
    return whole


def _step_of(offsets: NDArray[np.uint64], span: int) -> int:
    """What divides all: times come in whole milliseconds or microseconds."""
    import numpy as np

    if span <= 0xFF:
        return 1
    step = int(np.gcd.reduce(offsets[:_SAMPLE]))
    if step > 1 and len(offsets) > _SAMPLE:
        step = int(np.gcd(np.gcd.reduce(offsets[_SAMPLE:]), np.uint64(step)))
    return max(1, step)
