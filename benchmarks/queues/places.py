"""Where queues of benchmarks are, and what the processes that work on them take."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from tests.servers import RedisServer, redis_server

__all__ = ["address_of", "durable_redis", "family", "peak_mb"]


def durable_redis(directory: Path) -> AbstractContextManager[RedisServer]:
    """A server that appends what it does to a file, synced every second."""
    return redis_server(directory, "--appendonly", "yes", "--appendfsync", "everysec")


def address_of(server: RedisServer, number: int = 0) -> str:
    """One of its databases."""
    return f"redis://127.0.0.1:{server.port}/{number}"


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def peak_mb(pid: int) -> float:
    """The most that was resident of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000
