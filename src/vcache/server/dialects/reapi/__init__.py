"""Bazel's Remote Execution API over gRPC, as a cache: what Bazel, moon, Buck2, Pants and recc speak.

listener ─▶ calls (who asks, what it came to) ─▶ actions, contents, streams ─▶ Vault
"""

from __future__ import annotations

from vcache.server.dialects.reapi.listener import Listener, start

__all__ = ["Listener", "start"]
