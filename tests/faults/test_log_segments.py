"""Damage to segments: what is shown is right, and what is not shown is a gap."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.logs.segment.yard import (
    QUERIES,
    STREAM,
    ask,
    make_records,
    named,
    parse,
    plain,
    sealed,
)
from vcache.errors import DecodeError
from vcache.logs.record import Record
from vcache.logs.segment import Segment, merge, open_segment, writing

ROWS = 12


def few_fields() -> list[Record]:
    """Records of a short segment: each byte of it is damaged once."""
    names = ("target", "pid", "trace", "mixed")
    return [
        record._replace(fields={name: record.fields[name] for name in names if name in record.fields})
        for record in make_records(ROWS)
    ]


class Yard:
    """A sound segment of three groups."""

    def __init__(self, directory: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writing, "WINDOW_ROWS", 5)
            self.segment = sealed(directory / "sound", few_fields())
        self.path = directory / "damaged"
        self.data = (directory / "sound").read_bytes()
        self.records = {record.id: record for record in named(few_fields())}
        self.answers = {query: Counter(map(repr, ask(query, [self.segment])[0])) for query in QUERIES}
        assert len(parse(self.data).groups) == 3

    def opened(self, data: bytes) -> Segment:
        self.path.unlink(missing_ok=True)  # what is mapped stays what it is
        self.path.write_bytes(data)
        return open_segment(self.path, digest=b"d" * 32)

    def examine(self, data: bytes, what: str, queries: tuple[str, ...]) -> int:
        """How many records are lost; each that is left is right, and the lost ones are said."""
        segment = self.opened(data)
        found, result = ask("*", [segment])
        for record in found:
            assert repr(record) == repr(self.records.get(record.id)), f"{what}: {record}"
        ids = [record.id for record in found]
        # A group that was copied is there twice, unless the footer says where the groups are.
        assert len(set(ids)) == len(ids) or data.count(b"\xb1\x0cL1") > 3, f"{what}: twice"
        lost = len(self.records) - len(set(ids))
        said = [gap.records for gap in result.gaps]
        assert not lost or -1 in said or sum(said) == lost, f"{what}: {lost} are lost, {said} are said"
        for query in queries:
            rows, answer = ask(query, [segment])
            if not any(gap.records for gap in answer.gaps) and len(ids) == len(self.records):
                assert Counter(map(repr, rows)) == self.answers[query], f"{what}: {query}"
        self.find(segment, set(ids), what)
        return lost

    def find(self, segment: Segment, shown: set[str], what: str) -> None:
        wanted = random.Random(len(shown)).choice(sorted(self.records))
        try:
            there = segment.find(STREAM, int(wanted[-8:], 16))
        except DecodeError:
            assert wanted not in shown, f"{what}: shown and not found"
            return
        assert there is None or repr(plain(there)) == repr(self.records[wanted]), what
        assert there is not None or wanted not in shown, what


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(tmp_path_factory.mktemp("segments"))


def flip_each(yard: Yard, bits: tuple[int, ...], queries: int, every: int = 1) -> int:
    lost = 0
    for at in range(len(yard.data)):
        for bit in bits:
            turned = bytearray(yard.data)
            turned[at] ^= 1 << (bit + at) % 8
            asked = tuple(
                QUERIES[(at + step) % len(QUERIES)] for step in range(queries if at % every == 0 else 0)
            )
            lost += yard.examine(bytes(turned), f"byte {at}", asked) > 0
    return lost


def test_a_flipped_bit_costs_no_more_than_a_group(yard: Yard) -> None:
    """A bit of each byte, one at a time: most of them cost a block, none costs the truth."""
    assert flip_each(yard, (0,), 1, every=4) > 100


@pytest.mark.slow
def test_any_flipped_bit(yard: Yard) -> None:
    """Every bit of every byte, with two of the queries in turn."""
    assert flip_each(yard, tuple(range(8)), 2) > 1_000


def test_two_wounds(yard: Yard) -> None:
    """Bytes swapped, stretches overwritten, removed, repeated and put elsewhere."""
    luck = random.Random(7)
    for number in range(400):
        data, size = bytearray(yard.data), len(yard.data)
        for _ in range(luck.randint(1, 3)):
            one, two, length = luck.randrange(size), luck.randrange(size), luck.randint(1, 400)
            match luck.randrange(5):
                case 0:
                    data[one % len(data)], data[two % len(data)] = (
                        data[two % len(data)],
                        data[one % len(data)],
                    )
                case 1:
                    data[one : one + length] = luck.randbytes(length)
                case 2:
                    del data[one : one + length]
                case 3:
                    data[one:one] = data[two : two + length]
                case _:
                    data[one : one + length] = bytes(length)
        asked = (QUERIES[number % len(QUERIES)],)
        yard.examine(bytes(data), f"wound {number}", asked)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_file_of_any_length(yard: Yard, step: int) -> None:
    """What is left of a segment is shown, and that something is missing is said."""
    for length in range(0, len(yard.data), step):
        yard.examine(yard.data[:length], f"length {length}", (QUERIES[length % len(QUERIES)],))


def test_groups_are_found_without_the_footer(yard: Yard) -> None:
    """Without footer and head all records are shown; the middle group's damage costs that one."""
    bare = bytearray(yard.data)
    bare[-8:] = bytes(8)
    assert yard.examine(bytes(bare), "no trailer", QUERIES) == 0
    bare[3] ^= 1
    assert yard.examine(bytes(bare), "no head", QUERIES) == 0
    starts = [at for at in range(len(bare)) if bare.startswith(b"\xb1\x0cL1", at)]
    bare[starts[1]] ^= 1
    assert yard.examine(bytes(bare), "no second group", QUERIES) == 5
    bare[starts[2]] ^= 1
    assert yard.examine(bytes(bare), "no third group", QUERIES) == 7


def test_damage_is_not_merged(yard: Yard, tmp_path: Path) -> None:
    """A merge would hide damage: it is refused, and leaves nothing behind."""
    turned = bytearray(yard.data)
    block = parse(yard.data).groups[1][0][0]
    message = next(column for column in block[7] if column[0] == "@message")
    begin = yard.segment.groups[1].offset + message[3][1][0]
    turned[begin + 5] ^= 1
    with pytest.raises(DecodeError):
        merge([yard.segment, yard.opened(bytes(turned))], tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []
