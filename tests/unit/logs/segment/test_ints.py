"""Whole numbers of 64 bits, whatever they are, come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.errors import DecodeError
from vcache.logs.segment.ints import Ints, decode_ints, encode_ints

LOW, HIGH = -(1 << 63), (1 << 63) - 1


def around(values: list[int]) -> list[int]:
    how, data = encode_ints(np.array(values, np.int64))
    assert how.count == len(values)
    found: list[int] = decode_ints(how, data).tolist()
    return found


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ([5], 0), ([7] * 9, 0), ([LOW], 0), ([HIGH, HIGH], 0), ([0, 255], 1), ([0, 65_535, 7], 2), ([0, 1 << 31, 7], 4),
        ([0, 1 << 62, 7], 8), ([LOW, HIGH], 1), ([HIGH, LOW], 1), ([LOW, HIGH, LOW], 1), ([LOW, HIGH, 0, -1], 8), ([LOW, 0, HIGH], 8),
        ([1_000_000 * at for at in range(300)], 0), ([1_000_000 * (at * at % 7) for at in range(300)], 1),
        ([10**9 * at + at % 3 * 1_000 for at in range(5_000)], 1), ([LOW, LOW + 3, LOW + 9], 1), ([HIGH - 500, HIGH - 250, HIGH], 0),
    ],
    ids=str,
)  # fmt: skip
def test_known_numbers(values: list[int], width: int) -> None:
    """The bounds of 64 bits, each width, common steps and steady differences."""
    how, data = encode_ints(np.array(values, np.int64))
    assert how.width == width
    assert decode_ints(how, data).tolist() == values


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.integers(LOW, HIGH) | st.integers(-300, 300) | st.sampled_from((LOW, HIGH, LOW + 1, 0)), min_size=1
    ),
    st.sampled_from((1, 2, 1_000, 10**9)),
)
def test_any_numbers(values: list[int], step: int) -> None:
    """What goes in comes out, also where sums and steps wrap around."""
    assert around(values) == values
    stepped = [(value * step + (1 << 63)) % (1 << 64) - (1 << 63) for value in values]
    assert around(stepped) == stepped
    sums = np.cumsum(np.array(stepped, np.int64)).tolist()
    assert around(sums) == sums


def test_a_step_is_common_to_all() -> None:
    """A number beyond those that the step is guessed from counts as well."""
    values = [at * 1_000 for at in np.random.default_rng(5).permutation(9_000).tolist()]
    values[8_500] += 1
    assert around(values) == values


@pytest.mark.parametrize(
    "how",
    [Ints(3, 3, 0, 1, None), Ints(3, 1, 0, 1, None), Ints(9, 2, 0, 1, None)],
    ids=["width", "less", "more"],
)
def test_what_is_not_as_described_is_damage(how: Ints) -> None:
    """Bytes that are not what the description says are damage."""
    _, data = encode_ints(np.array([0, 300, 7], np.int64))
    with pytest.raises(DecodeError):
        decode_ints(how, data)
