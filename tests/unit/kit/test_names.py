from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from vcache.kit.names import did_you_mean, nearest, slug


def test_the_nearest_name_comes_first() -> None:
    """a slip of the pen finds the name that was meant, whatever its case"""
    assert nearest("max_byte", ["max_bytes", "max_age", "dir"])[0] == "max_bytes"
    assert nearest("DIRR", ["dir", "tiers"]) == ("dir",)


def test_nothing_near_gives_nothing() -> None:
    """a word that is like no choice gives no choice"""
    assert nearest("zebra", ["dir", "tiers"]) == ()


def test_a_message_names_what_there_is() -> None:
    """an error's tail names the nearest choices, else all, else says nothing"""
    assert did_you_mean("lz5", ["lz4", "zstd"]) == "; did you mean 'lz4'?"
    assert did_you_mean("brotli", ["zstd", "lz4"]) == "; there is 'lz4', 'zstd'"
    assert did_you_mean("any", []) == ""


def test_a_slug_is_readable() -> None:
    """accents and letters beyond ASCII go, what else is no letter or digit becomes one dash"""
    assert slug("  Größe: 3 · Ünits!! ") == "groe-3-units"


@given(st.text())
def test_a_slug_always_fits_a_file_name(text: str) -> None:
    """any text gives 1 to 60 characters that every file system and URL takes"""
    result = slug(text)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", result)
    assert len(result) <= 60
    assert slug(result) == result
