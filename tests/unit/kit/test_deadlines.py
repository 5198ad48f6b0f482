from __future__ import annotations

import pytest

from vcache.errors import StoreError
from vcache.kit.deadlines import Within, expect, left_s


def test_without_a_deadline_the_default_holds() -> None:
    """Outside any context there is the time that the caller would take anyway."""
    assert left_s(7) == 7
    expect(1 << 40)


def test_an_earlier_end_holds_on() -> None:
    """A context within another one cannot lengthen it; when it is left, the outer one holds."""
    with Within(10):
        with Within(1000):
            assert left_s(5000) <= 10
        with Within(1):
            assert left_s(5) <= 1
        assert 1 < left_s(50) <= 10
    assert left_s(50) == 50


def test_it_is_never_below_a_millisecond() -> None:
    """Zero means for ever to some clients."""
    with Within(-5):
        assert left_s(3) == 0.001


def test_a_long_answer_lengthens_it() -> None:
    """By a second for each `rate` bytes, also through a context within."""
    with Within(1, rate_bytes=1000):
        expect(5000)
        assert 5 < left_s(100) <= 6
        with Within(100, rate_bytes=1):
            expect(4000)
            assert 9 < left_s(100) <= 10


def test_a_context_without_a_rate_stays_as_it_is() -> None:
    """A fixed end is fixed, whatever comes."""
    with Within(1), Within(10, rate_bytes=1):
        expect(1000)
        assert left_s(100) <= 1


def test_an_answer_above_the_limit_is_refused() -> None:
    """Before it is read: nothing is allocated for it."""
    with Within(1, limit_bytes=10):
        expect(10)
        with pytest.raises(StoreError, match="11 bytes is above the limit of 10"):
            expect(11)
