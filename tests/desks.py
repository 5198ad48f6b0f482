"""What a server's desk needs where there is no server: a way to run what blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["on_thread"]

T = TypeVar("T")


async def on_thread(work: Callable[..., T], *arguments: object) -> T:
    """What blocks, off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
