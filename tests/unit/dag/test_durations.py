from __future__ import annotations

import pytest

from vcache.dag import durations


@pytest.fixture
def file(tmp_path):
    directory = tmp_path / ".vcache" / "runs"
    directory.mkdir(parents=True)
    return directory / "durations"


def test_the_last_one_counts(tmp_path, file):
    """a later duration of a node replaces the earlier one; names may hold anything but line breaks"""
    durations.add(str(tmp_path), {"a\tb": 1, "ü\udc80": 2, "two\nlines": 3})
    durations.add(str(tmp_path), {"a\tb": 5})
    durations.add(str(tmp_path), {})
    assert durations.load(str(tmp_path)) == {"a\tb": 5, "ü\udc80": 2}


def test_nothing_is_known(tmp_path, file):
    """a file that is absent, foreign or damaged gives what can be read, and is written to again"""
    assert durations.load(str(tmp_path)) == {}
    file.write_text("vcache durations 9\n1\ta\n")
    assert durations.load(str(tmp_path)) == {}
    durations.add(str(tmp_path), {"b": 2})
    assert durations.load(str(tmp_path)) == {"b": 2}
    with file.open("a") as stream:
        stream.write("x\ty\nnonsense\n77")
    durations.add(str(tmp_path), {"c": 3})
    assert durations.load(str(tmp_path)) == {"b": 2, "c": 3}


def test_the_file_does_not_grow_for_ever(tmp_path, file, monkeypatch):
    """what was replaced is dropped when the file has doubled"""
    monkeypatch.setattr(durations, "_COMPACT_BYTES", 4096)
    for run in range(200):
        durations.add(str(tmp_path), {f"node {number}": run for number in range(20)})
    assert file.stat().st_size < 8192
    assert durations.load(str(tmp_path)) == {f"node {number}": 199 for number in range(20)}
