"""A queue of jobs in a Redis server, for many machines. Its keys: docs/design/jobs-redis.md."""

from __future__ import annotations

from vcache.jobs.redis.queue import RedisQueue

__all__ = ["RedisQueue"]
