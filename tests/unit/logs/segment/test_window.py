"""Windows are bounded by what they hold: long messages, long fields, and names without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.logs.segment.yard import START_NS, STREAM, ask, named, parse, plain, sealed
from vcache.logs.record import Record
from vcache.logs.segment import merge, open_segment, window, writing


def at(row: int, message: str = "x", /, **fields: Any) -> Record:
    return Record(START_NS + row, 9, "s", message, fields, seen_ns=1)


def test_names_without_end(tmp_path: Path) -> None:
    """100,000 names are no 100,000 columns: those that most records have are, the others stand by the record."""
    records = [
        at(row, "x", common=row, **{f"n{row}.{step}": step for step in range(50)}) for row in range(2_000)
    ]
    segment = sealed(tmp_path / "a", records)
    ((blocks, _, _),) = parse((tmp_path / "a").read_bytes()).groups
    assert [len(block[8]) for block in blocks] == [window.MOST_NAMES]
    assert "common" in segment.blocks[0].about.fields
    assert (tmp_path / "a").stat().st_size < 1_500_000
    found, result = ask("*", [segment])
    assert (found, result.gaps) == (named(records), [])
    assert ask("n1999.7 = 7", [segment])[0] == named(records)[1999:]
    assert ask("n1999.7 != 7 | count", [segment])[0] == [(1_999,)]
    assert ask("n5.1 = 1 or n6.1 = 1 | count by n5.1", [segment])[0] == [(1, 1), (None, 1)]
    there = segment.find(STREAM, 1_500)
    assert there is not None
    assert plain(there) == named(records)[1_500]
    info = merge([segment], tmp_path / "b")
    assert info is not None
    assert ask("*", [open_segment(tmp_path / "b", digest=info.digest)])[0] == found


def test_a_record_of_many_fields(tmp_path: Path) -> None:
    """One with 256 fields is a record as others; so is one with 5,000."""
    records = [
        at(0, "x", **{f"f{step}": step for step in range(256)}),
        at(1),
        at(2, "x", **{f"g{step}": "" for step in range(5_000)}),
    ]
    assert ask("*", [sealed(tmp_path / "a", records)])[0] == named(records)


def test_a_long_message(tmp_path: Path) -> None:
    """One of 10 MB, and one that is no ASCII, come back, and are found."""
    records = [at(0), at(1, "é" + "word " * 500_000 + "needle"), at(2, "y" * 10_000_000), at(3)]
    segment = sealed(tmp_path / "a", records)
    assert ask("*", [segment])[0] == named(records)
    assert ask("message : needle", [segment])[0] == named(records)[1:2]
    assert ask('message contains "yyyy" | count', [segment])[0] == [(1,)]


@pytest.mark.parametrize("name", ["message", "body"])
def test_windows_of_long_texts_are_short(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and fields count alike."""
    monkeypatch.setattr(writing, "_WINDOW_CHARS", 100_000)
    monkeypatch.setattr(writing, "_PART_ROWS", 10)
    texts = [f"{row} " + "x" * 4_000 for row in range(100)]
    records = [at(row, text) if name == "message" else at(row, body=text) for row, text in enumerate(texts)]
    segment = sealed(tmp_path / "a", records)
    assert len(segment.groups) in (3, 4, 5)
    assert ask("*", [segment])[0] == named(records)


def test_a_part_of_long_messages_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that come at once are as many windows as their messages need."""
    monkeypatch.setattr(writing, "_WINDOW_CHARS", 10_000)
    records = [at(row, f"{row} " + "x" * 4_000) for row in range(40)]
    segment = sealed(tmp_path / "a", records)
    assert max(sum(block.rows for block in group.blocks) for group in segment.groups) <= 4
    assert ask("*", [segment])[0] == named(records)


def test_many_cells_are_many_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows times names are bounded: a row that has none of a name takes its place, too."""
    monkeypatch.setattr(writing, "_WINDOW_CELLS", 2_000)
    monkeypatch.setattr(writing, "_PART_ROWS", 10)
    records = [at(row, "x", **{f"n{row % 50}": row}) for row in range(300)]
    segment = sealed(tmp_path / "a", records)
    assert len(segment.groups) == 6
    assert ask("*", [segment])[0] == named(records)
