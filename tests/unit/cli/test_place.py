"""Which build file is meant."""

from __future__ import annotations

import pytest

from vcache.cli.place import find_place
from vcache.errors import UsageError


def test_a_vcachefile_comes_before_a_ninja_file(elsewhere):
    """Both may lie side by side."""
    (elsewhere / "build.ninja").touch()
    assert find_place(None, None).is_ninja
    (elsewhere / "vcachefile.py").touch()
    assert find_place(None, None).file == "vcachefile.py"
    assert find_place(None, "build.ninja").is_ninja


def test_a_vcachefile_is_found_from_below(elsewhere):
    """As git finds its project; a ninja file is for its own directory only."""
    (elsewhere / "vcachefile.py").touch()
    (elsewhere / "a/b").mkdir(parents=True)
    assert find_place("a/b", None).base == str(elsewhere)
    (elsewhere / "a/b/build.ninja").touch()
    assert find_place("a/b", None).is_ninja


def test_what_is_not_there_is_named(elsewhere):
    """With where it was looked for."""
    with pytest.raises(UsageError, match=r"no vcachefile\.py and no build\.ninja in "):
        find_place(None, None)
    with pytest.raises(UsageError, match=r"-f other\.py: there is no such file"):
        find_place(None, "other.py")
    with pytest.raises(UsageError, match=r"-C nowhere: there is no such directory"):
        find_place("nowhere", None)
