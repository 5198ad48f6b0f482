"""How the log is kept short."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw

from tests.patience import until
from vcache.jobs.models import Spec
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.sqlite.checkpoints import Checkpointer
from vcache.jobs.sqlite.trouble import Trouble
from vcache.kit.ids import uuid7

PAGE = 4096


def specs(count: int) -> list[Spec]:
    return [Spec(uuid7.text(), "mill", {"pad": "x" * 200}) for _ in range(count)]


def test_the_log_stays_short_under_constant_load(tmp_path: Path) -> None:
    """While one writes and another reads without a pause, the log does not grow beyond its bound by much."""
    log = tmp_path / "default.db-wal"
    with SqliteQueue(tmp_path) as queue:
        queue._checkpointer._most_pages = 200
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                queue.stats()

        reader = threading.Thread(target=read)
        reader.start()
        n_written = 0
        for _ in range(150):
            queue.submit(specs(50))
            n_written += queue._writer._log_pages > 0
        is_over.set()
        reader.join()
        assert n_written == 150
        # What was written is several times that: the log was begun anew again and again.
        assert log.stat().st_size < 1200 * PAGE
        assert (tmp_path / "default.db").stat().st_size > 300 * PAGE


def test_an_idle_log_is_emptied(tmp_path: Path) -> None:
    """Some time after the last write, what the log took is given back."""
    log = tmp_path / "default.db-wal"
    with SqliteQueue(tmp_path) as queue:
        queue._checkpointer._most_pages, queue._checkpointer._idle_s = 20, 0.05
        queue.submit(specs(300))
        until(lambda: log.stat().st_size == 0)
        until(lambda: queue._checkpointer._thread is None)
        queue.submit(specs(300))
        assert queue.stats().waiting == {("mill", 2): 600}


def test_one_at_a_time(tmp_path: Path) -> None:
    """While another process brings the log in, nobody else does."""
    path = str(tmp_path / "default.db")
    with SqliteQueue(tmp_path) as queue:
        queue.submit(specs(10))
        one, other = Checkpointer(path, Trouble(path)), Checkpointer(path, Trouble(path))
        assert one._is_mine()
        assert not other._is_mine()
        other.work(is_idle=True)
        assert (tmp_path / "default.db-wal").stat().st_size > 0
        one.close()
        other.work(is_idle=True)
        assert (tmp_path / "default.db-wal").stat().st_size == 0
        other.close()


def test_a_long_reader_keeps_the_log_and_nothing_waits_for_it(tmp_path: Path) -> None:
    """Who reads for long sees its moment to the end; the log is brought in as soon as it is done."""
    with SqliteQueue(tmp_path) as queue:
        queue.submit(specs(10))
        reader = apsw.Connection(str(tmp_path / "default.db"))
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM jobs").get == 10
        queue.submit(specs(10))
        queue._checkpointer.work(is_idle=True)
        assert reader.execute("SELECT count(*) FROM jobs").get == 10
        assert (tmp_path / "default.db-wal").stat().st_size > 0
        reader.execute("COMMIT")
        queue._checkpointer.work(is_idle=True)
        assert (tmp_path / "default.db-wal").stat().st_size == 0
        reader.close()
