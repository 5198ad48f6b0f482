"""Records moved between stores, and to and from files: only what is missing.

It knows stores by their protocols, and how a result tells its outputs; nothing of addresses, caches
and commands.
"""

from __future__ import annotations

from vcache.transfer.archive import Writer, receive
from vcache.transfer.choosing import Pace, everything, outputs_of, tagged, with_referents
from vcache.transfer.moving import Lost, Report, StoreSink, send

__all__ = [
    "Lost",
    "Pace",
    "Report",
    "StoreSink",
    "Writer",
    "everything",
    "outputs_of",
    "receive",
    "send",
    "tagged",
    "with_referents",
]
