"""NumPy arrays and scalars: the array's memory goes out and comes back without a copy.

NumPy is imported by whoever has a value of it, or content that holds one; never before. Object
arrays are refused, on the way in and on the way out: their bytes are addresses or a pickle.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np
from msgpack import ExtType
from numpy.lib.format import descr_to_dtype, dtype_to_descr

from vcache.errors import DecodeError, EncodeError
from vcache.serialize.wire import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vcache.serialize.wire import Sink, Source

__all__ = ["build_array", "build_scalar", "rule_for"]

_ARRAY: Final = ExtType(Code.NDARRAY, b"")
_SCALAR: Final = ExtType(Code.NUMPY_SCALAR, b"")


def rule_for(cls: type) -> Callable[..., object] | None:
    """How values of a NumPy class are written, or None for one that has no rule."""
    if cls is np.ndarray:
        return _put_array
    return _put_scalar if issubclass(cls, np.generic) else None


def _put_array(array: NDArray[np.generic], sink: Sink) -> list[object]:
    description = _describe(array.dtype)
    order = "C"
    if not array.flags.c_contiguous:
        order = "F" if array.flags.f_contiguous else "C"
        array = array.T if order == "F" else np.ascontiguousarray(array)
    shape = array.shape[::-1] if order == "F" else array.shape
    # As bytes: a memoryview knows neither dates nor records.
    memory = array.reshape(-1).view(np.uint8).data if array.nbytes else b""
    return [_ARRAY, description, order, sink.add_buffer([memory]), *shape]


def _put_scalar(value: np.generic, _: Sink) -> list[object]:
    return [_SCALAR, _describe(value.dtype), value.tobytes()]


def _describe(dtype: np.dtype[np.generic]) -> object:
    """What rebuilds a dtype.

    Raises:
        EncodeError: its items are Python objects, have no size, or are of a foreign kind.
    """
    if dtype.hasobject:
        raise EncodeError(
            f"an array of dtype {dtype} cannot be stored: its items are Python objects; "
            'give it a plain dtype, use a list, or codec="pickle"'
        )
    if dtype.itemsize == 0:
        raise EncodeError(f"an array of dtype {dtype} cannot be stored: its items have no size")
    # Not plain str(): it says "object" for dtypes of other packages, which then differ.
    description: object = (
        dtype.str if dtype.names is None and dtype.subdtype is None else dtype_to_descr(dtype)
    )
    try:
        same = _described(description) == dtype
    except (TypeError, ValueError):
        same = False
    if not same:
        raise EncodeError(f"an array of dtype {dtype} cannot be stored: NumPy's format has no name for it")
    return description


def _described(description: object) -> np.dtype[np.generic]:
    return descr_to_dtype(description)  # type: ignore[arg-type]  # text too, whatever its stub says


def _dtype(description: object) -> np.dtype[np.generic]:
    dtype = _described(description)
    if dtype.hasobject or dtype.itemsize == 0:
        raise DecodeError(f"dtype {dtype} may not be stored")
    return dtype


def build_array(items: list[object], source: Source) -> NDArray[np.generic]:
    """A read-only array that views its buffer."""
    description, order, number, *shape = items
    dtype = _dtype(description)
    lengths = tuple(length for length in shape if type(length) is int and length >= 0)
    if order not in ("C", "F") or len(lengths) != len(shape):
        raise DecodeError(f"no array has the shape {shape!r:.200} and the order {order!r:.20}")
    memory = source.buffer(number)
    if memory.nbytes != prod(lengths) * dtype.itemsize:
        raise DecodeError(f"{memory.nbytes} bytes for an array of shape {lengths} and dtype {dtype}")
    if not memory.nbytes:
        array = np.empty(lengths, dtype, order="F" if order == "F" else "C")
        array.flags.writeable = False
        return array
    return np.frombuffer(memory, dtype).reshape(lengths, order="F" if order == "F" else "C")


def build_scalar(items: list[object], _: Source) -> object:
    """A NumPy scalar."""
    description, data = items
    dtype = _dtype(description)
    if not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise DecodeError(f"no scalar of dtype {dtype}")
    return np.frombuffer(data, dtype)[0]
