"""Typed msgpack, reading: one document, and the buffers beside it, to the value it stands for.

It must not know codecs by name, compression or stores. Content may come from anywhere: whatever
is wrong with it is a DecodeError. A document without extensions is read by msgpack's C code
alone. See `wire` for the bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from msgpack import unpackb

from vcache.errors import DecodeError
from vcache.serialize import classes, failures, registry, scalars
from vcache.serialize.wire import BUFFERS, BUFFERS_HEAD, MARK, TYPED, Code, class_number, padding_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from vcache.serialize.wire import Source

__all__ = ["decode"]

_U64: Final = struct.Struct("<Q")
_LEAVES: Final = scalars.LEAVES  # one look-up less for each leaf


class _Head:
    """The first element of an array that stands for something else."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[[list[object], Source], object]) -> None:
        self.build = build


class Decoder:
    """Reads one document."""

    def __init__(self, buffers: Sequence[memoryview], *, allow_imports: bool) -> None:
        self._buffers = buffers
        self._allow_imports = allow_imports
        self._classes: dict[bytes, _Head] = {}  # by their number, as CLASS_AGAIN writes it
        self._open = 0  # heads that were read and not yet used: one in a wrong place stays

    def decode(self, document: Buffer) -> object:
        """The value of a document."""
        value: object = unpackb(
            document,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            ext_hook=self._extension,
            list_hook=self._array,
        )
        if self._open:
            raise DecodeError("an array's head is in a place where none may be")
        return value

    def buffer(self, number: object) -> memoryview:
        """A buffer that was kept beside the document, without a copy."""
        if type(number) is not int or not 0 <= number < len(self._buffers):
            raise DecodeError(f"there is no buffer {number!r:.40}")
        return self._buffers[number]

    def exception(self, parts: list[object]) -> Exception:
        """The exception that consisted of these parts."""
        return failures.exception_from(parts, allow_imports=self._allow_imports)

    def _array(self, items: list[object]) -> object:
        if items:
            head = items[0]
            if type(head) is _Head:
                self._open -= 1
                del items[0]
                return head.build(items, self)
        return items

    def _extension(self, code: int, data: bytes) -> object:
        leaf = _LEAVES.get(code)
        if leaf is not None:
            return leaf(data)
        self._open += 1
        if code == Code.CLASS_AGAIN:
            return self._classes[data]
        if code == Code.CLASS:
            head = _Head(classes.plan_described(data, allow_imports=self._allow_imports).build)
            self._classes[class_number(len(self._classes))] = head
            return head
        if data or code not in _HEADS:
            raise DecodeError(f"extension {code} with {len(data)} bytes means nothing")
        return _HEADS[code]


def _build_foreign(items: list[object], _: Source) -> object:
    name, content = items
    if not isinstance(name, str) or not isinstance(content, bytes):
        raise DecodeError("a foreign value without codec or content")
    return registry.load_with(registry.codec_named(name), content)


# The modules of arrays import NumPy and Arrow: only who rebuilds such a value does.
def _build_array(items: list[object], source: Source) -> object:
    from vcache.serialize import arrays

    return arrays.build_array(items, source)


def _build_numpy_scalar(items: list[object], source: Source) -> object:
    from vcache.serialize import arrays

    return arrays.build_scalar(items, source)


def _build_arrow(items: list[object], source: Source) -> object:
    from vcache.serialize import arrow

    return arrow.build(items, source)


def _build_exception(items: list[object], source: Source) -> object:
    return source.exception(items)


_HEADS: Final[dict[int, _Head]] = {
    **{code: _Head(build) for code, build in scalars.BUILDERS.items()},
    Code.NDARRAY: _Head(_build_array),
    Code.NUMPY_SCALAR: _Head(_build_numpy_scalar),
    Code.ARROW: _Head(_build_arrow),
    Code.FOREIGN: _Head(_build_foreign),
    Code.EXCEPTION: _Head(_build_exception),
}


def _no_extension(code: int, _: bytes) -> object:
    raise DecodeError(f"extension {code} in a plain document")


def decode(content: Buffer, allow_imports: bool) -> object:
    """The value of a content. Arrays in it view the content; nothing else does.

    Raises:
        DecodeError: it is not what `encode` makes, or needs a class that is not here.
    """
    if type(content) is not bytes:
        content = memoryview(content).toreadonly().cast("B")
    try:
        if content[0] == MARK:
            document, buffers = _framed(memoryview(content))
            return Decoder(buffers, allow_imports=allow_imports).decode(document)
        value: object = unpackb(
            content, strict_map_key=False, unicode_errors="surrogatepass", ext_hook=_no_extension
        )
    except DecodeError:
        raise
    except Exception as error:  # msgpack, NumPy, Arrow and constructors refuse bytes in many ways
        reason = f"{type(error).__name__}: {error}"
        raise DecodeError(f"{len(content)} bytes are no typed msgpack: {reason}") from error
    return value


def _framed(content: memoryview) -> tuple[memoryview, list[memoryview]]:
    """The document and the buffers of a content that starts with the mark."""
    if bytes(content[:2]) == TYPED:
        return content[2:], []
    mark, reserved, count, document_bytes = BUFFERS_HEAD.unpack_from(content)
    if mark != BUFFERS or reserved:
        raise DecodeError(f"content of an unknown shape: {bytes(content[:4]).hex()}")
    document_at = BUFFERS_HEAD.size + count * _U64.size
    if document_at + document_bytes > len(content):
        raise DecodeError(f"{len(content)} bytes cannot hold {count} buffers and {document_bytes} bytes")
    at = document_at + document_bytes
    buffers = []
    for (size_bytes,) in _U64.iter_unpack(content[BUFFERS_HEAD.size : document_at]):
        at += padding_bytes(at)
        buffers.append(content[at : at + size_bytes])
        at += size_bytes
    if at != len(content):
        raise DecodeError(f"{len(content)} bytes where the buffers end at {at}")
    return content[document_at : document_at + document_bytes], buffers
