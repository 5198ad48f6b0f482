"""Opens a queue's file: sees that it is one of ours, of a format that is known, and sets how it is used.

It must not know what is in the tables.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import FormatError, StoreError
from vcache.jobs.sqlite.library import apsw
from vcache.jobs.sqlite.schema import APPLICATION_ID, TABLES, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["connect", "prepare"]

_BUSY_MS: Final = 5_000  # for other programs: our own wait at the turnstile
_CACHE_KIB: Final = 8 << 10
_KEPT_LOG_BYTES: Final = 64 << 20


def connect(path: str, *, is_reader: bool = False) -> Any:
    """A connection to a file that `prepare` has seen.

    Raises:
        apsw.Error: SQLite cannot.
    """
    sqlite = apsw()
    db = sqlite.Connection(path, flags=sqlite.SQLITE_OPEN_READWRITE, statementcachesize=200)
    try:
        # Closing must not stop the world: logs are seen to by `checkpoints`, also before a fork.
        db.config(sqlite.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.set_busy_timeout(_BUSY_MS)
        db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY")
        db.execute(f"PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit={_KEPT_LOG_BYTES}")
        if is_reader:
            db.execute("PRAGMA query_only=1")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def prepare(path: str, enter: Callable[[], None], leave: Callable[[], None]) -> None:
    """See to it that there is a file of our format, made by one process.

    Args:
        enter, leave: around what changes the file.

    Raises:
        FormatError: it is something else's, or of a newer format.
        apsw.Error: SQLite cannot.
    """
    sqlite = apsw()
    if not os.path.exists(path):
        _make_empty(path)
    db = sqlite.Connection(path, flags=sqlite.SQLITE_OPEN_READWRITE)
    try:
        db.config(sqlite.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.set_busy_timeout(_BUSY_MS)
        if _is_current(db, path):
            return
        enter()
        try:
            if not _is_current(db, path):
                _make_tables(db, path)
        finally:
            leave()
    finally:
        db.close()


def _make_empty(path: str) -> None:
    """An empty file whose name survives a power loss, with the permissions that a umask gives."""
    from vcache.kit.fs_atomic import sync_dir

    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666))
    directory = os.path.dirname(path)
    sync_dir(directory)
    sync_dir(os.path.dirname(directory))


def _is_current(db: Any, path: str) -> bool:
    """Whether the tables are there; False where the file is empty."""
    db.execute("BEGIN")  # one moment: another process may be making the tables
    try:
        application, version = db.pragma("application_id"), db.pragma("user_version")
        n_tables = db.execute("SELECT count(*) FROM sqlite_schema").get
    finally:
        db.execute("ROLLBACK")
    if application == APPLICATION_ID and version == VERSION:
        return True
    if application == APPLICATION_ID:
        raise FormatError(
            f"{path} is a queue of format {version}, this program reads {VERSION}. It is left as it is: use the newer "
            "program, or choose another directory or namespace"
        )
    if application or version or n_tables:
        raise FormatError(
            f"{path} is a database of something else. It is left as it is: choose another directory"
        )
    return False


def _make_tables(db: Any, path: str) -> None:
    if db.pragma("journal_mode", "wal") != "wal":
        raise StoreError(
            f"{path}: its file system has no memory shared between processes, which a queue needs: keep it on a local "
            "disk, or use redis:// for several machines"
        )
    db.execute("PRAGMA synchronous=FULL")
    with db:
        db.execute(TABLES)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION}")
