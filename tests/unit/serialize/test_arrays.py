from __future__ import annotations

import dataclasses
import random
import struct

import numpy as np
import pyarrow as pa
import pytest

from vcache.errors import DecodeError, EncodeError
from vcache.serialize import Packed, dump, load


@dataclasses.dataclass
class Model:
    name: str
    weights: object


def content_of(value: object) -> bytes:
    packed = dump(value)
    content = b"".join(packed.parts)
    assert len(content) == packed.size_bytes
    return content


def address(buffer: object) -> int:
    return int(np.frombuffer(memoryview(buffer), np.uint8).ctypes.data)  # type: ignore[arg-type]


def addresses(packed: Packed) -> list[int]:
    return [address(part) for part in packed.parts]


RECORD = np.dtype([("a", "<i4"), ("b", ">f8", (2,)), ("c", [("d", "S3"), ("e", "?")])])
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
        np.arange(24).reshape(4, 6)[::2, ::-1],
        np.array(5),
        np.zeros((0, 3), "f4"),
        np.zeros((3, 0), order="F"),
        np.array([True, False]),
        np.array(["é", "abc"]),
        np.array([b"x", b"yz"]),
        np.array(["2024-01-01", "NaT"], "M8[D]"),
        np.array([1, 2], "m8[us]"),
        np.arange(3, dtype=">i2"),
        np.arange(3, dtype="c16"),
        np.zeros(3, RECORD),
        np.zeros((2, 2), ALIGNED),
        np.zeros(2, "V7"),
        np.arange(4, dtype="f2"),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}"[:40],
)
def test_arrays_come_back(array):
    """An array comes back with dtype, shape, order and items; alone and as a part."""
    alone = load("numpy", content_of(array))
    parts = load("msgpack", content_of({"x": [array, 1], "y": Model("m", array)}))
    for found in (alone, parts["x"][0], parts["y"].weights):  # type: ignore[index]
        assert isinstance(found, np.ndarray)
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()
        assert found.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc
        assert not found.flags.writeable


@pytest.mark.parametrize(
    "value", [np.float64(1.5), np.int8(3), np.bool_(True), np.str_("x"), np.datetime64("2024-01-01")]
)
def test_scalars_come_back(value):
    """A NumPy scalar comes back as itself, not as a Python number."""
    found = load("numpy", content_of(value))
    assert type(found) is type(value)
    assert found == value


def test_an_array_is_not_copied():
    """The content views the array, and the loaded array views the content."""
    array = np.arange(1_000_000.0)
    assert array.ctypes.data in addresses(dump(array))
    content = content_of(array)
    found = load("numpy", content)
    assert np.shares_memory(found, np.frombuffer(content, np.uint8))


def test_a_loaded_array_cannot_change_its_content():
    """An array is read-only even where the buffer below it is not."""
    content = bytearray(content_of(np.arange(100)))
    found = load("numpy", content)
    assert isinstance(found, np.ndarray)
    assert not found.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        found.flags.writeable = True


def test_buffers_are_aligned():
    """Each buffer starts at a multiple of 64 bytes, and the padding is zero."""
    arrays = [np.full(n, 255, np.uint8) for n in (1, 64, 0, 100)]
    content = content_of(arrays)
    count, document_bytes = struct.unpack_from("<IQ", content, 4)
    assert count == 4
    sizes = struct.unpack_from("<4Q", content, 16)
    assert sizes == (1, 64, 0, 100)
    at = 16 + 32 + document_bytes
    for size_bytes in sizes:
        pad = -at % 64
        assert content[at : at + pad] == bytes(pad)
        at += pad
        assert content[at : at + size_bytes] == b"\xff" * size_bytes
        at += size_bytes
    assert at == len(content)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.zeros(1, [("a", "O")]),
        np.ma.masked_array([1, 2], [True, False]),
        np.array(["x"], np.dtypes.StringDType()),
        np.zeros(2, "V0"),
        np.rec.array([(1, 2.0)], names="a,b"),  # type: ignore[call-overload]
    ],
    ids=lambda array: f"{type(array).__name__}-{array.dtype}"[:40],
)
def test_arrays_that_are_refused(array):
    """Arrays of objects, of foreign kinds, and subclasses are refused, with the path."""
    with pytest.raises(EncodeError, match=r"^value\['a'\]: "):
        dump({"a": array})


