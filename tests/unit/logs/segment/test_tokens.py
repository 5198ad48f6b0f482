"""A filter never says no of what is there, however words are found, hashed and cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.logs.segment import tokens
from vcache.logs.segment.tokens import (
    filtered_words,
    make_filter,
    may_have,
    pair_hash,
    word_hash,
    word_hashes,
)
from vcache.query.rows import test_of as fulfils
from vcache.query.syntax import Words

ODD = "aAzZ019_ -.\n\t\0éßẞİΣς²½٣あ'" + "\u0131\u017f\u03c3\u212a\u212b\u2019\u0301\u00ad\udcff\ud800"
texts = st.lists(
    st.text(ODD, max_size=12) | st.sampled_from(("timeout", "TimeOut", "lock_1", "ab", "x" * 256, "y" * 257)),
    max_size=6,
).map(" ".join)


def scalar(given_: list[str]) -> set[int]:
    return {word_hash(word) for text in given_ for word in filtered_words(text)}


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=1, max_size=8))
def test_all_words_at_once_are_each_by_itself(given_: list[str]) -> None:
    """The hashes of a block's texts are those of the words that the query language has."""
    assert set(word_hashes(given_).tolist()) == scalar(given_)


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=1, max_size=4), texts)
def test_what_is_meant_is_never_denied(given_: list[str], wanted: str) -> None:
    """Where a phrase is found in a text, the filter has all its words."""
    made = make_filter(word_hashes(given_))
    for phrase in (wanted, *given_, *(each[1:-1] for each in given_)):
        if any(map(fulfils(Words("message", phrase)), given_)):
            assert all(may_have(made, word_hash(word)) for word in filtered_words(phrase))


def test_words_at_the_edge_of_a_piece() -> None:
    """Texts longer than what is hashed at a time lose no word, whatever stands at the edge."""
    piece = tokens._PIECE
    for shift in (0, 3):
        for filler in ("ab ", "é ab "):
            text = filler * (piece * 2 // len(filler)) + "q" * shift + " needle " + filler * 3
            words = [f"w{at:05}" for at in range(60_000)]
            given_ = ["x" * shift + " " + " ".join(words), text]
            assert scalar(given_) <= set(word_hashes(given_).tolist())


def test_a_word_longer_than_a_piece_hides_no_other() -> None:
    """What no filter knows does not take its neighbours with it."""
    given_ = ["before " + "z" * (tokens._PIECE * 2 + 5) + " behind", "a" * tokens._PIECE, "next"]
    made = make_filter(word_hashes(given_))
    assert all(may_have(made, word_hash(word)) for word in (b"before", b"behind", b"next"))


def test_no_words_at_all() -> None:
    """A filter of nothing says no."""
    made = make_filter(word_hashes(["", "-", "a b"]))
    assert len(made) == 8
    assert not may_have(made, word_hash(b"word"))


def test_few_absent_words_are_taken_for_present() -> None:
    """A filter of 8 bits a word errs for some of a hundred."""
    made = make_filter(word_hashes([f"word{at}" for at in range(20_000)]))
    wrong = sum(may_have(made, word_hash(b"absent%d" % at)) for at in range(2_000))
    assert wrong < 120
    assert sum(may_have(made, pair_hash("x", f"absent{at}")) for at in range(2_000)) < 120
