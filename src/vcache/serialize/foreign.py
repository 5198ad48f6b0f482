"""Zstandard as foreign tools write it: unpacked in bounded steps, to look whether it is sound.

It must not know what is inside. Nothing here unpacks what vcache itself has written: see packing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import zstandard
    from typing_extensions import Buffer

__all__ = ["MAX_WINDOW_BYTES", "ZstdSteps", "zstd_pieces"]

MAX_WINDOW_BYTES: Final = 128 << 20
"""What a decoder takes without being told otherwise (ZSTD_WINDOWLOG_LIMIT_DEFAULT, zstd.h)."""

_LEVEL: Final = 1
_READ_BYTES: Final = 1 << 20

# A block of four bytes stands for up to 128 KiB (RFC 8878, 3.1.1.2.2): a step gives at most 32 MiB.
_STEP_BYTES: Final = 1 << 10


class ZstdSteps:
    """Unpacks one frame after the other as bytes come.

    Args:
        into: is given what was unpacked, a step at a time; may raise to stop.
    """

    __slots__ = ("_decoder", "_frame", "_into", "_is_between")

    def __init__(self, into: Callable[[bytes], object]) -> None:
        import zstandard  # a peer's format: who checks no such body does not load it

        self._decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._frame: zstandard.ZstdDecompressionObj = self._decoder.decompressobj()
        self._into = into
        self._is_between = True

    @property
    def is_between(self) -> bool:
        """Whether all frames that began have ended."""
        return self._is_between

    def update(self, data: memoryview) -> None:
        """Unpack the next bytes.

        Raises:
            ValueError: they are not Zstandard, or damaged.
        """
        from zstandard import ZstdError

        for start in range(0, len(data), _STEP_BYTES):
            step = bytes(data[start : start + _STEP_BYTES])
            while step:
                self._is_between = False
                try:
                    output = self._frame.decompress(step)
                except ZstdError as error:
                    raise ValueError(str(error)) from error
                self._into(output)
                step = b""
                if self._frame.eof:
                    step, self._is_between = self._frame.unused_data, True
                    self._frame = self._decoder.decompressobj()


def zstd_pieces(content: Buffer) -> Iterator[bytes]:
    """One Zstandard frame that holds a content, in pieces of up to a megabyte or so."""
    import zstandard

    view = memoryview(content).cast("B")
    packer = zstandard.ZstdCompressor(level=_LEVEL).compressobj(size=view.nbytes)
    for start in range(0, view.nbytes, _READ_BYTES):
        piece = packer.compress(view[start : start + _READ_BYTES])
        if piece:
            yield piece
    yield packer.flush()
