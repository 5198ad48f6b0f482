"""The queue that needs no server: a SQLite file, durable at every acknowledgement."""

from vcache.jobs.sqlite.queue import SqliteQueue

__all__ = ["SqliteQueue"]
