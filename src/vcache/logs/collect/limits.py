"""How much a collector takes, and for how long it waits. Frozen data."""

from __future__ import annotations

from vcache.errors import UsageError
from vcache.kit.data import dataclass, names_of

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a collector.

    Attributes:
        queue_records, queue_bytes: what waits for the store, together with what it is given at the moment.
        batch_records, batch_bytes: the most that is appended at once. As records, lines take ten times their
            length, so this bounds the memory; more of them at once are no faster.
        partial_bytes: what all connections together may have sent of lines that have no end yet.
        rate_per_s: lines of one peer, on average; 0 for any number. A peer is an address, or a connection.
        burst: lines of one peer at once; what a second brings when 0.
        connections: open at once; `peer_connections` of them to one address.
        idle_s: a connection that sends nothing for so long is closed.
        stall_s: … and one that sends no end of a line that it began; what it sent of it is kept.
        handshake_s: … and one that does not finish its handshake.
        say_every_s: how often it is said what was dropped.
        retry_most_s: the longest wait between two tries of a store that fails.
        receive_bytes: the buffer of the kernel for datagrams: what comes while we are busy waits there.
    """

    queue_records: int = 131_072
    queue_bytes: int = 32 << 20
    batch_records: int = 8_192
    batch_bytes: int = 8 << 20
    partial_bytes: int = 64 << 20
    rate_per_s: float = 0.0
    burst: float = 0.0
    connections: int = 512
    peer_connections: int = 512
    idle_s: float = 3_600.0
    stall_s: float = 60.0
    handshake_s: float = 10.0
    say_every_s: float = 10.0
    retry_most_s: float = 5.0
    receive_bytes: int = 32 << 20

    def __post_init__(self) -> None:
        for name in names_of(Limits):
            value = getattr(self, name)
            least = 0 if name in {"rate_per_s", "burst"} else 1e-3
            if not value >= least:
                raise UsageError(f"limits of a collector: {name}={value!r}: give a number above zero")
