"""Value ⇄ content, by the name of a codec.

It must not know compression (`packing`), nor where bytes go. Built-in codecs:

    bytes     bytes, bytearray or memoryview: the content is the very bytes
    str       UTF-8; lone surrogates pass
    msgpack   plain data of any depth (see `wire`)
    numpy     msgpack whose root is an array      arrow    the same for an Arrow value
    error     msgpack whose root is an exception
    pickle    whatever pickle takes: only when asked for, on both ways
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError, EncodeError
from vcache.serialize import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["Packed", "dump", "load"]


# Roots that are certainly for msgpack, so that the common ones are asked nothing else.
_PLAIN: Final = frozenset({type(None), bool, int, float, list, dict, tuple, set, frozenset})


class Packed:
    """A value's content, and the name of the codec that turns it back.

    Attributes:
        codec: the codec's name.
        parts: the content in pieces, which may view the value's own memory.
        size_bytes: the length of all pieces together.
    """

    __slots__ = ("codec", "parts", "size_bytes")

    def __init__(self, codec: str, parts: list[Buffer], size_bytes: int) -> None:
        self.codec = codec
        self.parts = parts
        self.size_bytes = size_bytes

    def __repr__(self) -> str:
        return f"Packed({self.codec!r}, {len(self.parts)} parts, {self.size_bytes} bytes)"


def dump(value: object, *, codec: str | None = None, allow_pickle: bool = False) -> Packed:
    """The content of a value, large buffers without a copy.

    bytes come back as bytes, a memoryview too, a bytearray as itself unless codec="bytes".

    Args:
        value: what to store.
        codec: the name of a built-in or registered codec; None picks one by the value's type.
        allow_pickle: fall back on pickle for a value that no codec takes.

    Raises:
        EncodeError: the codec does not take it, or no codec does; the message gives the path
            to the part that failed, and the remedy.
    """
    if codec is None:
        kind = type(value)
        if kind is bytes:
            return Packed("bytes", [value], len(value))  # type: ignore[list-item, arg-type]
        if kind is str:
            return _dump_str(value)
        if kind is memoryview:
            return _dump_bytes(value)
        return _dump_any(value, allow_pickle=allow_pickle)
    writer = _DUMPERS.get(codec)
    if writer is not None:
        return writer(value)
    return _dump_foreign(value, codec)


def load(codec: str, content: Buffer, *, allow_pickle: bool = False, allow_imports: bool = False) -> object:
    """The value of a content. NumPy and Arrow values are read-only views of it.

    Args:
        codec: the name in the entry's head.
        content: the unpacked bytes; not to be changed as long as the value lives.
        allow_pickle: let a pickle run; only for bytes that this user wrote.
        allow_imports: import modules that hold a class the value needs; only for bytes that
            this user wrote, as importing a module runs it. Without, classes are looked up
            among the modules already imported.

    Raises:
        DecodeError: the bytes are damaged, the codec is unknown or not allowed, or a class is
            missing or has changed.
    """
    if codec == "bytes":
        return content if type(content) is bytes else bytes(content)
    if codec == "msgpack":
        return _typed_decode(content, allow_imports)
    if codec == "str":
        return _load_str(content)
    if codec == "pickle":
        return _load_pickle(content, allow_pickle=allow_pickle)
    if codec in registry.BUILT_IN:
        return _load_rooted(codec, content, allow_imports=allow_imports)
    return _load_foreign(codec, content)


def _first_decode(content: Buffer, allow_imports: bool) -> object:
    # msgpack and the tables of types take 9 ms: a cache of bytes and text never pays them.
    global _typed_decode
    from vcache.serialize.reading import decode

    _typed_decode = decode
    return decode(content, allow_imports)


def _first_encode(value: object) -> list[Buffer]:
    global _typed_encode
    from vcache.serialize.writing import encode

    _typed_encode = encode
    return encode(value)


_typed_decode: Callable[[Buffer, bool], object] = _first_decode
_typed_encode: Callable[[object], list[Buffer]] = _first_encode


# Writing


def _dump_any(value: object, *, allow_pickle: bool) -> Packed:
    """By the rules of typed msgpack, or as the root value's kind asks for."""
    name = "msgpack"
    if type(value) not in _PLAIN:
        name = _root_kind(value)
        if name == "error":
            return _dump_error(value)
        foreign = _foreign_codec(value)
        if foreign is not None:
            return _dump_with(foreign, value)
    try:
        parts = _typed_encode(value)
    except EncodeError as error:
        if allow_pickle:
            return _dump_pickle(value)
        raise _located(error, value) from error.__cause__
    if len(parts) == 1:
        return Packed(name, parts, len(parts[0]))  # type: ignore[arg-type]  # a lone document is bytes
    return _measured(name, parts)


