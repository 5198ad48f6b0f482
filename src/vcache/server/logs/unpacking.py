"""Bodies that come packed: gzip, deflate, Zstandard, snappy; unpacked, and never to more than is allowed.

It must not know what is inside.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CODINGS", "unpacked"]

CODINGS: Final = ("identity", "gzip", "deflate", "zstd")
"""What a `Content-Encoding` may say."""

_WITH_GZIP_HEADER: Final = 16 + zlib.MAX_WBITS


def unpacked(body: bytes, coding: str | None, *, limit_bytes: int) -> bytes:
    """A body without its `Content-Encoding`.

    Raises:
        Refused: a coding that is not known, a body that is not sound, or more than so many bytes.
    """
    for name in reversed([part.strip().lower() for part in (coding or "").split(",") if part.strip()]):
        way = _WAYS.get(name)
        if way is None:
            raise Refused(Refusal.MEDIA, f"Content-Encoding: {name[:40]!r}: one of {', '.join(CODINGS)}")
        try:
            body = way(body, limit_bytes)
        except (ValueError, zlib.error) as error:
            raise Refused(Refusal.MALFORMED, f"the body is no sound {name}: {error}") from error
    return body


def _gunzipped(body: bytes, limit_bytes: int) -> bytes:
    """One gzip member or several."""
    parts, left = [], limit_bytes
    while body:
        member = zlib.decompressobj(_WITH_GZIP_HEADER)
        part = member.decompress(body, left + 1)
        left -= len(part)
        if left < 0:
            raise _too_long(limit_bytes)
        if not member.eof:
            raise ValueError("it was cut off")
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)


def _inflated(body: bytes, limit_bytes: int) -> bytes:
    """As RFC 9110 has `deflate`, with zlib's frame; and without it, as some send it."""
    try:
        return _inflated_as(body, limit_bytes, zlib.MAX_WBITS)
    except (ValueError, zlib.error):
        return _inflated_as(body, limit_bytes, -zlib.MAX_WBITS)


def _inflated_as(body: bytes, limit_bytes: int, bits: int) -> bytes:
    member = zlib.decompressobj(bits)
    part = member.decompress(body, limit_bytes + 1)
    if len(part) > limit_bytes:
        raise _too_long(limit_bytes)
    if not member.eof:
        raise ValueError("it was cut off")
    return part


def _unzstd(body: bytes, limit_bytes: int) -> bytes:
    from vcache.serialize.foreign import ZstdSteps

    parts: list[bytes] = []
    size = 0

    def take(part: bytes) -> None:
        nonlocal size
        size += len(part)
        if size > limit_bytes:
            raise _too_long(limit_bytes)
        parts.append(part)

    steps = ZstdSteps(take)
    steps.update(memoryview(body))
    if not steps.is_between:
        raise ValueError("it was cut off")
    return b"".join(parts)


def _too_long(limit_bytes: int) -> Refused:
    return Refused(Refusal.TOO_LARGE, f"unpacked, the body has more than {limit_bytes} bytes")


_WAYS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "identity": lambda body, _: body,
    "gzip": _gunzipped, "x-gzip": _gunzipped, "deflate": _inflated, "zstd": _unzstd,
}  # fmt: skip
