"""Which values are told apart, which calls are the same call, and what errors say."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import inspect
import ipaddress
import operator
import os
import re
import subprocess
import sys
import types
import uuid
import zoneinfo
from array import array
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from vcache.errors import FingerprintError, UsageError
from vcache.fingerprint.arguments import bind, binder, identity


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Hue(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Weird(enum.Enum):
    LOCKED = iter("a")  # values without an identity of their own
    OPEN = iter("b")


@dataclasses.dataclass
class Point:
    x: int
    y: object = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    x: int
    y: object = 0


class Pair(NamedTuple):
    x: int
    y: int


class Text(str):
    __slots__ = ()


class Tagged(dict[str, int]):
    tag = 0


class Keyed:
    def __init__(self, key: object) -> None:
        self.key = key

    def __vcache_key__(self) -> object:
        return self.key


class Endless:
    def __vcache_key__(self) -> object:
        return self


class Table:
    """What speaks Arrow's stream protocol, as data frames do."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Tensor:
    """What turns itself into an array."""

    def __init__(self, *items: int) -> None:
        self._items = items

    def __array__(self, dtype: object = None, copy: object = None) -> object:
        return np.array(self._items)


def first(x: int) -> int:
    return x


def second(x: int) -> int:
    return x


def adder(n: int) -> Callable[[int], int]:
    return lambda x: x + n


def tagged(tag: int) -> Tagged:
    found = Tagged(a=1)
    found.tag = tag
    return found


UTC = dt.UTC
NOON = dt.datetime(2024, 5, 1, 12)
# Each must differ from every other one.
DISTINCT: list[object] = [
    None, True, False, 1, 0, -1, 255, 256, 2**70, -(2**70), 10**5000, 1.0, 0.0, -0.0, float("nan"), float("inf"),
    -float("inf"), 1j, complex(0, -0.0), "", "1", "a", "é", "\ud800", b"", b"1", b"a", bytearray(b"a"),
    memoryview(b"a"), "x" * 2000, "x" * 2001, b"x" * 2000, ..., NotImplemented,
    [], [1], [1, 2], [2, 1], [[1], 2], [[1, 2]], (), (1,), (1, 2), {}, {"a": 1}, {"a": "1"}, {"b": 1}, {1: "a"},
    {"a": {"b": 1}}, set(), {1}, {1, 2}, frozenset(), frozenset({1}), ["ab"], ["a", "b"], [b"ab"],
    range(3), range(0, 3, 2), slice(3), slice(1, 3),
    NOON, NOON.replace(microsecond=1), NOON.replace(tzinfo=UTC), NOON.replace(fold=1),
    NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))), NOON.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    NOON.date(), NOON.time(), dt.timedelta(1), dt.timedelta(seconds=1), UTC, zoneinfo.ZoneInfo("Europe/Berlin"),
    Path("a"), Path("b"), PurePosixPath("a"), Path("/a"),
    decimal.Decimal(1), decimal.Decimal("1.0"), decimal.Decimal("NaN"), fractions.Fraction(1, 2),
    uuid.UUID(int=1), uuid.UUID(int=2), ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("10.0.0.0/8"),
    re.compile("a"), re.compile("a", re.IGNORECASE), re.compile(b"a"),
    Color.RED, Color.BLUE, Hue.RED, Access.READ, Access.READ | Access.WRITE, Weird.LOCKED, Weird.OPEN,
    Point(1), Point(2), Point(1, [1]), Place(1), Pair(1, 2), Pair(2, 1), Text("a"), Tagged(a=1), tagged(1),
    collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), collections.Counter("aab"),
    collections.defaultdict(int, a=1), collections.defaultdict(bool, a=1), collections.deque([1]),
    collections.deque([1], maxlen=3), types.MappingProxyType({"a": 1}), types.SimpleNamespace(a=1),
    array("i", [1]), array("l", [1]),
    int, str, Color, Point, list[int], int | str, dict[str, int], len, sum, [1].append, str.upper, str.lower, bytes.upper, dict.fromkeys, str.__add__, (1).__add__,
    operator.itemgetter(1), operator.itemgetter(1, 2), operator.attrgetter("a"), operator.methodcaller("a", 1),
    operator.methodcaller("a", b=1), first, second, adder(1), adder(2),
    functools.partial(first, 1), functools.partial(first, 2), functools.partial(second, 1), functools.partial(first, x=1),
    Point(1).__repr__, np, Keyed(1), Keyed(2), Keyed([1]),
    np.int32(1), np.int64(1), np.float64(1), np.bool_(True), np.array(1), np.array([1]), np.array([1, 2]),
    np.array([[1, 2]]), np.array([[1], [2]]), np.array([1, 2], dtype=np.int8), np.array([1.0]), np.array(["a"]),
    np.array(["a", None], dtype=object), np.array([], dtype=np.int8), np.array([], dtype=np.int16), np.dtype("i4"),
    np.array([(1, 2)], dtype=[("a", "i1"), ("b", "i8")]), np.array([(1, 2)], dtype=[("a", "i1"), ("c", "i8")]),
    np.array(["2024-01-01"], dtype="M8[D]"), np.array(["2024-01-01"], dtype="M8[s]"),
    np.ma.masked_array([1, 2], mask=[False, True]), np.ma.masked_array([1, 2], mask=[True, False]), np.add, Tensor(1), Tensor(2),
    pa.table({"a": [1]}), pa.table({"b": [1]}), pa.table({"a": [2]}), pa.table({"a": [1.0]}), pa.table({"a": [None]}),
    pa.array([1]), pa.array(["a"]), pa.chunked_array([[1]]), pa.schema([("a", pa.int8())]), pa.int8(), pa.scalar(1),
    pa.record_batch({"a": [1]}), pa.py_buffer(b"a"), Table(pa.table({"a": [1]})), Table(pa.table({"a": [2]})),
]  # fmt: skip


