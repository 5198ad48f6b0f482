"""What a test may expect of a store by what its `info` says: of listings and of counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from vcache.errors import StoreClosed, StoreError

if TYPE_CHECKING:
    from vcache.entry import Key
    from vcache.store.base import Store

__all__ = ["expect_entries", "expect_keys", "is_counted"]


def expect_keys(store: Store, keys: Iterable[Key], prefix: bytes = b"") -> None:
    """`scan` gives exactly these keys; where a store is not listed it raises, and each is found.

    What must not be there is only seen where there is a listing.
    """
    expected = sorted(keys)
    if store.info.is_listed:
        assert sorted(store.scan(prefix)) == expected
        return
    with pytest.raises(StoreError) as caught:
        list(store.scan(prefix))
    assert not isinstance(caught.value, StoreClosed)
    assert [key for key in expected if store.get(key) is None] == []


def expect_entries(store: Store, count: int) -> None:
    """`counters` says so many entries; a store that cannot count cheaply says none, ever."""
    assert store.counters().entries == (count if is_counted(store) else 0)


def is_counted(store: Store) -> bool:
    """Whether `counters` knows what the store holds: one of another machine may not ask for it."""
    if not store.info.is_listed:
        return False
    return store.info.is_trusted or store.counters()[:2] != (0, 0)
