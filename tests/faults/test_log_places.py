"""Log stores where they cannot work as they would: full disks, failing syncs, read-only and foreign directories."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.log_yard import everything, make_records
from tests.faults.test_places import mounted
from tests.servers import needed
from vcache.errors import FormatError, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from vcache.logs.disk import DiskLogs


def filled(logs: DiskLogs) -> int:
    """How many records were kept until the disk was full."""
    for kept in range(0, 100_000, 50):
        try:
            logs.append(make_records("make", kept, 50, chars=400))
        except StoreFull:
            return kept
    raise AssertionError("the disk does not fill up")


def test_a_full_disk_loses_nothing_and_the_store_goes_on(tmp_path: Path) -> None:
    """Appends to a full disk say so; what was acknowledged is there, and with room again it goes on."""
    with mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", at=tmp_path / "small") as small:
        ballast = small / "ballast"
        ballast.write_bytes(bytes(300_000))
        with DiskLogs(small / "logs", seals=False) as logs:
            kept = filled(logs)
            for _ in range(3):
                with pytest.raises(StoreFull):
                    logs.append(make_records("make", kept, 1000, chars=400))
            assert len(everything(logs)) == kept > 500
            ballast.unlink()
            logs.append(make_records("make", kept, 50))
            assert len(everything(logs)) == kept + 50
            assert logs.gaps() == []
        with DiskLogs(small / "logs") as logs:
            assert len(everything(logs)) == kept + 50


def test_sealing_on_a_full_disk_leaves_the_tail(tmp_path: Path) -> None:
    """A segment that finds no room is given up: what it was to hold stays where it is."""
    small = tmp_path / "small"
    with (
        mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", at=small),
        DiskLogs(small / "logs", seals=False) as logs,
    ):
        logs.append(make_records("make", 0, 2_000))
        before = everything(logs)
        space = os.statvfs(small)
        (small / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize))
        with pytest.raises(StoreFull):
            logs.seal()
        with pytest.raises(StoreFull):
            logs.append_bulk(make_records("bulk", 0, 20_000))
        assert everything(logs) == before
        assert list((small / "logs" / "tmp").iterdir()) == []
        (small / "ballast").unlink()
        assert logs.seal().records == 2_000
        assert everything(logs) == before


_APPENDS = """
import sys
from tests.faults.log_yard import make_records
from vcache.errors import StoreError
from vcache.logs.disk import DiskLogs

kept = []
with DiskLogs(sys.argv[1], seals=False) as logs:
    for number in range(12):
        try:
            kept.append(logs.append(make_records("make", number, 1)).first_id)
        except StoreError as error:
            assert "Input/output error" in str(error), error
    shown = [record.id for tail in logs.contents()[0] for record in tail.records]
    assert shown == kept, (shown, kept)
print(*kept)
"""


@pytest.mark.parametrize("when", ["3", "2..3", "1", "5+"])
def test_a_failed_sync_is_never_acknowledged(tmp_path: Path, when: str) -> None:
    """What the disk did not take is refused and not shown, and all that was acknowledged is there."""
    command = [needed("strace", "strace"), "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync"]
    command += ["-e", f"inject=fdatasync:error=EIO:when={when}", sys.executable, "-c", _APPENDS]
    done = subprocess.run(
        [*command, str(tmp_path / "logs")], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    kept = done.stdout.split()
    assert len(kept) == {"3": 11, "2..3": 10, "1": 11, "5+": 4}[when]
    with DiskLogs(tmp_path / "logs") as logs:
        assert sorted(everything(logs)) == sorted(kept)
        assert logs.gaps() == []


def test_a_failed_sync_keeps_what_needed_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that fails takes no record with it that was acknowledged without one."""
    with DiskLogs(tmp_path / "logs", seals=False) as logs:
        loose = logs.append(make_records("loose", 0, 3), sync=False)

        def fail(_fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            with pytest.raises(StoreError):
                logs.append(make_records("strict", 0, 3))
        assert [record.source for record in everything(logs).values()] == ["loose"] * 3
        assert logs.find(loose.first_id) is not None
        logs.append(make_records("strict", 0, 3))
        assert len(everything(logs)) == 6


def test_a_read_only_place_is_read(tmp_path: Path) -> None:
    """A store that may not be written to answers, and refuses appends."""
    with DiskLogs(tmp_path / "disk" / "logs", seals=False) as logs:
        logs.append(make_records("make", 0, 5))
        logs.seal()
        logs.append(make_records("make", 5, 5))
    place = tmp_path / "ro"
    with mounted("--bind", "-o", "ro", str(tmp_path / "disk"), at=place), DiskLogs(place / "logs") as logs:
        assert len(everything(logs)) == 10
        with pytest.raises(StoreReadOnly):
            logs.append(make_records("make", 10, 1))
        with pytest.raises(StoreReadOnly):
            logs.seal()
        assert list(logs.follow().wait(0)) == []


def test_foreign_directories_are_left_alone(tmp_path: Path) -> None:
    """A file, a directory of something else, and a newer format are refused, and say what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="is a file"):
        DiskLogs(tmp_path / "file")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("")
    with pytest.raises(FormatError, match=r"thesis\.txt"):
        DiskLogs(tmp_path / "foreign")
    DiskLogs(tmp_path / "newer").close()
    for stamp, hint in (("vcache-logs 2\n", "newer vcache"), ("vcache-disk 1\n", "name another one")):
        (tmp_path / "newer" / "format").write_text(stamp)
        with pytest.raises(FormatError, match=hint):
            DiskLogs(tmp_path / "newer")


@pytest.mark.parametrize("content", [b"", bytes(14)])
def test_a_format_file_that_lost_its_content_is_completed(tmp_path: Path, content: bytes) -> None:
    """After a power loss a store whose `format` came out empty opens, with its records."""
    with DiskLogs(tmp_path / "logs") as logs:
        logs.append(make_records("make", 0, 3))
    (tmp_path / "logs" / "format").write_bytes(content)
    with DiskLogs(tmp_path / "logs") as logs:
        assert len(everything(logs)) == 3
    assert (tmp_path / "logs" / "format").read_text() == "vcache-logs 1\n"
