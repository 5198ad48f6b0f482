"""Records as values of a Redis server, over TCP, TLS or a unix socket."""

from __future__ import annotations

from vcache.store.redis.opening import open_url, prepare
from vcache.store.redis.store import RedisStore

__all__ = ["RedisStore", "open_url", "prepare"]
