"""Answers that are made on a thread and go out as they are made: no faster than they are taken.

A client that goes away, or a deadline, ends the work. It must not know what is answered.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import Final

from vcache.kit.deadlines import Within

__all__ = ["Stop", "Stopped", "streamed"]

_AHEAD: Final = 4  # pieces that are made before the first of them was taken


class Stopped(Exception):
    """Nobody waits for the rest."""


class Stop:
    """Says whether work is still wanted.

    Args:
        seconds: how long it is.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end_s = time.monotonic() + seconds
        self.is_unwanted = False

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.end_s

    def give_up(self) -> None:
        """Say that it is not."""
        self.is_unwanted = True

    def look(self) -> None:
        """Nothing, as long as somebody waits.

        Raises:
            Stopped: nobody does.
        """
        if self.is_unwanted:
            raise Stopped


async def streamed(
    work: Callable[[], Iterator[bytes]], stop: Stop, executor: Executor
) -> AsyncIterator[bytes]:
    """What an iterator gives on a thread, piece by piece.

    Raises:
        Exception: what the iterator raised, after what it gave before.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def hand(piece: bytes | BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)
        except RuntimeError:  # the loop has ended
            stop.is_unwanted = True

    def run() -> None:
        try:
            with Within(max(0.0, stop.end_s - time.monotonic())):
                for piece in work():
                    hand(piece)
                    while not room.acquire(timeout=0.2):
                        stop.look()
                    stop.look()
        except Stopped:
            hand(None)
        except BaseException as error:  # whoever takes the pieces is told
            hand(error)
        else:
            hand(None)

    executor.submit(run)
    try:
        while True:
            piece = await pieces.get()
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            room.release()
            yield piece
    finally:
        stop.is_unwanted = True
