"""A log store that a server has: `vcache serve` keeps it, this asks for it over its REST.

    RemoteLogs ──rows.py (JSON ⇄ rows)──▶ wire.py (requests, streams of lines)

Nothing beyond the core install. It must not know how the server works.
"""

from __future__ import annotations

from vcache.logs.remote.store import RemoteLogs

__all__ = ["RemoteLogs"]
