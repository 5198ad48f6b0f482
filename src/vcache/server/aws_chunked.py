"""Bodies in the wrapping `aws-chunked`: chunks with a size each, and checksums behind them.

Amazon S3 API Reference, "Signature Calculations … (Chunked Upload)", with unsigned payload. It must not
know requests.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vcache.hash import sha256_hasher
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["AwsChunks", "ChecksumCheck"]

_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,8})(?:;[!-~]*)?")
_MOST_LINE_BYTES: Final = 1024
_MOST_TRAILERS: Final = 64


class AwsChunks:
    """Takes the wrapping off, piece by piece; a check as well, since only it knows the end.

    Args:
        size_bytes: how long the content is to be; None if nothing was said.
    """

    __slots__ = ("_buffer", "_is_closed", "_is_ended", "_left", "_seen_bytes", "_size_bytes", "trailers")

    def __init__(self, size_bytes: int | None) -> None:
        self._size_bytes = size_bytes
        self._buffer = b""
        self._left = 0  # of the chunk that is being read, its line end included
        self._seen_bytes = 0
        self._is_ended = False  # no more chunks
        self._is_closed = False  # and no more trailers
        self.trailers: dict[str, str] = {}

    def __call__(self, data: bytes) -> bytes:
        """The content in the next bytes.

        Raises:
            Refused: they are not wrapped so.
        """
        data = self._buffer + data
        self._buffer = b""
        parts: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._left > 2:
                part = data[at : at + self._left - 2]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                continue
            stop = data.find(b"\r\n", at)
            if stop < 0:
                if end - at > _MOST_LINE_BYTES:
                    raise _malformed("a line is too long")
                self._buffer = data[at:]
                break
            line, at = data[at:stop], stop + 2
            self._line(line)
        content = b"".join(parts)
        self._seen_bytes += len(content)
        return content

    def _line(self, line: bytes) -> None:
        if self._left:  # the line end behind a chunk
            if line:
                raise _malformed("a chunk is longer than it says")
            self._left = 0
        elif self._is_ended:
            name, colon, value = line.partition(b":")
            self._is_closed |= not line
            if colon:
                if len(self.trailers) >= _MOST_TRAILERS:
                    raise _malformed("it has too many trailers")
                self.trailers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
        else:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise _malformed(f"{line!r:.40} is no size of a chunk")
            size = int(match[1], 16)
            self._is_ended = size == 0
            self._left = size + 2 if size else 0

    def update(self, chunk: Buffer) -> None:
        """Nothing: the bytes came through here."""

    def finish(self) -> None:
        """Say that they were all.

        Raises:
            Refused: chunks are missing, or it is not as long as was said.
        """
        if not self._is_closed:
            raise _malformed("the end is missing")
        if self._size_bytes is not None and self._seen_bytes != self._size_bytes:
            raise _malformed(f"{self._seen_bytes} bytes came, {self._size_bytes} were announced")


class ChecksumCheck:
    """Compares content with what a client says of it.

    Args:
        sha256: in hexadecimal; "" where nothing was said.
        said: other checksums by the names of their headers, asked for when all content was seen. Of
            other kinds than the two known ones nothing is believed, and nothing compared.
    """

    __slots__ = ("_crc", "_said", "_sha", "_sha256")

    def __init__(self, sha256: str, said: Callable[[str], str | None]) -> None:
        self._sha256, self._said = sha256, said
        self._sha = sha256_hasher()
        self._crc = 0

    def update(self, chunk: Buffer) -> None:
        """Take the next bytes in."""
        self._sha.update(chunk)
        self._crc = zlib.crc32(chunk, self._crc)

    def finish(self) -> None:
        """Compare.

        Raises:
            Refused: the content is another.
        """
        digest = self._sha.digest()
        found = {
            "x-amz-checksum-sha256": base64.b64encode(digest).decode(),
            "x-amz-checksum-crc32": base64.b64encode(self._crc.to_bytes(4, "big")).decode(),
        }
        if self._sha256 and self._sha256 != digest.hex():
            raise Refused(Refusal.MALFORMED, "x-amz-content-sha256 is not that of the body")
        for name, value in found.items():
            if self._said(name) not in (None, value):
                raise Refused(Refusal.MALFORMED, f"{name} is not that of the body")


def _malformed(why: str) -> Refused:
    return Refused(Refusal.MALFORMED, f"the body is not aws-chunked: {why}")
