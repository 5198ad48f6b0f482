"""Segments that somebody made up, with checks that hold: gaps, records of the right types, bounded memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zstandard

from tests.patience import no_hang
from tests.unit.logs.segment.yard import (
    QUERIES,
    STREAM,
    Parsed,
    ask,
    build,
    check,
    chunk_of,
    make_records,
    parse,
    sealed,
)
from vcache.errors import DecodeError
from vcache.logs.record import Record
from vcache.logs.segment import merge, open_segment, writing

Change = Callable[[Parsed], object]


def column(block: list[Any], name: str) -> list[Any]:
    found: list[Any] = next(each for each in (*block[7], *block[8]) if each[0] == name)
    return found


def each_block(change: Callable[[list[Any], list[Any]], object]) -> Change:
    def applied(parsed: Parsed) -> None:
        for group in parsed.groups:
            for block in group[0]:
                change(block, group)

    return applied


def replaced(name: str, values: object, kind: str = "m") -> Change:
    """The column as a list of values of anything."""

    def change(block: list[Any], group: list[Any]) -> None:
        packed = values if isinstance(values, bytes) else msgpack.packb(values)
        stored = zstandard.ZstdCompressor().compress(packed)
        made = column(block, name)
        made[1:] = [kind, None, [chunk_of(group, stored, len(packed))], None]

    return each_block(change)


def put(at: int, value: Any) -> Change:
    return each_block(lambda block, group: block.__setitem__(at, value))


def how(name: str, at: int, value: Any) -> Change:
    return each_block(lambda block, group: column(block, name)[2].__setitem__(at, value))


def chunked(name: str, at: int, value: Any) -> Change:
    return each_block(lambda block, group: column(block, name)[3][-1].__setitem__(at, value))


def constant(name: str, value: Any) -> Change:
    return each_block(
        lambda block, group: column(block, name).__setitem__(slice(1, None), ["c", None, [], value])
    )


def dictionary(values: object, size: int = 0) -> Change:
    """`target` as numbers of a dictionary."""

    def change(block: list[Any], group: list[Any]) -> None:
        packed = values if isinstance(values, bytes) else msgpack.packb(values)
        stored = zstandard.ZstdCompressor().compress(packed)
        made = column(block, "target")
        made[1:] = [
            "d",
            [block[0], 0, size, 1, None],
            [chunk_of(group, stored, len(packed)), chunk_of(group, b"")],
            True,
        ]

    return each_block(change)


def texts(data: bytes, count: object, size: int = 0) -> Change:
    """`target` as numbers of texts."""

    def change(block: list[Any], group: list[Any]) -> None:
        stored = zstandard.ZstdCompressor().compress(data)
        chunks = [chunk_of(group, stored, len(data)), chunk_of(group, b"")]
        column(block, "target")[1:] = ["t", [block[0], 0, size, 1, None], chunks, count]

    return each_block(change)


def more(block: list[Any], group: list[Any], flat: list[Any]) -> None:
    packed = msgpack.packb(flat)
    stored = zstandard.ZstdCompressor().compress(packed)
    block[7].append(["@more", "n", None, [chunk_of(group, stored, len(packed))], None])


def zeros(size: int) -> bytes:
    """A frame of so many zeros, which is short."""
    made = zstandard.ZstdCompressor().compressobj(size=size)
    parts = [made.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, made.flush()])


def long_text(size: int) -> Change:
    def change(block: list[Any], group: list[Any]) -> None:
        column(block, "@message")[3][1] = chunk_of(group, zeros(size), size)

    return each_block(change)


def summed(name: str, change: Callable[[list[Any]], object]) -> Change:
    def applied(parsed: Parsed) -> None:
        for group in parsed.groups:
            change(next(each for each in group[1][1] if each[0] == name))

    return applied


NESTED = b"\xdd\x00\x0f\xff\xff" * 1_000
BOMBS: dict[str, Change] = {
    "messages of numbers": replaced("@message", [1] * 5),
    "messages of bytes": replaced("@message", [b"x"] * 5),
    "a message of none": constant("@message", None),
    "a source of bytes": constant("@source", b"x"),
    "a source of a number": constant("@source", 5),
    "times of text": replaced("@time", ["x"] * 5),
    "times of floats": replaced("@time", [0.5] * 5),
    "a constant time": constant("@time", 5),
    "no sequences": each_block(lambda block, group: block[7].remove(column(block, "@seq"))),
    "sequences below": how("@seq", 2, -5),
    "sequences beyond": how("@seq", 2, 1 << 40),
    "levels beyond": how("@level", 2, 300),
    "levels below": how("@level", 2, -1),
    "marks below": how("@marks", 2, -7),
    "marks of floats": put(5, 0.5),
    "levels by text": put(4, {"gcc": {"nine": 5}}),
    "levels of a list": put(4, [1, 2]),
    "levels of none": put(4, {}),
    "levels of more": put(4, {"gcc": {9: 1 << 60}}),
    "a true number of rows": put(0, True),
    "rows of 2**40": put(0, 1 << 40),
    "rows below": put(0, -5),
    "times of a block as text": put(1, "now"),
    "times of a block beyond": put(2, 1 << 63),
    "no runs": put(6, []),
    "runs below": put(6, [[STREAM.to_bytes(16, "big"), -5, -1]]),
    "runs of text": put(6, [["stream", 0, 5]]),
    "runs of a long stream": put(6, [[b"x" * 1000, 0, 5]]),
    "a stream with a sequence": put(6, [[b"\xff" * 16, 0, 5]]),
    "core of none": put(7, []),
    "fields of a number": put(8, 7),
    "a filter of text": put(9, "filter"),
    "a filter of nothing": put(9, [0, 0, check(b""), 0]),
    "a filter below": put(9, [-5, 5, 0, 0]),
    "count of 2**40": how("@time", 0, 1 << 40),
    "count below": how("@time", 0, -1),
    "width of 3": how("@time", 1, 3),
    "width of 2**40": how("@time", 1, 1 << 40),
    "base beyond": how("@time", 2, (1 << 64) - 1),
    "step beyond": how("@time", 3, (1 << 64) - 1),
    "step of text": how("@time", 3, "x"),
    "first of a float": how("@time", 4, 0.5),
    "chunk before": chunked("@message", 0, -8),
    "chunk beyond": chunked("@message", 0, 1 << 62),
    "chunk of less than nothing": chunked("@message", 1, -8),
    "chunk of 2**62": chunked("@message", 1, 1 << 62),
    "raw of 1 GB": chunked("@message", 3, 1 << 30),
    "raw below": chunked("@message", 3, -1),
    "a chunk of text": chunked("@message", 0, "x"),
    "1 GB of zeros": long_text(1 << 30),
    "kind of nothing": each_block(lambda block, group: column(block, "pid").__setitem__(1, "z")),
    "kind of a list": each_block(lambda block, group: column(block, "pid").__setitem__(1, ["i"])),
    "a constant list": constant("pid", [1]),
    "a constant of 65 bits": constant("pid", 1 << 63),
    "a field of lists": replaced("mixed", [[1]] * 5),
    "a field of dicts": replaced("mixed", [{"a": 1}] * 5),
    "a field of bytes": replaced("mixed", [b"x"] * 5),
    "a field of 65 bits": replaced("mixed", [1 << 63] * 5),
    "a field of times": replaced("mixed", [msgpack.Timestamp(5)] * 5),
    "a field of others": replaced("mixed", [msgpack.ExtType(5, b"x")] * 5),
    "a field of 10**7 none": replaced("mixed", b"\xdd" + (10**7).to_bytes(4, "big") + b"\xc0" * 10**7),
    "a field of 10**7 lists": replaced("mixed", b"\x92\xdc\xff\xff" + b"\x90" * 65535 + b"\xdc\xff\xff" + b"\x90" * 65535),
    "a field of lists in lists": replaced("mixed", NESTED),
    "dictionary of none": dictionary([]),
    "dictionary of numbers": dictionary([1, 2]),
    "dictionary of lists": dictionary([[1], [2]]),
    "dictionary of 10**7 none": dictionary(b"\xdd" + (10**7).to_bytes(4, "big") + b"\xc0" * 10**7),
    "dictionary beyond": dictionary(["all"], 5),
    "dictionary below": dictionary(["all"], -1),
    "dictionary of nests": dictionary(NESTED),
    "texts beyond": texts(b"a\0b\0", 2, 3),
    "texts below": texts(b"a\0b\0", 2, -1),
    "texts that are fewer": texts(b"a\0", 2),
    "texts without an end": texts(b"a\0b", 2),
    "texts of no kind": texts(b"\xff\xfe\0", 1),
    "texts of a text": texts(b"a\0", "1"),
    "texts of 2**40": texts(b"a\0", 1 << 40),
    "texts of nobody": texts(b"", 0),
    "none of texts": texts(b"a\0", 1, 1),
    "decimals of 99 digits": each_block(lambda block, group: column(block, "took_s").__setitem__(4, 99)),
    "hex of text": each_block(lambda block, group: column(block, "trace").__setitem__(4, "x")),
    "hex of less than nothing": each_block(lambda block, group: column(block, "trace").__setitem__(4, -32)),
    "counts of 2**40": summed("count", lambda one: one.__setitem__(2, [1 << 40, 0, 1, 1, None])),
    "counts of 2**40 of all": lambda parsed: [one.__setitem__(2, [1 << 40, 0, 0, 1, None]) for group in parsed.groups for one in group[1][1]],
    "counts below": summed("count", lambda one: one[2].__setitem__(2, -5)),
    "minutes far apart": summed("minute", lambda one: one.__setitem__(2, [one[2][0], 0, 1 << 60, 1, -(1 << 60)])),
    "minutes beyond": summed("minute", lambda one: one[2].__setitem__(2, 1 << 62)),
    "a count of no source": summed("source", lambda one: one[2].__setitem__(2, 99)),
    "a count of a level beyond": summed("level", lambda one: one[2].__setitem__(2, 999)),
    "a summary of text": lambda parsed: parsed.groups[0].__setitem__(1, "counts"),
    "a summary of no columns": lambda parsed: parsed.groups[0].__setitem__(1, [["gcc"], []]),
    "sources of numbers": lambda parsed: parsed.groups[0][1].__setitem__(0, [1, 2, 3]),
    "10**6 blocks": lambda parsed: parsed.groups[0].__setitem__(0, parsed.groups[0][0] * 10_000),
    "more of numbers": each_block(lambda block, group: more(block, group, [1, 2, 3])),
    "more of less": each_block(lambda block, group: more(block, group, [0])),
    "more than there is": each_block(lambda block, group: more(block, group, [1 << 62, "a", 1])),
    "more below": each_block(lambda block, group: more(block, group, [-1] * block[0])),
    "more of none": each_block(lambda block, group: more(block, group, [1, "a", None] * block[0])),
    "more of lists": each_block(lambda block, group: more(block, group, [[1, "a", 1]] * block[0])),
    "more that is constant": each_block(lambda block, group: block[7].append(["@more", "c", None, [], 5])),
    "a field of more": each_block(lambda block, group: column(block, "mixed").__setitem__(1, "n")),
    "blocks of a number": lambda parsed: parsed.groups[0].__setitem__(0, [1, 2]),
    "blocks in blocks": lambda parsed: parsed.groups[0].__setitem__(0, [parsed.groups[0][0]]),
    "replaces a number": lambda parsed: parsed.replaces.__setitem__(slice(0), [b"x" * 32]),
}  # fmt: skip


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A segment whose groups are summed up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "WINDOW_ROWS", 60)
        path = tmp_path_factory.mktemp("counted") / "sound"
        sealed(path, make_records(120))
    data = path.read_bytes()
    assert all(group[1] for group in parse(data).groups)
    return data


def is_record(record: Record) -> bool:
    """Whether it has the types of a record, all bounds held."""
    numbers = (record.at_ns, record.level, record.marks, record.repeats, record.seen_ns)
    return (
        all(type(number) is int and -(1 << 63) <= number < 1 << 63 for number in numbers)
        and 0 <= record.level < 256
        and record.marks >= 0
        and all(type(text) is str for text in (record.source, record.message, record.id, *record.fields))
        and len(record.id) == 36
        and {str, int, float, bool}.issuperset(map(type, record.fields.values()))
        and all(-(1 << 63) <= each < 1 << 63 for each in record.fields.values() if type(each) is int)
    )


def look(path: Path) -> list[str]:
    """What is wrong about the answers of a segment that is made up."""
    segment = open_segment(path, digest=b"d" * 32)
    wrong = []
    for query in ("*", *QUERIES):
        rows, _ = ask(query, [segment])
        wrong += [f"{query}: {row!r:.200}" for row in rows if isinstance(row, Record) and not is_record(row)]
    for seq in (0, 7):
        try:
            there = segment.find(STREAM, seq)
        except DecodeError:
            continue
        if there is not None and not is_record(there):
            wrong.append(f"found: {there!r:.200}")
    try:
        merge([segment], path.with_suffix(".merged"))
    except DecodeError:
        pass
    path.with_suffix(".merged").unlink(missing_ok=True)
    return wrong


def made_up(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Segments, and what is odd about each."""
    for name, change in BOMBS.items():
        parsed = parse(data)
        change(parsed)
        yield name, build(parsed)
    places: dict[str, Callable[[list[Any]], object]] = {
        "a group beyond": lambda groups: groups[0].__setitem__(0, 1 << 60),
        "a group before": lambda groups: groups[0].__setitem__(0, -60),
        "a group of 2**60": lambda groups: groups[0].__setitem__(1, 1 << 60),
        "a group of text": lambda groups: groups[0].__setitem__(0, "x"),
        "a group often": lambda groups: groups.extend(groups[:1] * 100_000),
        "groups of a number": lambda groups: groups.__setitem__(slice(None), [7]),
    }
    for name, place in places.items():
        yield name, build(parse(data), places=lambda groups, place=place: (place(groups), None)[1])  # type: ignore[misc]
    yield "a footer of nests", with_footer(data, NESTED)
    yield "a footer of lists", with_footer(data, b"\xdc\xff\xff" + b"\x90" * 65535)
    yield "a footer of 1 GB", with_footer(data, zeros(1 << 30), raw_bytes=1 << 30)
    yield "a footer of none", with_footer(data, b"\xc0")
    mark = data[data.index(b"\xb1\x0cL1") :][:8] + (1 << 22).to_bytes(4, "little") * 2 + bytes(16)
    yield "marks that claim much", data[:24] + mark * 200_000


