"""Whether a body is whole, by the framing that its client gives it: gzip, Zstandard, zip.

A truncated or damaged artifact that is kept breaks every later build. What is inside is unpacked to
nowhere, in steps: nothing is believed of it, and no more of it is looked at than 100 times what came and a
little. What lies beyond, as in a bomb, is taken as it is: nobody here unpacks it. It must not know dialects.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.serialize.foreign import ZstdSteps

__all__ = ["GzipCheck", "ZipInspector", "ZstdCheck"]

# Work is bounded by what was sent: sources and objects compress to a tenth, never to a hundredth.
_MOST_TIMES: Final = 100
_SLACK_BYTES: Final = 64 << 20
_STEP_BYTES: Final = 256 << 10
_WITH_GZIP_HEADER: Final = 16 + zlib.MAX_WBITS
_ZIP_END: Final = b"PK\5\6"
_ZIP_END_BYTES: Final = 22  # without the comment
_ZIP_START: Final = b"PK\3\4"
_ENCRYPTED: Final = 1
_MOST_COMMENT_BYTES: Final = 65_535
_MOST_DIRECTORY_BYTES: Final = 4 << 20  # 60,000 members: each takes 20 µs and 500 bytes here


class _BoundReachedError(Exception):
    """Enough was unpacked."""


class _Unpacking:
    """What the checks of streams share: how far they look, and what they remember.

    Args:
        head_bytes: how much of the beginning of the content is kept in `head`.
        slack_bytes: how much content is unpacked at most, beside 100 times what came.
    """

    __slots__ = ("_bound_bytes", "_head_bytes", "_is_done", "head", "seen_bytes")
    format = ""

    def __init__(self, *, head_bytes: int = 0, slack_bytes: int = _SLACK_BYTES) -> None:
        self._head_bytes, self._bound_bytes = head_bytes, slack_bytes
        self._is_done = False
        self.head = b""
        self.seen_bytes = 0

    def update(self, chunk: Buffer) -> None:
        """Unpack the next bytes.

        Raises:
            Refused: they are damaged.
        """
        if self._is_done:
            return
        try:
            data = memoryview(chunk)
            self._bound_bytes += _MOST_TIMES * data.nbytes
            self._step(data)
        except _BoundReachedError:
            self._is_done = True
        except (ValueError, zlib.error) as error:
            raise Refused(Refusal.MALFORMED, f"the body is no sound {self.format}: {error}") from error

    def finish(self) -> None:
        """Say that all bytes were seen.

        Raises:
            Refused: the content goes on.
        """
        if not self._is_done and not self._is_whole():
            raise Refused(Refusal.MALFORMED, f"the body is a {self.format} that was cut off, or empty")

    def _take(self, content: bytes) -> None:
        if len(self.head) < self._head_bytes:
            self.head += content[: self._head_bytes - len(self.head)]
        self.seen_bytes += len(content)
        if self.seen_bytes > self._bound_bytes:
            raise _BoundReachedError

    def _step(self, data: memoryview) -> None:
        raise AssertionError("a format says how")

    def _is_whole(self) -> bool:
        raise AssertionError("a format says when")


class GzipCheck(_Unpacking):
    """One gzip member or several (RFC 1952), each with its CRC and length right, and nothing behind."""

    __slots__ = ("_member",)
    format = "gzip"

    def __init__(self, *, head_bytes: int = 0, slack_bytes: int = _SLACK_BYTES) -> None:
        super().__init__(head_bytes=head_bytes, slack_bytes=slack_bytes)
        self._member: zlib._Decompress | None = None

    def _step(self, data: memoryview) -> None:
        rest: Buffer = data
        while memoryview(rest).nbytes:
            if self._member is None:
                self._member = zlib.decompressobj(_WITH_GZIP_HEADER)
            self._take(self._member.decompress(rest, _STEP_BYTES))
            rest = self._member.unconsumed_tail
            if self._member.eof:
                rest, self._member = self._member.unused_data, None

    def _is_whole(self) -> bool:
        return self._member is None and self.seen_bytes > 0


class ZstdCheck(_Unpacking):
    """One Zstandard frame or several (RFC 8878), whole, with their checksums, and nothing behind."""

    __slots__ = ("_steps",)
    format = "zstd"

    def __init__(self, *, head_bytes: int = 0, slack_bytes: int = _SLACK_BYTES) -> None:
        from vcache.serialize.foreign import ZstdSteps

        super().__init__(head_bytes=head_bytes, slack_bytes=slack_bytes)
        self._steps: ZstdSteps = ZstdSteps(self._take)

    def _step(self, data: memoryview) -> None:
        self._steps.update(data)

    def _is_whole(self) -> bool:
        return self._steps.is_between and self.seen_bytes > 0


class ZipInspector:
    """A zip with a sound directory, sound members (those stored or deflated), and nothing around it.

    What does not begin like a zip is none of its business.
    """

    __slots__ = ("_slack_bytes",)

    def __init__(self, *, slack_bytes: int = _SLACK_BYTES) -> None:
        self._slack_bytes = slack_bytes

    def inspect(self, content: bytes | Path) -> None:
        """Look at all members.

        Raises:
            Refused: it is a damaged zip, or a part of one.
        """
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            if file.read(len(_ZIP_START)) != _ZIP_START:
                return
            try:
                self._look(file)
            except (ValueError, RuntimeError, EOFError, OSError, zlib.error) as error:
                raise Refused(Refusal.MALFORMED, f"the body is no sound zip: {error}") from error

    def _look(self, file: IO[bytes]) -> None:
        import zipfile  # 4 ms, for who takes zips in

        size = file.seek(0, io.SEEK_END)
        if _directory_bytes(file, size) > _MOST_DIRECTORY_BYTES:
            return
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                starts = [member.header_offset for member in members]
                if starts and min(starts) != 0:
                    raise ValueError("something is before it")
                left = self._slack_bytes + _MOST_TIMES * size
                for member in members:
                    left -= member.file_size
                    known = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                    if known and left >= 0 and not member.flag_bits & _ENCRYPTED:
                        with archive.open(member) as inside:
                            while inside.read(_STEP_BYTES):
                                pass
        except zipfile.BadZipFile as error:
            raise ValueError(str(error)) from error


def _directory_bytes(file: IO[bytes], size: int) -> int:
    """How long the directory of a zip is, as its end says, which has to be the end of the file."""
    file.seek(max(0, size - _ZIP_END_BYTES - _MOST_COMMENT_BYTES))
    tail = file.read()
    start = tail.rfind(_ZIP_END)
    end = tail[start : start + _ZIP_END_BYTES] if start >= 0 else b""
    comment_bytes = len(tail) - start - _ZIP_END_BYTES
    if len(end) < _ZIP_END_BYTES or int.from_bytes(end[20:22], "little") != comment_bytes:
        raise ValueError("its end is missing, or something is behind it")
    return int.from_bytes(end[12:16], "little")
