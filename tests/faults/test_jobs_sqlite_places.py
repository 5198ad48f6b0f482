"""Embedded queues where they cannot work as they would: full and failing disks, read-only and damaged files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from tests.faults.job_yard import everything, integrity, make_specs, opened
from tests.faults.test_places import mounted
from tests.servers import needed
from vcache.errors import FormatError, StoreError, StoreFull, StoreReadOnly
from vcache.jobs.models import Spec
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.sqlite.schema import VERSION
from vcache.kit.ids import uuid7


def large(number: int) -> Spec:
    return Spec(uuid7.text(), "mill", {"n": number, "pad": os.urandom(20_000)})


def filled(queue: SqliteQueue) -> list[str]:
    """What was acknowledged until the disk was full."""
    kept: list[str] = []
    for number in range(1000):
        try:
            kept += queue.submit([large(number)])
        except StoreFull:
            return kept
    raise AssertionError("the disk does not fill up")


def test_a_full_disk_loses_nothing_and_the_queue_goes_on(tmp_path: Path) -> None:
    """What finds no room is refused; what was acknowledged is there, and with room again it goes on."""
    with mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", at=tmp_path / "small") as small:
        ballast = small / "ballast"
        ballast.write_bytes(bytes(800_000))
        with opened(small / "jobs") as queue:
            kept = filled(queue)
            assert len(kept) > 10
            for _ in range(3):
                with pytest.raises(StoreFull, match="no space is left"):
                    queue.submit([large(0)])
            assert None not in queue.get(kept)
            ballast.unlink()
            kept += queue.submit([large(1)])
            assert everything(queue).keys() == set(kept)
        with opened(small / "jobs") as queue:
            assert everything(queue).keys() == set(kept)
        integrity(small / "jobs")


_SUBMITS = """
import random, sys
from tests.faults.job_yard import everything, make_specs, opened
from vcache.errors import StoreError

kept = []
with opened(sys.argv[1]) as queue:
    queue.submit([])
    print("ready", file=sys.stderr, flush=True)
    for number in range(10):
        try:
            kept += queue.submit(make_specs(1, random.Random(number)))
        except StoreError as error:
            assert error.retryable, error
    assert set(kept) <= everything(queue).keys()
print(*kept)
"""


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
@pytest.mark.parametrize("when", ["12", "13..15", "40+"])
def test_a_failed_write_or_sync_is_never_acknowledged(tmp_path: Path, call: str, when: str) -> None:
    """What the disk did not take is refused, and all that was acknowledged is there."""
    with opened(tmp_path / "jobs"):
        pass
    command = [needed("strace", "strace"), "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    command += ["-P", str(tmp_path / "jobs" / "default.db-wal")] if call == "pwrite64" else []
    at = {"12": "3", "13..15": "3..5", "40+": "6+"}[when] if call == "fdatasync" else when
    command += ["-e", f"inject={call}:error=EIO:when={at}", sys.executable, "-c", _SUBMITS]
    done = subprocess.run(
        [*command, str(tmp_path / "jobs")], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    kept = done.stdout.split()
    assert 0 < len(kept) < 10
    with opened(tmp_path / "jobs") as queue:
        assert set(kept) <= everything(queue).keys()
    integrity(tmp_path / "jobs")


def test_a_read_only_place_is_said(tmp_path: Path) -> None:
    """A queue in a directory that takes no writes says what is missing."""
    with opened(tmp_path / "disk" / "jobs") as queue:
        queue.submit(make_specs(2, random.Random(1)))
    with mounted("--bind", "-o", "ro", str(tmp_path / "disk"), at=tmp_path / "ro") as place:
        with (
            opened(place / "jobs") as queue,
            pytest.raises(StoreReadOnly, match="make it and its directory writable"),
        ):
            queue.submit(make_specs(1, random.Random(2)))
        with pytest.raises(StoreReadOnly, match="make it and its directory writable"):
            opened(place / "others")


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(4080)])
def test_what_is_no_queue_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file of something else is refused, and left as it is."""
    path = tmp_path / "default.db"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="left as it is"):
        opened(tmp_path)
    assert path.read_bytes() == content


def test_others_databases_and_newer_formats_are_left_alone(tmp_path: Path) -> None:
    """A database of another program, and a queue of a newer format, are refused with what to do."""
    db = apsw.Connection(str(tmp_path / "default.db"))
    db.execute("CREATE TABLE birds(name)")
    db.close()
    with pytest.raises(FormatError, match="something else"):
        opened(tmp_path)
    with opened(tmp_path / "newer"):
        pass
    db = apsw.Connection(str(tmp_path / "newer" / "default.db"))
    db.pragma("user_version", VERSION + 1)
    db.close()
    with pytest.raises(FormatError, match=f"format {VERSION + 1}, this program reads {VERSION}"):
        opened(tmp_path / "newer")


def test_a_damaged_file_is_said_and_left(tmp_path: Path) -> None:
    """A file with pages that are damaged is never emptied: who uses it hears what to do."""
    with opened(tmp_path) as queue:
        ids = queue.submit(make_specs(300, random.Random(2)))
        queue._checkpointer.work(is_idle=True)
    path = tmp_path / "default.db"
    data = bytearray(path.read_bytes())
    data[3 * 4096 :] = b"\x55" * (len(data) - 3 * 4096)
    path.write_bytes(data)

    def use() -> None:
        with opened(tmp_path) as queue:
            queue.cancel(ids)

    with pytest.raises(StoreError, match=r"is damaged.*move it aside") as caught:
        use()
    assert not caught.value.retryable
    assert path.stat().st_size == len(data)
