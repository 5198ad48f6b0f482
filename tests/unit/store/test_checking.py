"""What a network store finds damaged, and who can see it."""

from __future__ import annotations

import threading
from pathlib import Path

from vcache.store.address import Options, parse_url
from vcache.store.checking import Damaged, damaged_of
from vcache.store.memory import MemoryStore
from vcache.store.sealed import sealing
from vcache.store.sealed.keys import secret_text, write_secret


def test_no_count_is_lost() -> None:
    """Threads that count at once are all counted."""
    damaged = Damaged()

    def work() -> None:
        for _ in range(2000):
            damaged.add()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert damaged.count == 8000


def test_a_store_that_counts_nothing_has_none() -> None:
    """Memory of this process is not damaged."""
    assert damaged_of(MemoryStore()).count == 0


def test_seals_do_not_hide_it(tmp_path: Path) -> None:
    """The count of a store is seen through what seals its records."""

    class Counting(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.damaged = Damaged()

    inner = Counting()
    file = str(tmp_path / "key")
    write_secret(file, secret_text(bytes(32)))
    url = parse_url(f"far:x?encrypt={file}")
    seal = sealing(url, Options(url))
    assert seal is not None
    assert damaged_of(seal(inner)) is inner.damaged