def test_object_arrays_by_pickle():
    """An array of objects is stored where the caller allows pickle."""
    array = np.array([{1}, None], object)
    packed = dump(array, allow_pickle=True)
    assert packed.codec == "pickle"
    found = load("pickle", b"".join(packed.parts), allow_pickle=True)
    assert list(found) == list(array)  # type: ignore[call-overload]


def forged(array: np.ndarray, old: bytes, new: bytes) -> bytes:
    content = content_of(array)
    assert content.count(old) == 1
    return content.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"<f8", b"|O8"), (b"<f8", b"<f4"), (b"<f8", b"|V0"), (b"<f8", b"x,y"), (b"\xa1C", b"\xa1K"), (b"\xa1C\0\x03", b"\xa1C\0\x04"), (b"\xa1C\0", b"\xa1C\x01")],
)  # fmt: skip
def test_forged_arrays_are_refused(old, new):
    """A dtype, order, length or buffer number that does not fit the bytes is a DecodeError."""
    with pytest.raises(DecodeError):
        load("numpy", forged(np.arange(3.0), old, new))


TABLE = pa.table(
    {
        "n": pa.array([1, None, 3], pa.int32()),
        "s": ["a", None, "ccc"],
        "l": [[1], [], None],
        "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        "t": pa.array([{"a": 1, "b": "x"}] * 3),
    },
    metadata={"k": "v"},
)


@pytest.mark.parametrize(
    "value",
    [
        TABLE,
        TABLE.slice(1, 1),
        TABLE.slice(0, 0),
        pa.concat_tables([TABLE, TABLE]),
        TABLE.to_batches()[0],
        TABLE.column("s"),
        TABLE.column("s").chunk(0),
        TABLE.column("d").chunk(0),
        pa.chunked_array([], pa.int8()),
        pa.array([], pa.string()),
        pa.py_buffer(b"abc"),
        pa.py_buffer(b""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrow_values_come_back(value):
    """An Arrow value comes back equal, alone and as a part."""
    alone = load("arrow", content_of(value))
    part = load("msgpack", content_of([1, value]))[1]  # type: ignore[index]
    for found in (alone, part):
        assert type(found) is type(value)
        assert found.equals(value)  # type: ignore[union-attr]
    if isinstance(value, pa.Table):
        assert alone.schema.metadata == value.schema.metadata  # type: ignore[attr-defined]


def test_arrow_is_not_copied():
    """The content views the table's buffers, and the loaded table views the content."""
    values = pa.array(np.arange(100_000))
    packed = dump(pa.table({"a": values}))
    assert values.buffers()[1].address in addresses(packed)
    content = b"".join(packed.parts)
    start = address(content)
    found = load("arrow", content).column("a").chunk(0).buffers()[1]  # type: ignore[attr-defined]
    assert start <= found.address < start + len(content)


def test_a_compressed_stream_is_refused():
    """A stream that would declare how much memory to take is refused, batches and dictionaries alike."""
    for column in (pa.array(np.zeros(100_000)), pa.array(["x" * 1000] * 10).dictionary_encode()):
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        table = pa.table({"": column})
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write(table)
        from vcache.serialize.arrow import build

        class Source:
            def buffer(self, number: object) -> memoryview:
                return memoryview(sink.getvalue())  # noqa: B023

        with pytest.raises(DecodeError, match="compressed"):
            build(["table", 0], Source())  # type: ignore[arg-type]


def test_damaged_arrow_content_never_escapes():
    """Arrow content that is changed anywhere gives DecodeError or a table that is valid."""
    content = content_of(TABLE)
    chance = random.Random(4)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        try:
            found = load("arrow", bytes(damaged))
        except DecodeError:
            continue
        found.validate(full=True)  # type: ignore[attr-defined]
        assert all(column.type is not None for column in found.columns)  # type: ignore[attr-defined]


def test_a_column_name_that_is_no_text_is_refused():
    """A name that is no UTF-8 is refused when it is loaded, not when it is first looked at."""
    content = content_of(pa.table({"column": [1]}))
    with pytest.raises(DecodeError):
        load("arrow", content.replace(b"column", b"col\xffmn"))


def test_damaged_array_content_never_escapes():
    """Array content that is changed or cut anywhere gives DecodeError or an array."""
    content = content_of({"a": np.zeros(3, RECORD), "b": np.asfortranarray(np.ones((2, 3)))})
    for at in range(len(content)):
        with pytest.raises(DecodeError):
            load("msgpack", content[:at])
    chance = random.Random(5)
    for _ in range(2000):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        try:
            load("msgpack", bytes(damaged))
        except DecodeError:
            continue
