"""What is known of a condition without reading a block never contradicts its records."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_log_search import conditions, records
from tests.unit.logs.segment.yard import START_NS, STREAM, named, sealed
from vcache.logs.fields import getter_of
from vcache.logs.record import Record
from vcache.logs.search.decided import decided, timed
from vcache.logs.search.masks import count_of, mask_of, rows_of
from vcache.query.parser import parse
from vcache.query.rows import compiled


@settings(max_examples=60, deadline=None)
@given(given_=records(), where=st.lists(conditions, min_size=1, max_size=4))
def test_what_is_decided_holds(given_: list[Record], where: list[str]) -> None:
    """True is so for all rows, false for none; masks have exactly the rows that pass; times decide no otherwise."""
    with tempfile.TemporaryDirectory() as directory:
        segment = sealed(Path(directory) / "a", given_)
        rows = {record.id: record for record in named(given_)}
        for text in where:
            expression = parse(text, now_ns=START_NS).where
            test = compiled(expression, getter_of)
            for block in segment.blocks:
                ids = block.ids(rows_of(True, block.about.rows))
                answers = [test(rows[each]) for each in ids]
                known = decided(expression, block)
                assert known is None or {known} == set(answers)
                mask = mask_of(expression, block)
                assert rows_of(mask, len(ids)).tolist() == [at for at, answer in enumerate(answers) if answer]
                assert count_of(mask, len(ids)) == sum(answers)
                left = timed(expression, block.about.first_ns, block.about.last_ns)
                if isinstance(left, bool):
                    assert {left} == set(answers)
                else:
                    assert [compiled(left, getter_of)(rows[each]) for each in ids] == answers
                block.forget()
        assert all(segment.find(STREAM, seq) is not None for seq in range(0, len(given_), 7))
