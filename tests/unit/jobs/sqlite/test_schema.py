"""Ids as they stand in the file."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from vcache.jobs.sqlite.schema import CODES, STATES, id_key, key_id
from vcache.jobs.states import State

_UUIDS = st.uuids().map(str)
_NEARLY = st.one_of(
    _UUIDS, _UUIDS.map(str.upper), st.text(), st.text("ab\0", min_size=15, max_size=18),
    _UUIDS.map(lambda text: text.replace("a", " ")), st.text("0123456789abcdef-", min_size=36, max_size=36),
)  # fmt: skip


@given(_NEARLY)
def test_a_key_gives_its_id_back(job_id: str) -> None:
    """Whatever an id is, its key leads back to it, so that no two ids have one key."""
    assert key_id(id_key(job_id)) == job_id


def test_a_uuid_takes_sixteen_bytes() -> None:
    """A UUID is kept as its bytes, and so in the order in which UUIDv7s were made."""
    made = uuid.uuid4()
    assert id_key(str(made)) == made.bytes


def test_each_state_has_its_codes() -> None:
    """What the file counts as states are all states but the one in which no job stays."""
    assert {code: state for state, codes in CODES.items() for code in codes} == dict(STATES)
    assert [state for state in State if not CODES[state]] == [State.FAILED]
