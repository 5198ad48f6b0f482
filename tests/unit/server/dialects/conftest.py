from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.server.dialects.asking import Asker
from vcache.server.dialect import Dialect
from vcache.store.disk import DiskStore


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Callable[[Dialect], Asker]]:
    """Makes who asks a dialect, over an empty store."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    store = DiskStore(tmp_path / "cache")
    yield lambda dialect: Asker(dialect, store, uploads)
    assert list(uploads.iterdir()) == [], "an upload was left behind"
    store.close()
