from __future__ import annotations

import collections
import datetime as dt
import math
import os
import pathlib
import subprocess
import sys
import uuid
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import msgpack
import pytest

from vcache.errors import DecodeError, EncodeError
from vcache.serialize import dump, load
from vcache.serialize.wire import TYPED, Code

PARIS = ZoneInfo("Europe/Paris")


def content_of(value: object) -> bytes:
    return b"".join(dump(value, codec="msgpack").parts)


def back(value: object) -> object:
    return load("msgpack", content_of(value))


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 3**500, -(3**500),
        0.5, math.inf, -0.0, 1j, complex(-0.0, math.inf), "", "é\0", "\udc80", b"", b"\xc4",
        bytearray(), bytearray(b"x"), [bytearray(b"x")], {"a": {"b": [bytearray(b"x")]}}, (bytearray(b"y"), b"y"),
        [], [[]], {}, {"a": {}}, {1: 2, None: 3, 1.5: 4, (1, (2,)): 5, frozenset([1]): 6},
        (), ((),), (1, [2, (3,)]), set(), {1, "a", None, (1, 2)}, frozenset(), frozenset([1, (2,)]),
        dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC), dt.datetime.max,
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1), dt.datetime(2024, 10, 27, 2, 30, fold=1),
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-23, microseconds=1), "odd")),
        dt.date.min, dt.time(1, 2, 3, 4), dt.time(2, 30, fold=1), dt.time(1, tzinfo=dt.UTC),
        dt.timedelta.max, dt.timedelta.min, dt.timedelta(microseconds=-1), dt.UTC, dt.timezone(dt.timedelta(hours=1)),
        pathlib.Path("/a/b"), pathlib.Path(), pathlib.Path(os.fsdecode(b"\xff")), pathlib.PurePosixPath("x"),
        pathlib.PureWindowsPath("c:\\x"),
        Decimal("1.10"), Decimal("-Infinity"), Decimal("-0"), Decimal("1E+1000"), Fraction(-3, 7),
        uuid.UUID(int=5), range(5), range(10, 0, -3),
        collections.deque([1, (2,)], maxlen=3), collections.deque(), collections.OrderedDict([("b", 1), ("a", 2)]),
        collections.Counter("aab"), collections.Counter({"a": -2}),
        collections.defaultdict(list, {1: [2]}), collections.defaultdict(None, {1: 2}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_come_back(value):
    """A value comes back equal, of its very type, and so do all its parts."""
    found = back(value)
    assert found == value
    assert type(found) is type(value)
    if not isinstance(value, (set, frozenset)):  # whose repr follows the hash seed
        assert repr(found) == repr(value)


def test_what_equality_does_not_see():
    """NaN, signs of zero, fold, zone keys, default factories and lengths come back as well."""
    assert math.isnan(back(math.nan))  # type: ignore[arg-type]
    assert str(back(Decimal("sNaN7"))) == "sNaN7"
    moment = back(dt.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1))
    assert isinstance(moment, dt.datetime)
    assert (moment.fold, moment.tzinfo) == (1, PARIS)
    assert back(collections.deque([1], maxlen=3)).maxlen == 3  # type: ignore[attr-defined]
    assert back(collections.defaultdict(list)).default_factory is list  # type: ignore[attr-defined]
    assert [*back({"b": 1, "a": 2})] == ["b", "a"]  # type: ignore[misc]


def test_true_and_one_and_one_point_zero_stay_apart():
    """Equal values of different types keep their types, alone and as parts."""
    found = back([1, 1.0, True, Fraction(1), Decimal(1)])
    assert [type(item) for item in found] == [int, float, bool, Fraction, Decimal]  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [list, tuple, lambda items: {"k": items}, lambda items: [{1: items}]])
def test_a_bytearray_among_bytes_keeps_its_type(make):
    """bytes stay bytes and bytearrays stay bytearrays, however they are mixed."""
    value = make([b"a", bytearray(b"b"), [b"c", (bytearray(b"d"),)]])
    assert repr(back(value)) == repr(value)


def test_a_memoryview_comes_back_as_bytes():
    """A view is of bytes, and bytes come back."""
    assert back([memoryview(b"ab")]) == [b"ab"]


