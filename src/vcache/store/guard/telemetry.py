"""What happened at a remote since its store was opened, for metrics."""

from __future__ import annotations

from vcache.kit.data import dataclass

__all__ = ["Counts", "Telemetry"]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Counts of one process.

    Attributes:
        hits, misses: of keys that were asked for.
        unasked: misses for which the remote was not asked: the breaker was open, or the bandwidth used up.
        read_bytes, sent_bytes: heads and bodies that came and went.
        faults: operations that failed.
        opens: how often this process has opened the breaker.
        corrupt: records that were damaged, or another key's.
        refused: records that are not trusted.
        spooled: puts and deletions that were written to the spool.
        sent: those that the remote has taken.
        dropped: those that were given up: no room, too large, or refused for good.
        waited_s: seconds that were spent waiting for answers, of all threads together.
    """

    hits: int
    misses: int
    unasked: int
    read_bytes: int
    sent_bytes: int
    faults: int
    opens: int
    corrupt: int
    refused: int
    spooled: int
    sent: int
    dropped: int
    waited_s: float


class Counts:
    """The same, while it is counted. Threads add without a lock: CPython switches at calls and jumps only."""

    __slots__ = (
        "corrupt", "dropped", "faults", "hits", "misses", "opens", "read_bytes", "refused", "sent",
        "sent_bytes", "spooled", "unasked",
    )  # fmt: skip

    def __init__(self) -> None:
        self.hits = self.misses = self.unasked = 0
        self.read_bytes = self.sent_bytes = 0
        self.faults = self.opens = self.corrupt = self.refused = 0
        self.spooled = self.sent = self.dropped = 0

    def snapshot(self, *, sent: int, opens: int, waited_s: float) -> Telemetry:
        """What was counted so far.

        Args:
            sent, opens, waited_s: what others have counted.
        """
        return Telemetry(
            hits=self.hits,
            misses=self.misses,
            unasked=self.unasked,
            read_bytes=self.read_bytes,
            sent_bytes=self.sent_bytes,
            faults=self.faults,
            opens=self.opens + opens,
            corrupt=self.corrupt,
            refused=self.refused,
            spooled=self.spooled,
            sent=self.sent + sent,
            dropped=self.dropped,
            waited_s=waited_s,
        )
