"""Between those who say something and the store that keeps it: a bounded queue, one thread that commits, listeners.

What was acknowledged survives a power loss; what was dropped is counted and said. It must not know the
directories of stores, nor what a query is; threads and sockets, no asyncio.
"""

from __future__ import annotations

from vcache.logs.collect.collector import Collector
from vcache.logs.collect.limits import Limits
from vcache.logs.collect.parcels import Ticket

__all__ = ["Collector", "Limits", "Ticket"]
