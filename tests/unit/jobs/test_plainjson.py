"""Plain values in JSON: nothing is lost on the way, and what is none is said to be so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.jobs.plainjson import jsonable, parse_json, plain_of

_NAMES = st.text(max_size=5) | st.sampled_from(["$bytes", "$$bytes", "$$$bytes", "$"])
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=8,
)  # fmt: skip


@given(_PLAIN)
def test_what_is_written_is_read(value: object) -> None:
    """Every plain value comes back, also one that looks like bytes and is none."""
    assert plain_of(parse_json(json.dumps(jsonable(value)))) == value


def test_bytes_are_base64() -> None:
    """As the documentation says."""
    assert jsonable({"raw": b"\0\1\2"}) == {"raw": {"$bytes": "AAEC"}}
    assert jsonable({"$bytes": 1}) == {"$$bytes": 1}
    assert plain_of({"$bytes": "AAEC"}) == b"\0\1\2"
    assert plain_of({"$bytes": "AAEC", "more": 1}) == {"$bytes": "AAEC", "more": 1}


@pytest.mark.parametrize("wrong", ["not base64", 5, None, "AAE"])
def test_what_is_no_base64_is_refused(wrong: object) -> None:
    """With the value, and what to write."""
    with pytest.raises(UsageError, match=r"base64"):
        plain_of({"$bytes": wrong})


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "[" * 100_000, "1" * 5000])
def test_what_is_no_json_is_refused(text: str) -> None:
    """Nor are numbers that JSON has none of, and what is nested without end."""
    with pytest.raises(UsageError, match="no JSON"):
        parse_json(text)