def test_values_that_differ_have_different_identities() -> None:
    """No two of these values, of whatever types, share an identity."""
    seen: dict[bytes, object] = {}
    for value in DISTINCT:
        found = identity(value)
        assert found not in seen, f"{value!r:.60} and {seen[found]!r:.60}"
        seen[found] = value
        assert len(found) <= 32
        assert identity(value) == found


def fresh_nan() -> float:
    return float("-nan")


def countdown(step: int) -> Callable[[int], int]:
    def inner(n: int) -> int:
        return inner(n - step) if n > 0 else n

    return inner


@dataclasses.dataclass
class Late:
    """One field is set after the object is made."""

    now: int
    later: int = dataclasses.field(init=False)


def late(later: int) -> Late:
    found = Late(1)
    found.later = later
    return found


SHARED = [1]
EQUAL: dict[str, tuple[object, object]] = {
    "keys of mixed types": ({"a": 1, 2: 3, None: 4, (1,): 5}, {"a": 1, 2: 3, None: 4, (1,): 5}),
    "set order": ({"x", 1, None}, {None, 1, "x"}),
    "nan": (float("nan"), fresh_nan()),
    "same list twice": ([SHARED, SHARED], [[1], [1]]),
    "array order": (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    "array view": (np.arange(10)[::2], np.array([0, 2, 4, 6, 8])),
    "masked content": (
        np.ma.masked_array([1, 2], mask=[False, True]),
        np.ma.masked_array([1, 9], mask=[False, True]),
    ),
    "chunks": (pa.chunked_array([[1, 2], [3]]), pa.chunked_array([[1], [2, 3]])),
    "slice of a table": (pa.table({"a": ["x", "y", "z"]}).slice(1), pa.table({"a": ["y", "z"]})),
    "local function that calls itself": (countdown(1), countdown(1)),
    "field not set": (Late(1), Late(1)),
    "closure": (adder(3), adder(3)),
    "path": (Path("a/b"), Path("a") / "b"),
    "key": (Keyed({"a": 1}), Keyed({"a": 1})),
}


@pytest.mark.parametrize(("left", "right"), EQUAL.values(), ids=EQUAL)
def test_equal_values_have_equal_identities(left: object, right: object) -> None:
    """How a value was built leaves no trace in its identity."""
    assert identity(left) == identity(right)


def test_what_closures_and_late_fields_hold_counts() -> None:
    """Another step of a recursive local function, or a field that is set, is another value."""
    assert identity(countdown(1)) != identity(countdown(2))
    assert len({identity(value) for value in (Late(1), late(1), late(2))}) == 3


def test_an_identity_is_the_same_in_every_process() -> None:
    """Neither the hash seed nor the process shows in an identity."""
    script = (
        "import sys, decimal; from pathlib import Path; from vcache.fingerprint.arguments import identity\n"
        "v = {'a': {1, 'x', None, 2.5}, b'k': frozenset('abcdef'), 3: (Path('p'), decimal.Decimal('1.50')), 'e': len}\n"
        "print(identity(v).hex(), 'numpy' in sys.modules)"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "271828")
    }  # fmt: skip
    assert len(outs) == 1
    assert outs.pop().endswith("False\n")


