"""Clocks of queues, moved by tests."""

from __future__ import annotations

from vcache.jobs.base import Queue
from vcache.jobs.redis import RedisQueue

__all__ = ["move_redis_clock"]


def move_redis_clock(queue: Queue, seconds: float) -> None:
    """Let time pass on a queue in Redis.

    As who finds that the server's clock has jumped: the epoch says that all others are to believe it.
    """
    assert isinstance(queue, RedisQueue)
    _, epoch = queue._move_clock(b"", 0)
    queue._move_clock(epoch, round(seconds * 1e6))
    queue._move_clock(b"", 0)
