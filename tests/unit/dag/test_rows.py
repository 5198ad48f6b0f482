"""Records by number, and the record of a result."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vcache.dag.rows import Row, Rows, find_number, has_all_outs, numbers_of, pack_row, record_of, unpack_row

_number = st.integers(0, (1 << 32) - 1)


@given(
    st.lists(st.binary(max_size=6), max_size=6),
    st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=6)), max_size=8),
)
def test_rows_are_a_list(given: list[bytes], changes: list[tuple[int, bytes]]) -> None:
    """reading, replacing and adding records, stored and loaded in between, as with a list"""
    rows = Rows()
    for record in given:
        rows.append(record)
    expected = list(given)
    for at, record in changes:
        rows = Rows(*rows.pieces())
        if at < len(expected):
            rows[at] = expected[at] = record
        else:
            assert rows.append(record) == len(expected)
            expected.append(record)
        assert [bytes(rows[number]) for number in range(len(rows))] == expected
    again = Rows(*rows.pieces())
    assert [bytes(again[number]) for number in range(len(again))] == expected


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 256, 65536, 1 << 24, 1 << 31]), max_size=4), max_size=8),
    st.data(),
)
def test_numbers_are_found_where_they_are(lists: list[list[int]], data: st.DataObject) -> None:
    """in stored and in new records, at whole numbers only, and in no record that was replaced"""
    rows = Rows()
    for numbers in lists:
        rows.append(record_of(numbers))
    rows = Rows(*rows.pieces())
    for at in data.draw(st.lists(st.integers(0, len(lists)), max_size=3)):
        numbers = data.draw(st.lists(st.sampled_from([0, 1, 256, 1 << 24]), max_size=3))
        if at < len(lists):
            rows[at], lists[at] = record_of(numbers), numbers
    assert [numbers_of(rows[at]) for at in range(len(rows))] == lists
    for number in (0, 1, 256, 1 << 31, 77):
        assert find_number(rows, number) == [at for at, numbers in enumerate(lists) if number in numbers]


@given(
    st.builds(
        Row,
        base=st.binary(max_size=40),
        n_found=_number,
        outs=st.lists(st.binary(max_size=40), max_size=4).map(tuple),
        took_ns=st.integers(-(1 << 62), 1 << 62),
        result=st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.just("dag:caf\udce9"),
        log=st.binary(max_size=40),
    )
)
def test_a_row_comes_back(row: Row) -> None:
    """every field, and whether all outputs were made without unpacking it"""
    record = pack_row(row)
    assert unpack_row(record) == row
    assert unpack_row(memoryview(b"xyz" + record)[3:]) == row
    assert has_all_outs(record) == all(row.outs)
