"""Plain msgpack and zstd for formats that are specified elsewhere, byte by byte (docs/design/logs.md).

Values are what msgpack has of its own: None, bool, int, float, str, bytes, lists, dicts with text keys.
It must not know what they mean.
"""

from __future__ import annotations

import threading
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["compress", "decompress", "pack_exactly", "pack_plain", "unpack_flat", "unpack_plain"]

_threads = threading.local()
_LEVEL: Final = 3
_FLAT: Final = frozenset((str, int, float, bool, type(None)))
Value = str | int | float | bool | None


def pack_plain(value: object) -> bytes:
    """A value as msgpack. Named tuples are lists; text with lone surrogates is passed as it is.

    Raises:
        EncodeError: something in it has no such form.
    """
    try:
        return _packer()(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"no msgpack: {error}") from None


def pack_exactly() -> Callable[[object], bytes]:
    """What packs values of exactly the types above, no named tuples, and only text that is UTF-8.

    It runs no Python code, so that any thread may call it, from a signal handler too, without a lock, and
    takes half the time. What it is not made for raises TypeError, ValueError or OverflowError.
    """
    import msgpack

    made: Callable[[object], bytes] = msgpack.Packer(use_bin_type=True, strict_types=True).pack
    return made


def unpack_plain(data: Buffer, *, most_items: int = -1) -> object:
    """What msgpack says, whole.

    Args:
        most_items: of each list and dict; -1: no more than data has bytes. What a list claims is allocated
            before its items are there, also within others.

    Raises:
        DecodeError: it is damaged, or goes on behind its end.
    """
    unpack = _unpacker()
    try:
        # With another way to treat errors, text costs twice as much; hardly any has one.
        return unpack(data, raw=False, strict_map_key=False, max_array_len=most_items, max_map_len=most_items)
    except UnicodeDecodeError:
        pass
    except Exception as error:  # msgpack's own, ValueError, RecursionError: each means damage
        raise DecodeError(f"no msgpack: {str(error) or type(error).__name__}") from None
    bounded = partial(unpack, max_array_len=most_items, max_map_len=most_items)
    return _checked(partial(bounded, raw=False, strict_map_key=False), data)


def unpack_flat(data: Buffer, *, most_items: int) -> list[Value]:
    """A list of texts, numbers of 64 bits, truth values and None; nothing else is ever made.

    Raises:
        DecodeError: it is damaged, longer, or has something else.
    """
    n_lists = 0

    def only_one(items: list[Value]) -> list[Value]:
        nonlocal n_lists
        n_lists += 1
        if n_lists > 1:  # before the rest of them takes memory
            raise DecodeError("a list within a list")
        return items

    unpack = partial(
        _unpacker(), raw=False, strict_map_key=False, list_hook=only_one, max_array_len=most_items,
        max_map_len=0, max_ext_len=0,
    )  # fmt: skip
    try:
        found = unpack(data)
    except UnicodeDecodeError:
        n_lists = 0
        found = _checked(unpack, data)
    except Exception as error:  # as above
        raise DecodeError(f"no msgpack: {str(error) or type(error).__name__}") from None
    if type(found) is not list or not _FLAT.issuperset(kinds := set(map(type, found))):
        raise DecodeError("no list of texts, numbers, and truth values")
    if int in kinds and any(type(item) is int and item >> 63 > 0 for item in found):
        raise DecodeError("a number of more than 64 bits")
    return found


def compress(data: Buffer, *, level: int = _LEVEL) -> bytes:
    """Data as one zstd frame that says its length."""
    made = _contexts()
    found = made.get(level)
    if found is None:
        import zstandard  # 15 ms

        found = made[level] = zstandard.ZstdCompressor(level=level).compress
    return bytes(found(memoryview(data)))


def decompress(data: Buffer, *, size_bytes: int) -> bytes:
    """What a zstd frame holds.

    Raises:
        DecodeError: it is damaged, or not of that length.
    """
    made = _contexts()
    found = made.get(-1)
    if found is None:
        import zstandard

        found = made[-1] = (zstandard.ZstdDecompressor().decompress, zstandard.frame_content_size)
    read, claimed = found
    view = memoryview(data)
    try:
        # Asked first: the library allocates what a frame claims.
        if claimed(view) == size_bytes:
            return bytes(read(view))
    except Exception as error:  # zstandard's own
        raise DecodeError(f"no zstd frame: {error}") from None
    raise DecodeError(f"a zstd frame that does not hold {size_bytes} bytes")


def _checked(unpack: Callable[..., Any], data: Buffer) -> Any:
    try:
        return unpack(data, unicode_errors="surrogatepass")
    except Exception as error:  # as above
        raise DecodeError(f"no msgpack: {str(error) or type(error).__name__}") from None


def _packer() -> Callable[[object], bytes]:
    found: Callable[[object], bytes] | None = getattr(_threads, "pack", None)
    if found is None:
        import msgpack

        # One packer a thread: `packb` makes one a call, at 0.5 µs.
        found = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass").pack
        _threads.pack = found
    assert found is not None
    return found


@cache
def _unpacker() -> Callable[..., object]:
    import msgpack  # 3 ms, and who writes only has no need of it

    made: Callable[..., object] = msgpack.unpackb
    return made


def _contexts() -> dict[int, Any]:
    found: dict[int, Any] | None = getattr(_threads, "contexts", None)
    if found is None:
        found = _threads.contexts = {}
    return found
