"""Identifiers: UUIDv7, Snowflake, and a stable name for this machine.

Time and randomness are parameters. It must not know what is identified.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from uuid import UUID

    from vcache.kit.clock import Clock

__all__ = [
    "RandomBits",
    "Snowflake",
    "SnowflakeInfo",
    "UuidGenerator",
    "UuidInfo",
    "inspect_snowflake",
    "inspect_uuid",
    "machine_id",
    "share_of",
    "system_bits",
    "uuid7",
]

RandomBits = Callable[[int], int]
"""Gives an int of that many random bits."""

SNOWFLAKE_EPOCH_MS: Final = 1_704_067_200_000  # 2024-01-01T00:00:00Z: 41 bits last until 2093
_WORKER_BITS: Final = 10
_SEQUENCE_BITS: Final = 12
_MS: Final = 1_000_000  # nanoseconds
_TAIL_BITS: Final = 74  # of a UUIDv7: 12 (rand_a) + 62 (rand_b)
_LOW: Final = (1 << 62) - 1
_VARIANT: Final = 0b10 << 62


@dataclass(frozen=True, slots=True)
class UuidInfo:
    """What a UUID tells. `created_ns` is None for versions that carry no Unix time."""

    version: int | None
    created_ns: int | None


@dataclass(frozen=True, slots=True)
class SnowflakeInfo:
    """What a Snowflake tells."""

    created_ns: int
    worker: int
    sequence: int


def system_bits(count: int) -> int:
    """That many bits of the system's randomness."""
    # os.urandom directly: the `secrets` module imports hmac and base64 for it.
    return int.from_bytes(os.urandom((count + 7) // 8), "big") >> (-count % 8)


class UuidGenerator:
    """Version 7 UUIDs (RFC 9562, section 5.7) that rise strictly within this generator.

    Of equal milliseconds, and when the clock goes back, the 74 bits behind the time count up by
    a random step (section 6.2, method 2), so that order is kept and the next one stays a secret.

    Threads: may be called from any thread.
    """

    def __init__(self, *, clock: Clock = time.time_ns, random_bits: RandomBits = system_bits) -> None:
        self._clock = clock
        self._random_bits = random_bits
        self._lock = threading.Lock()  # guards the two below
        self._ms = -1
        self._tail = 0

    def __call__(self) -> UUID:
        """The next one."""
        from uuid import UUID  # 2 ms, and no part of a cache hit needs it

        return UUID(int=self._draw())

    def text(self) -> str:
        """The next one, as `str` would have it."""
        digits = f"{self._draw():032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def texts(self, count: int) -> list[str]:
        """So many of the next ones, as `text` gives them: one look at the clock, randomness at once."""
        now_ms = self._clock() // _MS
        fresh = self._random_bits(_TAIL_BITS)
        steps = self._random_bits(32 * count) if count else 0
        with self._lock:
            if now_ms > self._ms:
                self._ms, self._tail = now_ms, fresh >> 1
            ms, tail = self._ms, self._tail
            tails = []
            for step in memoryview(steps.to_bytes(4 * count, "little")).cast("I"):
                tail += step + 1
                if tail >> _TAIL_BITS:
                    break  # 2⁷³ in one millisecond: the rest begins the next one
                tails.append(tail)
            if tails:
                self._tail = tail = tails[-1]
        head = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7"
        texts = []
        for each in tails:
            low = f"{each & _LOW | _VARIANT:016x}"
            texts.append(f"{head}{each >> 62:03x}-{low[:4]}-{low[4:]}")
        return texts if len(texts) == count else texts + [self.text() for _ in range(count - len(texts))]

    def _draw(self) -> int:
        now_ms = self._clock() // _MS
        drawn = self._random_bits(_TAIL_BITS + 32)  # at once: asking the system takes longer than all else
        fresh, step = drawn >> 32, (drawn & 0xFFFF_FFFF) + 1
        with self._lock:
            if now_ms > self._ms:
                # The top bit is left clear: room to count up within one millisecond.
                self._ms, self._tail = now_ms, fresh >> 1
            else:
                self._tail += step
                if self._tail >> _TAIL_BITS:
                    self._ms, self._tail = self._ms + 1, fresh >> 1
            ms, tail = self._ms, self._tail
        rand_a, rand_b = tail >> 62, tail & (1 << 62) - 1
        return ms << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b


class Snowflake:
    """64-bit ids: 41 bits of milliseconds since 2024, 10 bits of worker, 12 bits of sequence.

    Args:
        worker: 0 to 1023, different in every process that draws ids at the same time.

    Threads: may be called from any thread.

    Raises:
        UsageError: the worker does not fit.
    """

    def __init__(self, worker: int, *, clock: Clock = time.time_ns) -> None:
        if not 0 <= worker < 1 << _WORKER_BITS:
            raise UsageError(f"snowflake worker {worker!r} is not in 0 to {(1 << _WORKER_BITS) - 1}")
        self._worker = worker
        self._clock = clock
        self._lock = threading.Lock()  # guards the two below
        self._ms = -1
        self._sequence = 0

    def __call__(self) -> int:
        """The next one, above all before it, also when the clock went back.

        Raises:
            UsageError: the clock stands outside the 69 years from 2024 on.
        """
        now_ms = self._clock() // _MS - SNOWFLAKE_EPOCH_MS
        with self._lock:
            if now_ms > self._ms:
                self._ms, self._sequence = now_ms, 0
            else:
                # The 4097th of a millisecond borrows from the next one instead of waiting for it.
                carry, self._sequence = divmod(self._sequence + 1, 1 << _SEQUENCE_BITS)
                self._ms += carry
            ms, sequence = self._ms, self._sequence
        if not 0 <= ms < 1 << 41:
            raise UsageError("the clock stands outside 2024 to 2093: set it right before drawing ids")
        return (ms << _WORKER_BITS | self._worker) << _SEQUENCE_BITS | sequence


def inspect_uuid(value: UUID | str) -> UuidInfo:
    """The version of a UUID, and the time inside it for versions 1, 6 and 7.

    Raises:
        UsageError: not a UUID.
    """
    from uuid import UUID

    try:
        parsed = value if isinstance(value, UUID) else UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise UsageError(f"not a UUID: {value!r:.80}; give 32 hexadecimal digits") from None
    number = parsed.int
    created_ns = None
    if parsed.version == 7:
        created_ns = (number >> 80) * _MS
    elif parsed.version in (1, 6):
        # 100 ns ticks since the Gregorian reform (RFC 9562, section 5.1); version 6 has them in order.
        ordered = (number >> 80) << 12 | (number >> 64) & 0xFFF
        ticks = parsed.time if parsed.version == 1 else ordered
        created_ns = (ticks - 0x01B21DD213814000) * 100
    return UuidInfo(parsed.version, created_ns)


def inspect_snowflake(number: int) -> SnowflakeInfo:
    """The time, worker and sequence inside a Snowflake of ours.

    Raises:
        UsageError: negative or longer than 63 bits.
    """
    if not 0 <= number < 1 << 63:
        raise UsageError(f"not a snowflake: {number!r}; give a whole number of 63 bits")
    head, sequence = divmod(number, 1 << _SEQUENCE_BITS)
    ms, worker = divmod(head, 1 << _WORKER_BITS)
    return SnowflakeInfo((ms + SNOWFLAKE_EPOCH_MS) * _MS, worker, sequence)


@cache
def machine_id() -> str:
    """A stable name for this machine: 32 hexadecimal digits that do not give its identity away.

    From the id that systemd or D-Bus gave the installation; without one, from the host name
    and the network card.
    """
    source = ""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(path, encoding="ascii") as file:
                source = file.read().strip()
        except (OSError, UnicodeDecodeError):
            continue
        if source:
            break
    if not source:
        import uuid

        source = f"{os.uname().nodename}\0{uuid.getnode():012x}"
    # machine-id(5) asks for a keyed hash before the id leaves the machine.
    return _keyed_hash(source.encode(), size=16).hex()


def share_of(*words: str) -> float:
    """A number in [0, 1) that depends on nothing but those words, evenly spread."""
    joined = b"".join(len(word.encode()).to_bytes(4, "big") + word.encode() for word in words)
    # 53 bits: what a float holds without rounding up to 1.0.
    return (int.from_bytes(_keyed_hash(joined, size=8), "big") >> 11) / (1 << 53)


def _keyed_hash(data: bytes, *, size: int) -> bytes:
    import hashlib  # `vcache.hash` stands above this room; loading OpenSSL is left to who asks

    return hashlib.blake2b(data, digest_size=size, key=b"vcache 1").digest()


uuid7 = UuidGenerator()
"""The process's own generator: strictly rising over all threads."""


def _after_fork_in_child() -> None:
    # The parent goes on from the same state, and its lock may be held by a thread that is gone here.
    UuidGenerator.__init__(uuid7)


os.register_at_fork(after_in_child=_after_fork_in_child)
