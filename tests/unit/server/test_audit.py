"""The audit log: a chain that tells when a line was touched."""

from __future__ import annotations

import errno
import itertools
import json
from os import write
from pathlib import Path

import pytest

from vcache.errors import FormatError, StoreBusy
from vcache.server.audit import AuditLog, files_of, verify


def filled(path: Path, count: int, **options: int) -> AuditLog:
    clock = itertools.count(1).__next__
    log = AuditLog(path, clock=clock, **options)
    for number in range(count):
        log.append("put", {"name": f"n{number}", "size_bytes": number, "namespace": "a"})
    return log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_a_log_is_whole_and_goes_on(path: Path) -> None:
    """What one server noted, the next one continues."""
    filled(path, 3).close()
    log = filled(path, 2)
    log.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["seq"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["prev"] for row in rows[1:]] == [row["hash"] for row in rows[:-1]]
    assert rows[-1]["hash"] == log.head
    assert list(verify(path)) == []
    assert list(verify(path, expected_head=rows[2]["hash"])) == []


def test_a_line_that_is_written_in_part_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up within a line leaves a whole log, which goes on, and says what it lacks, where there is room again."""
    log = filled(path, 2)
    with monkeypatch.context() as full:
        full.setattr("vcache.server.audit.os.write", lambda fd, line: write(fd, line[:20]))
        for _ in range(2):
            with pytest.raises(OSError, match="in part"):
                log.append("put", {"name": "lost"})
    log.append("put", {"name": "after"})
    log.append("put", {"name": "again"})
    log.close()
    assert list(verify(path)) == []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["action"], row["name"]) for row in rows[2:]] == [
        ("lost", "2 changes"), ("put", "after"), ("put", "again"),
    ]  # fmt: skip


def test_a_log_that_cannot_begin_a_new_file_goes_on_in_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later line goes to a descriptor that has become somebody else's."""
    log = filled(path, 1, rotate_bytes=1000)
    with monkeypatch.context() as full:
        full.setattr("vcache.server.audit.AuditLog._opened", _no_room)
        with pytest.raises(OSError, match="no room"):
            log.append("put", {"name": "m" * 900})
    log.append("put", {"name": "after"})
    log.close()
    assert list(verify(path)) == []
    assert b"after" in path.with_name("audit-000000000001.jsonl").read_bytes()


def _no_room(_: AuditLog) -> int:
    raise OSError(errno.ENOSPC, "no room")


@pytest.mark.parametrize("line", range(5))
@pytest.mark.parametrize("how", ["changed", "removed", "swapped", "resealed"])
def test_a_line_that_was_touched_is_found(path: Path, line: int, how: str) -> None:
    """Whatever is done to a line, the log says where; the last one's absence needs a known head."""
    log = filled(path, 5)
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "changed":
        lines[line] = lines[line].replace(b'"size_bytes":', b'"size_bytes":1')
    elif how == "removed":
        del lines[line]
    elif how == "swapped":
        other = (line + 1) % 5
        lines[line], lines[other] = lines[other], lines[line]
    else:
        row = json.loads(lines[line]) | {"name": "another"}
        del row["hash"]
        path.with_name("forged.jsonl").write_bytes(b"")
        from vcache.server.audit import _canonical, _seal

        lines[line] = _canonical(row | {"hash": _seal(row)}) + b"\n"
    path.write_bytes(b"".join(lines))
    assert list(verify(path, expected_head=log.head))


def test_a_torn_line_is_cut_off(path: Path) -> None:
    """A kill within a write costs that line and nothing else."""
    filled(path, 2).close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq": 3, "at')
    log = AuditLog(path)
    assert log.seq == 2
    assert path.read_bytes() == whole
    log.append("delete", {"name": "x"})
    log.close()
    assert list(verify(path)) == []


def test_a_log_has_one_writer(path: Path) -> None:
    """Two servers over one directory would break the chain: the second is told so."""
    log = AuditLog(path)
    with pytest.raises(StoreBusy, match="another server"):
        AuditLog(path)
    log.close()
    log.close()
    AuditLog(path).close()


def test_a_foreign_file_is_left_alone(path: Path) -> None:
    """What is no audit log is not appended to."""
    path.write_text("hello\n")
    with pytest.raises(FormatError, match="move it away"):
        AuditLog(path)
    assert path.read_text() == "hello\n"


def test_files_change_and_the_chain_goes_on(path: Path) -> None:
    """A full file is put aside; the next one's first line seals its last."""
    filled(path, 40, rotate_bytes=2000).close()
    files = files_of(path)
    assert len(files) > 3
    assert list(verify(path)) == []
    filled(path, 1, rotate_bytes=2000).close()
    assert list(verify(path)) == []
    files[1].unlink()
    assert any("missing" in finding.words for finding in verify(path))


def test_a_new_file_after_a_rotation_knows_the_last_line(path: Path) -> None:
    """A server that starts right after a rotation goes on from the file before."""
    log = filled(path, 1, rotate_bytes=1)
    log.close()
    assert path.read_bytes() == b""
    again = AuditLog(path)
    assert (again.seq, again.head) == (1, log.head)
    again.append("put", {})
    again.close()
    assert list(verify(path)) == []


def test_long_and_strange_names_are_noted(path: Path) -> None:
    """Names are whatever clients send."""
    log = AuditLog(path)
    log.append("put", {"name": "x" * 70_000})
    log.append("put", {"name": 'é\n"\udcff\0🦜'})
    log.close()
    assert list(verify(path)) == []
    assert len(path.read_bytes().splitlines()) == 2
