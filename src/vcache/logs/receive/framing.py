"""Streams of bytes into lines and syslog messages. It must not know what they say.

How a stream was cut changes nothing, and each byte is looked at once: what waits for its end is not
searched again.
"""

from __future__ import annotations

from typing import Final

from vcache.logs.receive.base import MESSAGE_BYTES

__all__ = ["LineFramer", "SyslogFramer"]

_COUNT_DIGITS: Final = 9


class LineFramer:
    """Whole lines of a stream.

    A line longer than `most_bytes` comes as pieces of that length: whoever sees one of `most_bytes` or
    more sees a part.
    """

    def __init__(self, most_bytes: int = MESSAGE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """The lines that are whole, each with its newline; b"" for none."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._wait(data)
            return self._cut(b"", 0) if self._waiting_bytes >= self._most_bytes else b""
        block = b"".join([*self._waiting, data[:end]]) if self._waiting else data[:end]
        self._waiting, self._waiting_bytes = [], 0
        self._wait(data[end:])
        if len(block) <= self._most_bytes and self._waiting_bytes < self._most_bytes:
            return block
        return self._cut(block, len(block))

    def end(self) -> bytes:
        """What was left, with a newline that was not there; b"" for nothing."""
        block = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        return block + b"\n" if block else b""

    def _wait(self, data: bytes) -> None:
        if data:
            self._waiting.append(data)
            self._waiting_bytes += len(data)

    def _cut(self, block: bytes, _: int) -> bytes:
        """The block with newlines where lines are too long, and those parts of what waits."""
        most = self._most_bytes
        found: list[bytes] = []
        for line in block.split(b"\n")[:-1]:
            whole = range(0, max(len(line) - 1, 0) // most * most, most)
            found += [line[at : at + most] for at in whole]
            found.append(line[len(whole) * most :])
        rest = b"".join(self._waiting)
        parts = max(len(rest) - 1, 0) // most  # a line of just that length may end here
        found += [rest[at * most : (at + 1) * most] for at in range(parts)]
        self._waiting, self._waiting_bytes = [], 0
        self._wait(rest[parts * most :])
        return b"".join([line + b"\n" for line in found])


class SyslogFramer:
    """Messages of a TCP stream as RFC 6587 has them: counted, or up to a newline or NUL; mixed.

    https://www.rfc-editor.org/rfc/rfc6587#section-3.4. A message begins with a count when it has digits,
    a space and "<"; what is counted may hold newlines.
    """

    def __init__(self, most_bytes: int = MESSAGE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._data = bytearray()
        # Up to where there is no newline and no NUL behind what was taken: each byte is searched once,
        # also where one of the two never comes.
        self._clear = {b"\n": 0, b"\0": 0}

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole, without what frames them."""
        if not self._data and _is_lines(data) and len(data) <= self._most_bytes:
            return [line for line in data.replace(b"\r\n", b"\n").split(b"\n") if line]
        self._data += data
        found: list[bytes] = []
        at = 0
        while (piece := self._next(at)) is not None:
            begin, end, at = piece
            if end > begin:
                found.append(bytes(self._data[begin:end]))
        if at:
            del self._data[:at]
            self._clear = {mark: max(clear - at, 0) for mark, clear in self._clear.items()}
        return found

    def end(self) -> list[bytes]:
        """What was left."""
        left = bytes(self._data).strip(b"\r\n\0")
        self._data.clear()
        self._clear = {b"\n": 0, b"\0": 0}
        return [left] if left else []

    def _next(self, at: int) -> tuple[int, int, int] | None:
        """Where the message at a place begins and ends, and where the next one begins; None to wait."""
        data = self._data
        if at >= len(data):
            return None
        counted = self._counted(at) if 0x31 <= data[at] <= 0x39 else (0, 0)
        if counted is None:
            return None
        begin, count = counted
        if count:
            return (begin, begin + count, begin + count) if len(data) >= begin + count else None
        return self._line(at)

    def _counted(self, at: int) -> tuple[int, int] | None:
        """Where a counted message begins and how long it is; (0, 0) for a line, None to wait."""
        data = self._data
        end = data.find(b" ", at, at + _COUNT_DIGITS + 1)
        if end < 0:
            head = data[at : at + _COUNT_DIGITS + 1]
            return None if len(head) <= _COUNT_DIGITS and head.isdigit() else (0, 0)
        if not data[at:end].isdigit():
            return 0, 0
        if end + 1 >= len(data):
            return None
        count = int(data[at:end])
        if data[end + 1] != 0x3C or count > self._most_bytes:
            return 0, 0
        return end + 1, count

    def _line(self, at: int) -> tuple[int, int, int] | None:
        newline, nul = self._find(b"\n", at), self._find(b"\0", at)
        end = newline if nul < 0 or 0 <= newline < nul else nul
        longest = at + self._most_bytes
        if end > longest or (end < 0 and len(self._data) > longest):
            return at, longest, longest
        if end < 0:
            return None
        stop = end - 1 if end > at and self._data[end - 1] == 0x0D else end
        return at, stop, end + 1

    def _find(self, mark: bytes, at: int) -> int:
        found = self._data.find(mark, max(at, self._clear[mark]))
        self._clear[mark] = len(self._data) if found < 0 else found
        return found


def _is_lines(data: bytes) -> bool:
    """Whether these are whole lines that begin as syslog does: no count, no NUL, nothing to wait for."""
    return (
        data[:1] == b"<"
        and data[-1:] == b"\n"
        and data.count(b"\n<") == data.count(b"\n") - 1
        and b"\0" not in data
    )
