"""The access log: a line of JSON for each request, for some, or for none.

It never sees a header: no token can get into it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Final, TextIO

__all__ = ["AccessLog"]

_EVERY: Final = 100


class AccessLog:
    """Writes lines about requests.

    Args:
        mode: "off", "all", or "sampled": one of a hundred, and all that failed on our side.
        stream: where to.
    """

    def __init__(self, mode: str, stream: TextIO = sys.stderr) -> None:
        self.mode = mode
        self._stream = stream
        self._seen = 0

    def wants(self, status: int) -> bool:
        """Whether a request is to be written down."""
        if self.mode == "off":
            return False
        self._seen += 1
        return self.mode == "all" or status >= 500 or self._seen % _EVERY == 0

    def write(
        self,
        *,
        method: str,
        path: str,
        status: int,
        dialect: str,
        outcome: str,
        token: str,
        namespace: str,
        client: object,
        in_bytes: int,
        out_bytes: int,
        took_ns: int,
    ) -> None:
        """Write a line. The token is its id, the path is without its query."""
        line = {
            "at_ns": time.time_ns(),
            "client": client[0] if isinstance(client, tuple) and client else "",
            "method": method,
            "path": path,
            "status": status,
            "dialect": dialect,
            "outcome": outcome,
            "token": token,
            "namespace": namespace,
            "in_bytes": in_bytes,
            "out_bytes": out_bytes,
            "took_us": took_ns // 1000,
        }
        try:
            self._stream.write(json.dumps(line, ensure_ascii=True) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.mode = "off"  # nobody reads it: to serve matters more
