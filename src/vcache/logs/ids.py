"""Ids of records: a stream and a sequence in it, together a UUIDv7 (docs/design/logs.md).

A stream is a number of 128 bits whose lowest 32 are zero; a record's id is the stream plus its sequence.
Time and randomness are parameters. It must not know where records are.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import Final

from vcache.errors import UsageError
from vcache.kit.clock import Clock
from vcache.kit.ids import RandomBits, system_bits

__all__ = [
    "MOST_SEQUENCES", "Streams", "id_of", "ids_from", "new_stream", "next_stream", "parse_id", "parse_stream",
    "stream_name",
]  # fmt: skip

MOST_SEQUENCES: Final = 1 << 32
_LOW: Final = MOST_SEQUENCES - 1
_MS: Final = 1_000_000  # nanoseconds
_FORM: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_NAME: Final = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{7}0{8}")


def new_stream(clock: Clock = time.time_ns, random_bits: RandomBits = system_bits) -> int:
    """A stream that nobody else has: 48 bits of milliseconds, version and variant, 42 random bits."""
    ms = clock() // _MS & (1 << 48) - 1
    drawn = random_bits(42)
    return ms << 80 | 7 << 76 | (drawn >> 30) << 64 | 2 << 62 | (drawn & (1 << 30) - 1) << 32


class Streams:
    """Draws streams that rise strictly, also within a millisecond and where the clock goes back. Threads: any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the last one
        self._last = 0  # 48 bits of milliseconds and 42 others

    def __call__(self, clock: Clock = time.time_ns, random_bits: RandomBits = system_bits) -> int:
        """The next one."""
        drawn = (clock() // _MS & (1 << 48) - 1) << 42 | random_bits(42)
        with self._lock:
            if drawn <= self._last:
                drawn = self._last + 1 + random_bits(24)
            self._last = drawn
        ms, bits = drawn >> 42, drawn & (1 << 42) - 1
        return new_stream(lambda: ms * _MS, lambda _: bits)


next_stream = Streams()
"""Those of this process."""


def _after_fork_in_child() -> None:
    # The parent goes on from the same state, and its lock may be held by a thread that is gone here.
    Streams.__init__(next_stream)


os.register_at_fork(after_in_child=_after_fork_in_child)


def id_of(stream: int, seq: int) -> str:
    """The id of a record, as text."""
    digits = f"{stream | seq:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def ids_from(stream: int, first_seq: int, count: int) -> list[str]:
    """The ids of records that follow each other."""
    head = id_of(stream, 0)[:-8]
    return [f"{head}{seq:08x}" for seq in range(first_seq, first_seq + count)]


def parse_id(text: str) -> tuple[int, int]:
    """The stream and the sequence of an id.

    Raises:
        UsageError: that is no id.
    """
    known = text.strip().lower()
    if not _FORM.fullmatch(known):
        raise UsageError(
            f"not the id of a record: {text!r:.80}; give a UUID of version 7, as `@id` of a record has it"
        )
    number = int(known.replace("-", ""), 16)
    return number & ~_LOW, number & _LOW


def stream_name(stream: int) -> str:
    """A stream as files are named by it: 32 hexadecimal digits."""
    return f"{stream:032x}"


def parse_stream(name: str) -> int | None:
    """The stream that a file is named by; None for what is no such name."""
    return int(name, 16) if _NAME.fullmatch(name) else None
