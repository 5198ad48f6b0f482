from __future__ import annotations

import pytest

from vcache.errors import DecodeError
from vcache.logs.segment.glossary import Glossary

DATA = "a\0\0ünï\0\udcff\0ab\0".encode("utf-8", "surrogatepass")
TEXTS = ["a", "", "ünï", "\udcff", "ab", None]


def test_texts_are_read_one_by_one_and_all_at_once():
    """Each way gives the same, and None comes last."""
    glossary = Glossary(DATA, 5)
    assert list(glossary) == [glossary[place] for place in range(len(glossary))] == TEXTS
    assert glossary[1:3] == ["", "ünï"]


def test_a_text_is_found_at_its_place():
    """A text is found where it stands, and nothing that is only a part of one."""
    glossary = Glossary(DATA, 5)
    assert [glossary.place_of(text) for text in TEXTS if text is not None] == [0, 1, 2, 3, 4]
    assert [glossary.place_of(text) for text in ("b", "ün", "a\0", "x")] == [None] * 4


@pytest.mark.parametrize(("data", "count"), [(b"a", 1), (b"a\0", 2), (b"a\0b", 1), (b"\xff\0", 1)])
def test_what_is_no_glossary_is_damaged(data, count):
    """A dictionary that does not hold what it says is not read."""
    with pytest.raises(DecodeError, match="dictionary"):
        Glossary(data, count)