def test_the_bytes_of_an_identity_stand() -> None:
    """A changed encoding must come with a new version byte: stored keys depend on it."""
    assert identity(None) == b"\x01N"
    assert identity("a") == b"\x01s1:a"
    assert identity([1, 2.0]).hex() == "016c31343a322c69313b664000000000000000"
    assert (
        identity({"a": (1, b"x" * 2000)}).hex()
        == "052fa29a79b87957f31a30cd31aa12bc0d91843af0e21f7b9d581b18ef25ff06"
    )


def nested(value: object) -> object:
    return {"a": [1, (2, {3: value})]}


CYCLE: list[object] = [1]
CYCLE.append({"k": CYCLE})


@pytest.mark.parametrize(
    ("value", "place", "cause"),
    [
        (object(), "argument 'src' has no", "builtins.object"),
        (nested(object()), "argument 'src'['a'][1][1][3] has no", "builtins.object"),
        (CYCLE, "argument 'src'[1]['k'] contains itself", "list"),
        (Point(1, object()), "argument 'src'.y has no", "object"),
        (Pair(1, object()), "argument 'src'.y has no", "object"),  # type: ignore[arg-type]
        (iter([1]), "argument 'src' has no", "list_iterator"),
        (functools.partial(repr, object()), "argument 'src'.args[0] has no", "object"),
        (np.array([object()]), "argument 'src'[0] has no", "object"),
        (Endless(), "argument 'src' contains itself", "Endless"),
        (Keyed(object()), "argument 'src' has no", "object"),
        (map(int, []), "argument 'src' has no", "map"),
    ],
)
def test_an_error_names_the_place_the_value_and_the_remedy(value: object, place: str, cause: str) -> None:
    """What has no identity is named by its path, its type and its text, with what to do about it."""
    with pytest.raises(FingerprintError) as caught:
        identity(value, where="argument 'src'")
    message = str(caught.value)
    assert message.startswith(place)
    assert cause in message
    assert 'ignore=("src",)' in message
    assert "__vcache_key__" in message


