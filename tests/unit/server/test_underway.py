"""How much may be under way at once."""

from __future__ import annotations

import pytest

from vcache.server.refused import Refusal, Refused
from vcache.server.underway import UnderWay


def test_beyond_the_bound_is_turned_away() -> None:
    """One alone always has room; a second one only if there is, and again when the first is gone."""
    under_way = UnderWay(100)
    with under_way.room(500):
        with pytest.raises(Refused) as refused, under_way.room(1):
            pass
        assert refused.value.kind is Refusal.CROWDED
    with under_way.room(60), under_way.room(40):
        pass
    with under_way.room(100):
        pass
