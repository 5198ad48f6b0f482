"""What users write: small values that refuse nonsense where it is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vcache.errors import FingerprintError
from vcache.fingerprint.inputs import Absent, Dir, Env, File, Glob, Listing, Ref, Tool, Value


def test_a_file_is_a_path(tmp_path: Path) -> None:
    """A File can be given wherever a path can, and knows its parts."""
    (tmp_path / "a.tar.gz").write_text("é", encoding="utf-8")
    file = File(tmp_path / "a.tar.gz")
    assert os.fspath(file) == str(file) == file.path == str(tmp_path / "a.tar.gz")
    assert (file.name, file.stem, file.suffix) == ("a.tar.gz", "a.tar", ".gz")
    assert file.read_text() == "é"
    assert file.read_bytes() == "é".encode()
    with open(file, encoding="utf-8") as opened:
        assert opened.read() == "é"


def test_a_path_is_kept_as_given() -> None:
    """Nothing is normalised before it is looked at."""
    assert File("./a/../b").path == "./a/../b"
    assert Dir(Path("inc")).path == os.fspath(Dir("inc")) == "inc"


def test_specs_are_values() -> None:
    """Equal specs are equal, hash equally, and cannot be changed."""
    assert File("a") == File(Path("a"))
    assert File("a") != File("a", by="mtime")
    assert Glob("*.c") != Glob("*.c", hidden=True)
    assert len({Env("A"), Env("A"), Tool("A"), Ref("A"), Absent("A"), Listing("A")}) == 5
    with pytest.raises(AttributeError):
        File("a").path = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: File(""), r"File\(''\)"),
        (lambda: File("a\0b"), "NUL"),
        (lambda: File(b"a"), "os.fsdecode"),  # type: ignore[arg-type]
        (lambda: File(3), r"File\(3\)"),  # type: ignore[arg-type]
        (lambda: File("a", by="size"), "'size'"),  # type: ignore[arg-type]
        (lambda: Glob(""), r"Glob\(''\)"),
        (lambda: Glob("src/*/../x"), "behind a wildcard"),
        (lambda: Env(""), r"Env\(''\)"),
        (lambda: Env("A=B"), "A=B"),
        (lambda: Tool(""), r"Tool\(''\)"),
        (lambda: Value("", 1), "name"),
        (lambda: Ref(3), r"Ref\(3\)"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_refused(make: Callable[[], object], words: str) -> None:
    """What cannot mean anything is an error that shows the value."""
    with pytest.raises(FingerprintError, match=words):
        make()
