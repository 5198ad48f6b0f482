"""Canonical bytes of arrays and tables: NumPy, Arrow, and whatever speaks their protocols.

Imports those libraries inside functions only: it is reached when a value of theirs is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vcache.fingerprint.terms import Encoding, Unfit, frame, join
from vcache.hash import digest

if TYPE_CHECKING:
    import numpy as np

__all__ = ["array_bytes", "arrow_bytes"]


def array_bytes(value: object, walk: Encoding) -> bytes:
    """Type, shape and content of an array, a NumPy scalar, a dtype, or an array-like object.

    Raises:
        Unfit: it does not turn into an array, or holds objects that have no fingerprint.
    """
    import numpy as np

    if isinstance(value, np.dtype):
        return frame(b"s", repr(value.descr if value.fields else value.str).encode())
    if isinstance(value, type(np.add)):
        return frame(b"s", value.__name__.encode())
    if not isinstance(value, np.ndarray | np.generic) and not hasattr(value, "__array__"):
        return walk.unknown(value)
    if isinstance(value, np.ma.MaskedArray):
        return _dense(np.asarray(value.filled()), walk) + _dense(np.ma.getmaskarray(value), walk)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unfit(value, f"does not turn into an array ({error})") from None
    return _dense(array, walk)


def _dense(array: np.ndarray[Any, Any], walk: Encoding) -> bytes:
    import numpy as np

    dtype = array.dtype
    head = [frame(b"s", dtype.str.encode()), frame(b"s", repr(array.shape).encode())]
    if dtype.fields:  # field by field: the padding between fields is whatever was in memory
        names = dtype.names or ()
        return join(b"A", head + [frame(b"s", name.encode()) + _dense(array[name], walk) for name in names])
    if dtype.hasobject or dtype.kind == "T":  # pointers: what they point at counts
        return join(b"A", [*head, walk.encode(array.tolist())])
    content = np.ascontiguousarray(array)
    return join(b"A", [*head, digest(content.reshape(-1).view(np.uint8).data) if content.size else b""])


def arrow_bytes(value: object, walk: Encoding) -> bytes:
    """Schema and content of a table, batch or array, however it is chunked or sliced.

    Raises:
        Unfit: pyarrow is missing, or cannot read the value.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise Unfit(value, 'needs pyarrow to be fingerprinted: pip install "vcache[arrow]"') from None

    if isinstance(value, pa.Schema):
        return frame(b"b", value.serialize().to_pybytes())
    if isinstance(value, pa.DataType | pa.Field):
        return frame(b"s", str(value).encode())
    if isinstance(value, pa.Buffer):
        return frame(b"b", value.to_pybytes())
    if isinstance(value, pa.Scalar):
        value = pa.array([value.as_py()], type=value.type)
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = pa.table({"": value})
    try:
        table = value if isinstance(value, pa.Table) else pa.table(value)
    except (TypeError, ValueError, pa.ArrowException):
        return walk.unknown(value)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return frame(b"b", digest(sink.getvalue()))
