"""Pages: all items once, whatever comes or goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.kit.pages import cursor_of, key_of, page_of


@given(st.sets(st.binary(max_size=4)), st.integers(1, 5))
def test_pages_give_every_item_once_and_in_order(keys: set[bytes], limit: int) -> None:
    """Page by page a list is what it is as a whole."""
    seen: list[bytes] = []
    cursor, pages = None, 0
    while True:
        page = page_of(keys, lambda key: key, after=cursor, limit=limit)
        assert len(page.items) <= limit
        seen += page.items
        pages += 1
        cursor = page.next
        if cursor is None:
            break
        assert len(page.items) == limit
    assert seen == sorted(keys)
    assert pages == max(1, -(-len(keys) // limit))


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_what_stays_is_seen_once_while_others_come_and_go(before: set[int], after: set[int]) -> None:
    """A cursor is a place in the order, not a count."""
    first = page_of(before, lambda n: bytes([n]), after=None, limit=3)
    rest = page_of(after, lambda n: bytes([n]), after=first.next, limit=100).items if first.next else []
    seen = first.items + rest
    assert len(seen) == len(set(seen))
    if first.next:
        assert before & after <= set(seen)


@given(st.binary(max_size=40))
def test_a_cursor_is_its_key(key: bytes) -> None:
    """A cursor needs no escaping in a URL, and tells the key."""
    cursor = cursor_of(key)
    assert key_of(cursor) == key
    assert all(char.isalnum() or char in "-_" for char in cursor)


@pytest.mark.parametrize("cursor", ["", "x", "AA", "====", "é", "AQ==", cursor_of(b"abc")[:-1] + "+", "a b"])
def test_what_is_no_cursor_is_said(cursor: str) -> None:
    """A cursor that was cut, changed or made up is an error that shows it."""
    with pytest.raises(UsageError, match="cursor"):
        page_of([], lambda item: item, after=cursor, limit=1)


def test_a_limit_below_one_is_said() -> None:
    """An empty page would be followed by itself."""
    with pytest.raises(UsageError, match="limit=0"):
        page_of([], lambda item: item, after=None, limit=0)
