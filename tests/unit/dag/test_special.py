"""Links and directories as a whole: anything that can have changed is seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.dag.trees import late_clock
from vcache.dag.special import sign_of, special_rows, special_sign


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "sub/a").write_text("a")
    (top / "link").symlink_to("sub/a")
    return top


def test_a_sign_stands_for_all_below(top: Path) -> None:
    """with and without a slash at its end"""
    sign = special_sign(os.fspath(top), late_clock())
    assert sign
    assert special_sign(f"{top}/", late_clock()) == sign
    assert sign_of(special_rows(os.fspath(top))) == sign
    assert [path.removeprefix(os.fspath(top)) for path, _, _ in special_rows(os.fspath(top))] == [
        "", "/link", "/sub", "/sub/a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "sub/a").write_text("ab"),
        lambda top: (top / "sub/b").touch(),
        lambda top: (top / "sub/a").unlink(),
        lambda top: (top / "link").unlink(),
        lambda top: (top / "sub").rename(top / "other"),
        lambda top: os.utime(top / "sub/a"),
    ],
)
def test_any_change_gives_another_sign(top: Path, change: Callable[[Path], object]) -> None:
    """an edit, a new or missing name, a touch"""
    before = special_sign(os.fspath(top), late_clock())
    change(top)
    assert special_sign(os.fspath(top), late_clock()) not in (before, b"")


def test_what_is_not_sure_has_no_sign(top: Path) -> None:
    """a fresh file, or none at all; what we keep in a directory ourselves does not count"""
    assert special_sign(os.fspath(top), late_clock() - 60_000_000_000) == b""
    assert special_sign(os.fspath(top / "none"), late_clock()) == b""
    before = special_sign(os.fspath(top / "sub"), late_clock())
    (top / "sub/.vcache").mkdir()
    rows = special_rows(os.fspath(top / "sub"))
    assert [os.path.basename(path) for path, _, _ in rows] == ["sub", "a"]
    assert before
