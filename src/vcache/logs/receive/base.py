"""What all parsers of logs give, and what is asked of them. It must not know sockets, nor who sent what.

1. Nothing that came in a well-framed message is refused for its content: what cannot be read as the
   format is a record with the text as its message, marked `Mark.UNPARSED`.
2. A time that cannot be read is the time at which it was seen, marked `Mark.NO_TIME`.
3. The one error is a `UsageError`, for a body that is no such format at all.
4. How a stream was cut into pieces changes nothing of what it gives.
"""

from __future__ import annotations

from typing import Final, Protocol

from vcache.kit.data import NamedTuple
from vcache.logs.record import Mark, Record

__all__ = ["MESSAGE_BYTES", "NOTHING", "Format", "Parsed", "Rejection", "Stream", "as_text", "unparsed"]

MESSAGE_BYTES: Final = 32 << 20
"""The longest line or message of a stream: what is longer comes as several, marked `Mark.CUT`."""


class Rejection(NamedTuple):
    """A part of a body that became no record: where it is, and what is wrong."""

    place: str
    reason: str


class Parsed(NamedTuple):
    """What bytes gave. `rejected` is for the answer to who sent them."""

    records: list[Record]
    rejected: list[Rejection]


NOTHING: Final = Parsed([], [])
"""Of no bytes. Not to be changed."""


class Stream(Protocol):
    """Parses what comes piece by piece. One thread at a time."""

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        """The records that are whole with these bytes."""

    def flush(self, *, now_ns: int) -> list[Record]:
        """What waits for lines that may belong to it: for when nothing came for a while."""

    def end(self, *, now_ns: int) -> list[Record]:
        """What was left when the stream ended, whole or not."""


class Format(Protocol):
    """A format by its name.

    Args of both: `source` is that of records which say none.
    """

    @property
    def name(self) -> str: ...

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        """The records of a whole body.

        Raises:
            UsageError: it is no such format at all.
        """

    def stream(self, *, source: str = "") -> Stream:
        """A parser of a stream. Of formats that have bodies only, it waits for the end, or takes one a line."""


def as_text(data: bytes) -> str:
    """Bytes as a record has them: what is no UTF-8 is lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def unparsed(text: str, now_ns: int, source: str, *, level: int = 0, marks: int = 0) -> Record:
    """The record of what is not as announced."""
    return Record(now_ns, level, source, text, {}, Mark.UNPARSED | Mark.NO_TIME | marks)