def test_too_deep_is_an_error_not_a_crash() -> None:
    """A list nested a hundred thousand deep gives an error."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(FingerprintError, match="nested too deep"):
        identity(deep)
    while deep:  # freed level by level: CPython's own recursion is not what is tested
        deep = deep.pop()  # type: ignore[assignment]


def test_a_failing_repr_does_not_hide_the_error() -> None:
    """An object that cannot even be shown still gives the error."""

    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(FingerprintError, match="Shy"):
        identity(Shy())


# ---- binding


def plain(a: int, b: int = 2, *, c: int = 3) -> None: ...
def posonly(a: int, b: int = 2, /, c: int = 3) -> None: ...
def surplus(a: int, *args: int, k: int = 1, **kwargs: int) -> None: ...
def nothing() -> None: ...
def keywords_only(*, a: int, b: int = 2) -> None: ...


class Runner:
    def run(self, x: int, *, y: int = 1) -> None: ...

    @classmethod
    def make(cls, x: int) -> None: ...

    def __call__(self, z: int) -> None: ...


def test_spellings_of_one_call_bind_alike() -> None:
    """Positional, keyword and left-out defaults give one binding."""
    expected = {"a": 1, "b": 2, "c": 3}
    assert bind(plain, (1,), {}) == bind(plain, (), {"a": 1}) == bind(plain, (1, 2), {"c": 3}) == expected
    assert (
        bind(posonly, (1,), {}) == bind(posonly, (1, 2, 3), {}) == bind(posonly, (1,), {"c": 3}) == expected
    )
    assert bind(surplus, (1, 2), {"z": 3}) == {"a": 1, "args": (2,), "k": 1, "kwargs": {"z": 3}}
    assert bind(nothing, (), {}) == {}


def test_methods_bind_their_object_first() -> None:
    """The `self` of a bound method is an argument like the others."""
    runner = Runner()
    assert bind(runner.run, (1,), {}) == {"self": runner, "x": 1, "y": 1}
    assert bind(Runner.run, (runner, 1), {}) == {"self": runner, "x": 1, "y": 1}
    assert bind(Runner.make, (1,), {}) == {"cls": Runner, "x": 1}


def test_other_callables_bind_by_their_signature() -> None:
    """Classes, partials, callable objects and builtins bind too."""
    assert bind(Point, (1,), {}) == {"x": 1, "y": 0}
    assert bind(Runner(), (1,), {}) == {"z": 1}
    assert bind(functools.partial(plain, 1), (), {"c": 5}) == {"b": 2, "c": 5}
    assert bind(len, ([1],), {}) == {"obj": [1]}


def test_wrappers_bind_by_what_they_wrap() -> None:
    """Behind functools.wraps the inner parameters count, unless the wrapper supplies some itself."""

    @functools.wraps(plain)
    def through(*args: int, **kwargs: int) -> None: ...

    assert bind(through, (1,), {}) == bind(through, (), {"a": 1}) == {"a": 1, "b": 2, "c": 3}

    def inner(db: object, x: int) -> None: ...

    @functools.wraps(inner)
    def supplying(*args: int, **kwargs: int) -> None: ...

    assert bind(supplying, (1,), {}) == {"args": (1,), "kwargs": {}}
    with pytest.raises(TypeError, match="missing"):
        bind(plain, (), {})


def test_ignored_parameters_are_left_out() -> None:
    """`ignore` drops parameters, and keywords that `**kwargs` would take."""
    assert bind(plain, (1,), {}, ignore=("b", "c")) == {"a": 1}
    assert bind(surplus, (1,), {"z": 1, "y": 2}, ignore=("z",)) == {
        "a": 1,
        "args": (),
        "k": 1,
        "kwargs": {"y": 2},
    }


def test_an_unknown_name_to_ignore_is_an_error() -> None:
    """A misspelled parameter shows what there is."""
    with pytest.raises(UsageError, match=r"no parameter 'verbos' \(it has: a, b, c\)"):
        binder(plain, ignore=("verbos",))
    with pytest.raises(UsageError, match=r"\('verbose',\)"):
        binder(plain, ignore="verbose")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"z": 1}), ((), {"b": 1})]
)
def test_a_wrong_call_raises_what_python_raises(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    """The complaint about a wrong call is Python's own, word by word."""
    with pytest.raises(TypeError) as ours:
        bind(plain, args, kwargs)
    with pytest.raises(TypeError) as pythons:
        plain(*args, **kwargs)
    assert str(ours.value) == str(pythons.value)


def test_a_binder_follows_the_function() -> None:
    """Defaults or code replaced in a running process are seen by a binder made before."""

    def func(a: int, b: int = 1) -> None: ...

    bound = binder(func)
    func.__defaults__ = (5,)
    assert bound((1,), {}) == {"a": 1, "b": 5}
    func.__code__ = (lambda c, d: None).__code__
    assert bound((1,), {}) == {"c": 1, "d": 5}


def test_a_call_changes_nothing_in_the_caller() -> None:
    """Ignoring a surplus keyword does not take it from the caller's dict."""
    kwargs = {"z": 1}
    bind(surplus, (1,), kwargs, ignore=("z",))
    assert kwargs == {"z": 1}


def test_binding_does_not_keep_functions_alive() -> None:
    """A function that went away is not held by what was prepared for it."""
    import gc
    import weakref

    def make() -> Callable[[int], None]:
        def gone(a: int) -> None: ...

        return gone

    func = make()
    bind(func, (1,), {})
    watch = weakref.ref(func)
    del func
    gc.collect()
    assert watch() is None


@pytest.mark.parametrize("func", [plain, posonly, surplus, keywords_only, Runner.run])
def test_the_order_of_names_is_that_of_the_signature_for_plain_parameters(
    func: Callable[..., object],
) -> None:
    """Every parameter of the signature is bound, and nothing else."""
    names = set(inspect.signature(func).parameters)
    given = {name: 1 for name, p in inspect.signature(func).parameters.items() if p.default is p.empty}
    args = tuple(given.values())[: func.__code__.co_argcount]
    assert (
        set(bind(func, args, {k: 1 for k in list(given)[len(args) :] if k not in ("args", "kwargs")}))
        == names
    )