def _foreign_codec(value: object) -> registry.Codec | None:
    """A third party's codec for a root value that no built-in takes."""
    from vcache.serialize.writing import is_known

    return None if is_known(value) else registry.codec_for(value)


def _root_kind(value: object) -> str:
    if isinstance(value, Exception):
        return "error"
    package = type(value).__module__
    if package == "numpy":
        return "numpy"
    return "arrow" if package.startswith("pyarrow") else "msgpack"


def _measured(codec: str, parts: list[Buffer]) -> Packed:
    return Packed(codec, parts, sum(memoryview(part).nbytes for part in parts))


def _located(error: EncodeError, value: object) -> EncodeError:
    from vcache.serialize import culprit  # only a failure needs it

    return culprit.located(error, value)


def _dump_bytes(value: object) -> Packed:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise EncodeError(f'codec "bytes" takes bytes, bytearray or memoryview, not {_name(value)}')
    view = memoryview(value)
    part = value if type(value) is bytes else view.cast("B") if view.c_contiguous else view.tobytes()
    return Packed("bytes", [part], view.nbytes)


def _dump_str(value: object) -> Packed:
    if not isinstance(value, str):
        raise EncodeError(f'codec "str" takes str, not {_name(value)}')
    data = value.encode("utf-8", "surrogatepass")
    return Packed("str", [data], len(data))


def _dump_msgpack(value: object) -> Packed:
    try:
        return _measured("msgpack", _typed_encode(value))
    except EncodeError as error:
        raise _located(error, value) from error.__cause__


def _dump_root(value: object, codec: str) -> Packed:
    if _root_kind(value) != codec:
        raise EncodeError(f"codec {codec!r} takes no {_name(value)}: leave the codec out")
    return _dump_any(value, allow_pickle=False)


def _dump_error(value: object) -> Packed:
    if not isinstance(value, Exception):
        raise EncodeError(f'codec "error" takes an Exception, not {_name(value)}')
    try:
        return _measured("error", _typed_encode(value))
    except EncodeError:
        from vcache.serialize import failures

        return _measured("error", _typed_encode(failures.Described(value)))


def _dump_pickle(value: object) -> Packed:
    import pickle  # never on a default path

    try:
        data = pickle.dumps(value, protocol=5)
    except Exception as error:  # a user's __reduce__ may fail in any way
        raise EncodeError(f"a {_name(value)} cannot be pickled: {error}") from error
    return Packed("pickle", [data], len(data))


_DUMPERS: dict[str, Callable[[object], Packed]] = {
    "bytes": _dump_bytes,
    "str": _dump_str,
    "msgpack": _dump_msgpack,
    "numpy": lambda value: _dump_root(value, "numpy"),
    "arrow": lambda value: _dump_root(value, "arrow"),
    "error": _dump_error,
    "pickle": _dump_pickle,
}


def _dump_foreign(value: object, name: str) -> Packed:
    try:
        codec = registry.codec_named(name)
    except DecodeError as error:
        raise EncodeError(str(error)) from error
    return _dump_with(codec, value)


def _dump_with(codec: registry.Codec, value: object) -> Packed:
    return _measured(codec.name, registry.dump_with(codec, value))


def _name(value: object) -> str:
    return type(value).__qualname__


# Reading


def _load_str(content: Buffer) -> str:
    try:
        return str(content, "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise DecodeError(f"a text is no UTF-8: {error}") from error


def _load_rooted(codec: str, content: Buffer, *, allow_imports: bool) -> object:
    value = _typed_decode(content, allow_imports)
    if _root_kind(value) != codec:
        raise DecodeError(f"content of codec {codec!r} holds a {_name(value)}")
    return value


def _load_pickle(content: Buffer, *, allow_pickle: bool) -> object:
    if not allow_pickle:
        raise DecodeError("a pickle is not loaded unless allow_pickle=True says that its bytes are trusted")
    import pickle  # never on a default path

    try:
        value: object = pickle.loads(content)  # noqa: S301  # the caller vouches for these bytes
    except Exception as error:  # pickle runs whatever the bytes say; any of it may fail
        raise DecodeError(f"a pickle cannot be loaded: {error!r}") from error
    return value


def _load_foreign(name: str, content: Buffer) -> object:
    return registry.load_with(registry.codec_named(name), memoryview(content).toreadonly())
