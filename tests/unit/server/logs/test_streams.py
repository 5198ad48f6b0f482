"""Answers made on a thread: in order, no faster than they are taken, and no longer than they are wanted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.patience import until
from vcache.server.logs.streams import Stop, streamed


def run(work: Callable[[ThreadPoolExecutor], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with ThreadPoolExecutor(1) as pool:
            async with asyncio.timeout(60):
                await work(pool)

    asyncio.run(bounded())


def test_pieces_come_in_order() -> None:
    """All of them, and then the end."""

    async def work(pool: ThreadPoolExecutor) -> None:
        pieces = [b"%d" % n for n in range(100)]
        assert [piece async for piece in streamed(lambda: iter(pieces), Stop(60), pool)] == pieces

    run(work)


def test_an_error_comes_after_what_was_made() -> None:
    """What the work raises reaches whoever takes the pieces."""

    def broken() -> Iterator[bytes]:
        yield b"1"
        raise ValueError("no more")

    async def work(pool: ThreadPoolExecutor) -> None:
        found: list[bytes] = []

        async def take() -> None:
            found.extend([piece async for piece in streamed(broken, Stop(60), pool)])

        with pytest.raises(ValueError, match="no more"):
            await take()

    run(work)


def test_work_that_nobody_waits_for_ends() -> None:
    """It is a few pieces ahead at most, and stops when it is told that nobody takes them."""
    made: list[int] = []
    has_ended = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            for number in range(10**9):
                made.append(number)
                yield b"x"
        finally:
            has_ended.set()

    async def work(pool: ThreadPoolExecutor) -> None:
        stop = Stop(60)
        pieces = streamed(endless, stop, pool)
        await anext(pieces)
        await asyncio.to_thread(until, lambda: len(made) >= 5)
        assert len(made) < 10
        stop.give_up()
        assert [piece async for piece in pieces]  # what was made, and no error
        await asyncio.to_thread(has_ended.wait, 60)

    run(work)
    assert has_ended.is_set()
