"""Arrow buffers, arrays, batches and tables, through Arrow's own IPC stream, without a copy.

pyarrow is imported by whoever has a value of it, or content that holds one; never before.
Three things guard what comes back: the stream may not be compressed (its buffers would declare
how much memory to take), its metadata is checked by Arrow, and the arrays are validated in
full, as an offset out of range would be read without a check ever after.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from msgpack import ExtType

from vcache.errors import DecodeError, EncodeError
from vcache.serialize.wire import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from vcache.serialize.wire import Sink, Source

__all__ = ["build", "rule_for"]

_HEAD: Final = ExtType(Code.ARROW, b"")
_COLUMN: Final = ""


def rule_for(cls: type) -> Callable[..., object] | None:
    """How values of a pyarrow class are written, or None for one that has no rule."""
    if issubclass(cls, pa.Buffer):
        return _put_buffer
    kinds = (pa.Table, pa.RecordBatch, pa.ChunkedArray, pa.Array)
    return _put_stream if issubclass(cls, kinds) else None


def _put_buffer(value: pa.Buffer, sink: Sink) -> list[object]:
    return [_HEAD, "buffer", sink.add_buffer([memoryview(value)])]


def _put_stream(value: object, sink: Sink) -> list[object]:
    kind, table = _as_tabular(value)
    pieces = _Pieces()
    try:
        with pa.ipc.new_stream(pa.PythonFile(pieces, "w"), table.schema) as writer:
            writer.write(table)
    except pa.ArrowException as error:
        raise EncodeError(f"a {type(value).__qualname__} cannot be stored: {error}") from error
    return [_HEAD, kind, sink.add_buffer(pieces.parts)]


def _as_tabular(value: object) -> tuple[str, pa.Table | pa.RecordBatch]:
    if isinstance(value, pa.Table):
        return "table", value
    if isinstance(value, pa.RecordBatch):
        return "batch", value
    if isinstance(value, pa.ChunkedArray):
        return "chunked", pa.table([value], names=[_COLUMN])
    return "array", pa.record_batch([value], names=[_COLUMN])


class _Pieces(io.RawIOBase):
    """A file that keeps what is written to it: Arrow hands its large buffers over as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Buffer] = []
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size_bytes

    def write(self, data: Buffer) -> int:
        piece = data if isinstance(data, bytes) else memoryview(data)
        self.parts.append(piece)
        self._size_bytes += len(piece)
        return len(piece)


def build(items: list[object], source: Source) -> object:
    """The Arrow value of an array's rest; it views its buffer."""
    kind, number = items
    memory = pa.py_buffer(source.buffer(number))
    if kind == "buffer":
        return memory
    schema, batches = _read(memory)
    if kind == "table":
        return pa.Table.from_batches(batches, schema)
    if kind == "chunked":
        return pa.Table.from_batches(batches, schema).column(0)
    if len(batches) != 1 or kind not in ("batch", "array"):
        raise DecodeError(f"{len(batches)} batches are no Arrow {kind!r:.20}")
    return batches[0] if kind == "batch" else batches[0].column(0)


def _read(memory: pa.Buffer) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    for message in pa.ipc.MessageReader.open_stream(memory):
        if message.type in ("record batch", "dictionary"):
            _refuse_compressed(bytes(memoryview(message.metadata)), message.type)
    reader = pa.ipc.open_stream(memory)
    for field in reader.schema:
        _decode_names(field)
    # Not through a table: it drops empty batches.
    batches = list(reader)
    for batch in batches:
        batch.validate(full=True)
    return reader.schema, batches


def _decode_names(field: pa.Field) -> None:
    """Ask for every name in a field: Arrow checks the text in columns, but not in their names."""
    assert isinstance(field.name, str)
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    for number in range(kind.num_fields):
        _decode_names(kind.field(number))


# Field numbers of Message.fbs, in the order of the Arrow format (format/Message.fbs).
_MESSAGE_HEADER: Final = 2
_DICTIONARY_DATA: Final = 1
_BATCH_COMPRESSION: Final = 3


def _refuse_compressed(metadata: bytes, kind: str) -> None:
    """Follow a message's flatbuffer to where a compression would be declared."""
    try:
        (at,) = struct.unpack_from("<I", metadata)
        batch = _table_at(metadata, at, _MESSAGE_HEADER)
        if kind == "dictionary" and batch is not None:
            batch = _table_at(metadata, batch, _DICTIONARY_DATA)
        compressed = batch is None or _table_at(metadata, batch, _BATCH_COMPRESSION) is not None
    except struct.error:
        raise DecodeError("the metadata of an Arrow message is truncated") from None
    if compressed:
        raise DecodeError("a compressed Arrow stream may not be stored: entries are compressed as a whole")


def _table_at(metadata: bytes, table_at: int, field: int) -> int | None:
    """Where the table in a field of a flatbuffer's table is, or None when the field is absent."""
    (to_vtable,) = struct.unpack_from("<i", metadata, table_at)
    vtable_at = table_at - to_vtable
    if vtable_at < 0:
        raise DecodeError("the metadata of an Arrow message points before its start")
    (vtable_bytes,) = struct.unpack_from("<H", metadata, vtable_at)
    slot_at = 4 + 2 * field
    if slot_at + 2 > vtable_bytes:
        return None
    (offset,) = struct.unpack_from("<H", metadata, vtable_at + slot_at)
    if not offset:
        return None
    (distance,) = struct.unpack_from("<I", metadata, table_at + offset)
    return int(table_at + offset + distance)