def with_footer(data: bytes, packed: bytes, raw_bytes: int | None = None) -> bytes:
    end = struct.unpack_from("<Q", data, len(data) - 32)[0]
    stored = packed if raw_bytes else zstandard.ZstdCompressor().compress(packed)
    raw = raw_bytes or len(packed)
    return data[:end] + stored + struct.pack("<QIIQ8s", end, len(stored), raw, check(stored), b"vcacheLE")


CHILD = """
import json, resource, sys
from pathlib import Path
from tests.faults.test_log_made_up import look
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
for name in sorted(Path(sys.argv[1]).iterdir()):
    before = peak()
    try:
        wrong = look(name)
    except BaseException as error:
        wrong = [f"{type(error).__name__}: {error}"]
    print(json.dumps([name.name, peak() - before, wrong]), flush=True)
"""


def test_what_is_made_up_is_refused(counted: bytes, tmp_path: Path) -> None:
    """Every check holds, and what is described is nonsense, or huge: gaps, records of the right types, no memory."""
    names = []
    (tmp_path / "made").mkdir()
    for number, (name, data) in enumerate(made_up(counted)):
        (tmp_path / "made" / f"{number:03}").write_bytes(data)
        names.append(name)
    with no_hang():
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path / "made")], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr[-2_000:]
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(names)
    odd = {names[int(at)]: (grown, wrong) for at, grown, wrong in said if wrong or grown > 200}
    assert odd == {}
