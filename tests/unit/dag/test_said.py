"""Which nodes of a tree warned."""

from __future__ import annotations

import os
from pathlib import Path

from vcache.dag import frozen, said
from vcache.dag.said import Said

TWO = {"a.o": Said(2, "aa", "r1"), "dir/b\udcff c.o": Said(1, "bb")}


def place(base: Path) -> Path:
    (base / ".vcache").mkdir()
    return base / ".vcache" / "said"


def test_what_was_said_is_remembered(tmp_path: Path):
    """With the sum in the first line, which the quick look at a clean tree reads."""
    path = place(tmp_path)
    said.save(str(tmp_path), TWO)
    assert said.load(str(tmp_path)) == TWO
    assert path.read_bytes().startswith(b"vcache said 1 3\n")


def test_nothing_said_leaves_nothing(tmp_path: Path):
    """Where nobody warned there is no file to open."""
    path = place(tmp_path)
    said.save(str(tmp_path), TWO)
    said.save(str(tmp_path), {})
    assert not path.exists()
    assert said.load(str(tmp_path)) == {}
    said.save(str(tmp_path), {})


def test_what_is_damaged_is_left_out(tmp_path: Path):
    """As is a name that holds a line break, and a file of another version."""
    path = place(tmp_path)
    path.write_bytes(b"vcache said 1 3\nx\taa\t\ta.o\n2\tbb\n\n1\tcc\tr\tok\n99999999999\td\t\tlong\n")
    assert said.load(str(tmp_path)) == {"ok": Said(1, "cc", "r")}
    path.write_bytes(b"vcache said 2 3\n1\tcc\tr\tok\n")
    assert said.load(str(tmp_path)) == {}
    said.save(str(tmp_path), {"a\nb": Said(5, "aa"), "b": Said(1, "bb")})
    assert said.load(str(tmp_path)) == {"b": Said(1, "bb")}
    assert path.read_bytes().startswith(b"vcache said 1 1\n")


def test_the_quick_look_reads_the_sum_alone(tmp_path: Path, monkeypatch):
    """0 for no file, or one of somebody else."""
    monkeypatch.chdir(tmp_path)
    assert frozen._standing() == 0
    path = place(tmp_path)
    said.save(os.curdir, TWO)
    assert frozen._standing() == 3
    for text in (b"", b"vcache said 2 3\n", b"vcache said 1 x\n", b"\xff" * 100):
        path.write_bytes(text)
        assert frozen._standing() == 0
