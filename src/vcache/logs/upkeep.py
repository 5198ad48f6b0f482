"""Keeps the directory of a log store in order: seals, merges, drops, verifies, mends.

One lock for all of it, `seal.lock`, whichever process holds it. It must not know queries and followers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from vcache.errors import DecodeError, StoreBusy, StoreError, UsageError
from vcache.kit.clock import Clock
from vcache.logs.dropping import Dropped, purge, retain
from vcache.logs.following import Background
from vcache.logs.ids import MOST_SEQUENCES
from vcache.logs.record import Record
from vcache.logs.retention import Rules
from vcache.logs.sealed import SUFFIX, Sealed
from vcache.logs.sealing import Sealer, SealReport
from vcache.logs.shipping import Shipping, is_sound
from vcache.logs.tail.writer import TailWriter

__all__ = ["Upkeep", "translated"]


class Upkeep:
    """See the module. Threads and processes: any; they take turns.

    Args:
        directory: of the store.
        sealed: its segments.
        writer: of the tail that is this store's own.
        shipping: keeps copies of segments elsewhere.
        is_asked: whether there is so much in tails that it is sealed without being asked for.
    """

    def __init__(
        self, directory: Path, sealed: Sealed, writer: TailWriter, *, shipping: Shipping | None, clock: Clock
    ) -> None:
        self._directory = directory
        self._sealed = sealed
        self._writer = writer
        self._shipping = shipping
        self._clock = clock
        self._sealer = Sealer(directory, sealed, keep=None if shipping is None else shipping.keep)
        self.background = Background(self._seal_quietly)

    def write(self, stream: int, pieces: Iterable[Sequence[Record]]) -> int:
        """Make a segment of records; how many there were.

        Raises:
            StoreError: it could not be written; nothing of it is kept.
        """
        from vcache.logs.segment import SegmentWriter  # NumPy, which small appends have no need of

        count, temporary = 0, self._sealer.temporary()
        with self._translating(), SegmentWriter(temporary) as writer:
            for piece in pieces:
                writer.add(stream, count, piece, seen_ns=self._clock())
                count += len(piece)
                if count > MOST_SEQUENCES:
                    raise UsageError(f"more than {MOST_SEQUENCES} records in one append")
            self._sealer.place(temporary, writer.finish())
        return count

    def seal(self, *, timeout_s: float | None) -> SealReport:
        """See `DiskLogs.seal`."""
        self._writer.rotate()
        with self._translating():
            return self._sealer.seal(timeout_s=timeout_s)

    def retain(self, rules: Rules, *, timeout_s: float | None) -> Dropped:
        """See `DiskLogs.retain`."""
        self.seal(timeout_s=timeout_s)
        with self._translating(), self._sealer.lock.held(timeout_s):
            return retain(self._sealer, self._sealed, rules, now_ns=self._clock(), mend=self.mend)

    def purge(self, source: str | None, before_ns: int | None, *, timeout_s: float | None) -> Dropped:
        """See `DiskLogs.purge`."""
        if source is None and before_ns is None:
            raise UsageError("a purge of everything: give a source, a time, or both")
        self.seal(timeout_s=timeout_s)
        with self._translating(), self._sealer.lock.held(timeout_s):
            return purge(self._sealer, self._sealed, source, before_ns)

    def verify(self, *, repair: bool) -> Iterator[tuple[str, str | None]]:
        """See `DiskLogs.verify`."""
        for digest in sorted(self._sealed.names()):
            path = self._directory / "segments" / (digest.hex() + SUFFIX)
            try:
                fault = None if is_sound(digest, path) else "its bytes are not what was written"
            except StoreError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue  # replaced meanwhile
                fault = str(error)
            if fault is not None and repair and self.mend(digest):
                fault = None
            yield f"segments/{path.name}", fault

    def mend(self, digest: bytes) -> bool:
        """Fetch a damaged segment anew; whether it is sound then."""
        if self._shipping is None:
            return False
        path = self._directory / "segments" / (digest.hex() + SUFFIX)
        if not self._shipping.fetch(digest, path, temporary=self._sealer.temporary()):
            return False
        self._sealed.forget(digest)
        return True

    def _seal_quietly(self, go_on: Callable[[], bool]) -> None:
        try:
            self._sealer.seal(timeout_s=0, go_on=go_on)
        except StoreBusy:
            pass  # somebody else does it
        except Exception as error:  # the last resort of a thread: appends go on, unsealed
            from vcache.kit.logs import logger

            logger("vcache.logs").warning("%s: tails are not sealed: %s", self._directory, error)

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise translated(error, self._directory) from error
        except DecodeError as error:
            raise StoreError(str(error)) from error


def translated(error: OSError, path: Path) -> StoreError:
    """What an error of the system is to who uses a store."""
    from vcache.store.disk.trouble import translate  # what goes well has no need of a store's engine

    return translate(error, path)