def test_plain_data_is_plain_msgpack():
    """What msgpack has natively is stored so that any msgpack reader understands it."""
    value = {"a": [1, 2.5, None, True, b"x", "é"], "b": {"c": []}}
    assert msgpack.unpackb(content_of(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        print,
        type,
        collections.defaultdict(lambda: 1),
        iter([]),
        type("Text", (str,), {})("x"),
        type("Number", (int,), {})(1),
        type("Moment", (dt.datetime,), {})(2024, 1, 1),
        {"a": object},
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused(value):
    """A value that would not come back as what it was is refused."""
    with pytest.raises(EncodeError, match=r"^value"):
        dump(value, codec="msgpack")


PROGRAM = """
import sys
from vcache.serialize import dump
value = [{"b", "a", "c"}, frozenset([1, "x", (2, "y"), None, frozenset("pq")]), {("t", n) for n in range(20)}]
print(b"".join(dump(value).parts).hex())
"""


def test_equal_sets_have_equal_bytes_under_any_hash_seed():
    """A set's bytes depend on its items alone, so an unchanged result cuts a build off early."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


def ext(code: int, data: bytes = b"") -> msgpack.ExtType:
    return msgpack.ExtType(code, data)


@pytest.mark.parametrize(
    "document",
    [
        ext(Code.TUPLE), [1, ext(Code.TUPLE)], [[ext(Code.TUPLE), ext(Code.TUPLE)]], {"a": ext(Code.SET)},
        [ext(Code.SET), [1]], [ext(Code.DEQUE)], [ext(Code.DEQUE), "x"], [ext(Code.DEQUE), -1],
        [ext(Code.ORDERED_DICT), 1], [ext(Code.COUNTER), [], 1], [ext(Code.DEFAULT_DICT), "open"],
        [ext(Code.DATETIME), "soon", 0, None], [ext(Code.DATETIME), "2024-01-01", 5, None],
        [ext(Code.DATETIME), "2024-01-01", 0, "zone"], [ext(Code.DATETIME)], [ext(Code.TIME), "25:00", 0, None],
        [ext(Code.TIMEZONE), 1, None], [ext(Code.TIMEZONE), ext(Code.TIMEDELTA, bytes([9] * 12)), None],
        [ext(Code.FRACTION), 1, 0], [ext(Code.FRACTION), "1/2", 3], [ext(Code.RANGE), 1, 2, 0], [ext(Code.RANGE), 1.5],
        [ext(Code.NDARRAY), "<f8", "C", 0, 1], [ext(Code.ARROW), "table", 0], [ext(Code.FOREIGN), "no such", b""],
        [ext(Code.FOREIGN), 1, 2], [ext(Code.EXCEPTION), "x"], [ext(Code.CLASS_AGAIN, b"\0")],
        ext(Code.COMPLEX, b"short"), ext(Code.DATE, b"2024-99-99"), ext(Code.TIMEDELTA, b""), ext(Code.DECIMAL, b"x"),
        ext(Code.UUID, b"123"), ext(Code.PATH, b""), ext(Code.PATH, b"Xa"), ext(Code.ZONE, b"../../etc/passwd"),
        ext(Code.ZONE, b"No/Where"), ext(99), ext(Code.TUPLE, b"data"), [ext(0)],
        ext(Code.PATH, b"W" if os.name == "posix" else b"P"),
    ],
    ids=lambda document: ascii(document)[:60],
)  # fmt: skip
def test_forged_documents_are_refused(document):
    """A document that is well-formed msgpack, and means nothing, is a DecodeError."""
    with pytest.raises(DecodeError):
        load("msgpack", TYPED + msgpack.packb(document))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xc1", TYPED, b"\xc1\x03\x01", b"\xc1\x02", b"\xc1\x02" + bytes(14), b"\xc1\x02\0\0" + b"\xff" * 12,
        b"\x01\x02", b"\x92\x01", b"\x81\x90\x01", b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
        b"\xc7\x00\x01", b"\xd4\x10\x00", b"\xa1\xff",
    ],
    ids=lambda content: content[:12].hex(),
)  # fmt: skip
def test_malformed_content_is_refused(content):
    """Content that is cut, endless, or of no known shape is a DecodeError."""
    with pytest.raises(DecodeError):
        load("msgpack", content)
