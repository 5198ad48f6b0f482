"""Who a worker is, for people and for who watches over it. It must not load what works."""

from __future__ import annotations

import os
import socket

__all__ = ["worker_name"]


def worker_name(pid: int = 0, name: str = "") -> str:
    """Who a worker is: a name, by default this machine's, and its process, by default this one."""
    return f"{name or socket.gethostname()}/{pid or os.getpid()}"
