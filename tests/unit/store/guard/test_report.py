from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vcache.store.guard.report import Report, remotes, report_lines, write_address
from vcache.testing import FakeClock


def test_a_refusal_is_noted_once(tmp_path: Path) -> None:
    """A line of JSON with when, what, which key and why; the same complaint is not written again."""
    clock = FakeClock()
    report = Report(tmp_path / "remote", clock=clock)
    assert report.note("a put", "413 too large", b"\0sk")
    assert not report.note("a put", "413 too large", b"\0sother")
    assert report.note("a put", "507 no room")
    lines = (tmp_path / "remote" / "report.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "at_ns": clock(),
        "what": "a put",
        "key": "00736b",
        "why": "413 too large",
    }
    assert len(lines) == 2
    (found,) = remotes(tmp_path)
    assert [(refusal.key, refusal.why) for refusal in found.refusals] == [
        (b"\0sk", "413 too large"),
        (b"", "507 no room"),
    ]


def test_a_process_does_not_complain_for_ever(tmp_path: Path) -> None:
    """Reasons that are all different end after a hundred."""
    report = Report(tmp_path)
    assert sum(report.note("a put", f"reason {number}") for number in range(1000)) == 100


def test_the_file_is_bounded(tmp_path: Path) -> None:
    """The newest stay, in whole lines."""
    for process in range(20):
        report = Report(tmp_path / "remote")
        for number in range(100):
            report.note("a put", f"{process}/{number} " + "x" * 300)
    path = tmp_path / "remote" / "report.jsonl"
    assert 16 << 10 < path.stat().st_size <= 64 << 10
    assert all(json.loads(line) for line in path.read_text().splitlines())
    (found,) = remotes(tmp_path)
    assert found.refusals[-1].why.startswith("19/99 ")
    assert len(found.refusals) == 20


def test_what_waits_is_counted_without_strangers(tmp_path: Path) -> None:
    """Files of the spools that are to be sent, in however many ways; no notes, and nothing half-written."""
    for folder in ("spool", "spool-0a1b2c3d"):
        spool = tmp_path / "remote" / folder
        spool.mkdir(parents=True)
        (spool / "01a1ff79-9ab4-7392-86a0-c505060ae66b").write_bytes(b"1234")
        (spool / "notes.txt").write_text("mine")
        (spool / ".vcache-tmp-7dc8-11-7f97a7e5").write_text("half")
    (found,) = remotes(tmp_path)
    assert (found.waiting, found.waiting_bytes) == (2, 8)


def test_what_is_cut_off_is_passed_over(tmp_path: Path) -> None:
    """Lines that are none, a breaker that is none, an address that is no text: the rest is shown."""
    directory = tmp_path / "remote"
    Report(directory).note("a put", "sound")
    with (directory / "report.jsonl").open("ab") as file:
        file.write(b'{"at_ns": 1, "wha\n[]\n\xff\n{"at_ns": "x", "what": 1, "key": "zz", "why": 1}\n')
    (directory / "breaker").write_bytes(b"?")
    (directory / "address").write_bytes(b"\xff\xfe")
    (found,) = remotes(tmp_path)
    assert [refusal.why for refusal in found.refusals] == ["sound"]
    assert not found.breaker.is_open
    assert list(report_lines(tmp_path))


def test_the_first_address_stays(tmp_path: Path) -> None:
    """It is written where there is none, and where that cannot be, nothing is said."""
    write_address(tmp_path, "http://a")
    write_address(tmp_path, "http://b")
    assert (tmp_path / "address").read_text() == "http://a\n"
    write_address(tmp_path / "missing", "http://a")


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_a_report_that_cannot_be_written_is_no_harm(tmp_path: Path, kind: str) -> None:
    """It is not had, and nobody waits."""
    path = tmp_path / "report.jsonl"
    if kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    Report(tmp_path).note("a put", "refused")
    assert len(remotes(tmp_path.parent)) >= 1
