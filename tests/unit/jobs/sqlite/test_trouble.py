"""What is said of SQLite's and the system's errors."""

from __future__ import annotations

import errno

import apsw
import pytest

from vcache.errors import StoreBusy, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from vcache.jobs.sqlite.trouble import Trouble


def sqlite_error(kind: type[Exception], extended: str = "SQLITE_IOERR_READ") -> Exception:
    error = kind("it is so")
    error.extendedresult = apsw.mapping_extended_result_codes[extended]  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite_error(apsw.FullError), StoreFull),
        (sqlite_error(apsw.BusyError), StoreBusy),
        (sqlite_error(apsw.ReadOnlyError), StoreReadOnly),
        (sqlite_error(apsw.IOError), StoreUnavailable),
        (sqlite_error(apsw.NoMemError), StoreUnavailable),
        (OSError(errno.ENOSPC, "full"), StoreFull),
        (OSError(errno.EMFILE, "too many"), StoreFull),
        (OSError(errno.EROFS, "read-only"), StoreReadOnly),
        (OSError(errno.EIO, "broken"), StoreUnavailable),
        (OSError(errno.ENOTDIR, "not a directory", "/jobs"), StoreError),
        (MemoryError(), StoreUnavailable),
    ],
)
def test_each_error_names_the_file_and_says_whether_a_retry_helps(
    error: Exception, kind: type[StoreError]
) -> None:
    """An error becomes the one of ours that says what to do, and names the file."""
    said = Trouble("/jobs/default.db").said(error)
    assert type(said) is kind
    assert "/jobs/default.db" in str(said)


@pytest.mark.parametrize("extended", ["SQLITE_IOERR_SHMMAP", "SQLITE_IOERR_SHMOPEN", "SQLITE_IOERR_SHMLOCK"])
def test_a_network_file_system_is_said(extended: str) -> None:
    """Where memory cannot be shared, no retry helps: the message says where a queue can be."""
    said = Trouble("/jobs/default.db").said(sqlite_error(apsw.IOError, extended))
    assert not said.retryable
    assert "keep it on a local disk, or use redis://" in str(said)


def test_other_errors_pass() -> None:
    """What is neither SQLite's nor the system's is not touched."""
    with pytest.raises(KeyError), Trouble("/jobs/default.db"):
        raise KeyError
