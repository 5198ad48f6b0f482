"""Where a compile's project is."""

from __future__ import annotations

import os

import pytest

from vcache.cc.compiling import _root_for


@pytest.mark.parametrize("mark", [".git", ".hg", "vcachefile.py", "vcache.toml"])
def test_the_root_is_the_nearest_marked_directory(tmp_path, mark):
    """Upwards from the working directory; without a mark, that itself."""
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    (tmp_path / mark).touch()
    assert _root_for(os.fspath(below), ["x.o"]) == tmp_path
    (tmp_path / "a" / mark).touch()
    assert _root_for(os.fspath(below), ["x.o", "../x.d"]) == tmp_path / "a"


def test_an_output_elsewhere_widens_the_root(tmp_path):
    """All outputs lie below the root, wherever they are."""
    for name in ("project/.git", "build"):
        (tmp_path / name).mkdir(parents=True)
    assert _root_for(os.fspath(tmp_path / "project"), ["../build/x.o"]) == tmp_path
    assert _root_for(os.fspath(tmp_path / "project"), ["/x.o"]).as_posix() == "/"


def test_the_user_may_name_it(tmp_path, monkeypatch):
    """VCACHE_ROOT decides before any mark."""
    (tmp_path / "a/.git").mkdir(parents=True)
    monkeypatch.setenv("VCACHE_ROOT", os.fspath(tmp_path))
    assert _root_for(os.fspath(tmp_path / "a"), ["x.o"]) == tmp_path
