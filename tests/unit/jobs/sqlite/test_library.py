"""Which SQLite is taken."""

from __future__ import annotations

import sys

import pytest

from vcache.errors import ConfigError
from vcache.jobs.sqlite.library import apsw, refuse_older


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7.17"])
def test_an_older_sqlite_is_refused(version: str) -> None:
    """A SQLite with the WAL-reset bug is refused, with the remedy."""
    with pytest.raises(ConfigError, match=rf"SQLite {version}.*pip install -U 'apsw>=3\.51\.3'"):
        refuse_older(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.52", "3.100.0", "4.0.0"])
def test_a_mended_sqlite_is_taken(version: str) -> None:
    """Versions are compared as numbers."""
    refuse_older(version)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks apsw hears what to install."""
    apsw.cache_clear()
    monkeypatch.setitem(sys.modules, "apsw", None)
    try:
        with pytest.raises(ConfigError, match=r"pip install 'vcache\[jobs\]'"):
            apsw()
    finally:
        apsw.cache_clear()
