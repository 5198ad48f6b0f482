"""A body on its way in: in memory, in a file where it is long, and looked at before anybody may have it.

It must not know where bytes come from, nor what becomes of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Check", "Inspector", "Intake"]

_IN_MEMORY_BYTES: Final = 1 << 20
# Up to this a check costs less than a hop to a thread, 50 µs, even where it unpacks a bomb's beginning.
_INLINE_BYTES: Final = 2 << 10


class Check(Protocol):
    """Looks at a body while it comes."""

    def update(self, chunk: Buffer) -> object:
        """Take the next bytes in."""

    def finish(self) -> None:
        """Say that they were all.

        Raises:
            Refused: they are not what they should be.
        """


class Inspector(Protocol):
    """Looks at a body that is there as a whole."""

    def inspect(self, content: bytes | Path) -> None:
        """Look, on a thread.

        Raises:
            Refused: it is not what it should be.
        """


class Intake:
    """Takes one body in, a chunk at a time. Whoever gives up half-way calls `discard`.

    Args:
        directory: where the file of a long body is made.
        run: runs what blocks on a thread.
        checks: see every byte, in order; long pieces on a thread.
        decode: makes content of a body that is sent in some wrapping, piece by piece.
    """

    def __init__(
        self,
        directory: Path,
        run: Callable[..., Awaitable[Any]],
        checks: Sequence[Check] = (),
        decode: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._directory, self._run, self._checks, self._decode = directory, run, checks, decode
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._file: FileIO | None = None
        self._path = ""

    async def take(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refused: a check says no.
            OSError: the file takes no more.
        """
        content = chunk if self._decode is None else self._decode(chunk)
        self._parts.append(content)
        self._held_bytes += len(content)
        if self._held_bytes > _IN_MEMORY_BYTES:
            if self._file is None:
                fd, self._path = tempfile.mkstemp(prefix="upload-", dir=self._directory)
                self._file = os.fdopen(fd, "wb", buffering=0)
            await self._drain()

    async def finish(self) -> bytes | Path:
        """The content, complete: in memory, or the file that holds it, which is the caller's from now on.

        Raises:
            Refused: a check says no.
            OSError: the file takes no more.
        """
        rest = await self._drain()
        for check in self._checks:
            check.finish()
        if self._file is None:
            return rest
        self._file.close()
        return Path(self._path)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            self._file.close()
            os.unlink(self._path)

    async def _drain(self) -> bytes:
        """Have what came checked, on a thread where that may take long, and begin anew."""
        parts, self._parts, self._held_bytes = self._parts, [], 0
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if not self._checks and self._file is None:
            return data
        if len(data) > _INLINE_BYTES:
            await self._run(_feed, self._checks, data, self._file)
        else:
            _feed(self._checks, data, self._file)
        return data


def _feed(checks: Sequence[Check], data: bytes, file: FileIO | None) -> None:
    """Show bytes to all checks, then write them."""
    for check in checks:
        check.update(data)
    rest = memoryview(data)
    while file is not None and rest:
        rest = rest[file.write(rest) :]
