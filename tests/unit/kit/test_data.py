"""Cheap dataclasses are dataclasses."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import pytest

from vcache.kit import data


@data.dataclass(frozen=True, slots=True)
class Point:
    """A point."""

    kind: ClassVar[str] = "plane"
    x: int
    y: int = 2
    tags: dict[str, int] = data.field(default_factory=dict)
    note: str = data.field(default="", compare=False, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Twin:
    kind: ClassVar[str] = "plane"
    x: int
    y: int = 2
    tags: dict[str, int] = dataclasses.field(default_factory=dict)
    note: str = dataclasses.field(default="", compare=False, repr=False)


@data.dataclass(frozen=True, slots=True)
class Solid(Point):
    z: int = 3

    def __post_init__(self) -> None:
        if self.z < 0:
            raise ValueError(self.z)


@data.dataclass(slots=True, kw_only=True, order=True)
class Loose:
    a: int
    b: int = 1


@data.dataclass(frozen=True, eq=False)
class Same:
    a: int


def test_makes_and_shows_as_a_dataclass_does() -> None:
    """The same arguments give the same words"""
    for args, kwargs in (((1,), {}), ((1, 5), {"note": "n"}), ((), {"x": 3, "tags": {"a": 1}})):
        ours, theirs = Point(*args, **kwargs), Twin(*args, **kwargs)
        assert repr(ours).replace("Point", "Twin") == repr(theirs)
        assert ours.note == theirs.note


@pytest.mark.parametrize(
    "kwargs", [{}, {"x": 1, "w": 2}, {"x": 1, "kind": "k"}], ids=["none", "other", "class"]
)
def test_refuses_what_a_dataclass_refuses(kwargs: dict[str, int]) -> None:
    """Wrong arguments are a TypeError in the same words"""
    with pytest.raises(TypeError) as ours:
        Point(**kwargs)  # type: ignore[arg-type]
    with pytest.raises(TypeError) as theirs:
        Twin(**kwargs)  # type: ignore[arg-type]
    assert str(ours.value).replace("Point", "Twin") == str(theirs.value)


def test_equal_by_what_is_compared() -> None:
    """Equality and hash leave out what `compare=False` says, and other classes"""
    assert Point(1, note="a") == Point(1, note="b")
    assert Point(1) != Point(2)
    twin: object = Twin(1)
    assert Point(1) != twin
    assert hash(Same(1)) != hash(Same(1)) or Same(1) != Same(1)

    @data.dataclass(frozen=True, slots=True)
    class Name:
        text: str
        note: str = data.field(default="", compare=False)

    assert {Name("a", "b")} == {Name("a", "c")}


def test_factories_run_for_each() -> None:
    """No two instances share what a factory makes"""
    assert Point(1).tags is not Point(1).tags


def test_frozen_is_frozen() -> None:
    """Assignment and deletion are FrozenInstanceError"""
    point = Solid(1)
    for name in ("x", "z", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(point, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            delattr(point, name)


def test_mutable_has_no_hash_and_keywords_only() -> None:
    """What can change is no key; `kw_only` takes no positions; `order` orders"""
    loose = Loose(a=1)
    loose.b = 7
    assert (loose.b, loose > Loose(a=1), min([loose, Loose(a=0)]).a) == (7, True, 0)
    with pytest.raises(TypeError, match="unhashable"):
        hash(loose)
    with pytest.raises(TypeError, match="positional"):
        Loose(1)  # type: ignore[call-arg]
    assert Loose.__match_args__ == ()


def test_inherits_fields_and_checks() -> None:
    """Fields of a parent come first; `__post_init__` runs"""
    assert Solid(1, 2, {}, "", 4).z == 4
    with pytest.raises(ValueError, match="-1"):
        Solid(1, z=-1)
    match Solid(1):
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert not hasattr(Solid(1), "__dict__")


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))],
    ids=["copy", "deep", "pickle"],
)
def test_copies(again: object) -> None:
    """Copies of a frozen instance with slots are equal to it"""
    assert callable(again)
    point = Solid(1, 5, {"a": 1}, "n", 6)
    assert again(point) == point
    assert again(point).note == "n"


def test_dataclasses_knows_them() -> None:
    """`fields`, `replace`, `asdict`, `is_dataclass` and subclasses of the library work"""
    for ours, theirs in zip(dataclasses.fields(Point), dataclasses.fields(Twin), strict=True):
        assert repr(ours) == repr(theirs)
    assert data.names_of(Point) == tuple(each.name for each in dataclasses.fields(Twin))
    assert dataclasses.is_dataclass(Loose(a=1))
    assert dataclasses.replace(Solid(1), x=9) == Solid(9) == data.replace(Solid(1), x=9)
    assert dataclasses.asdict(Loose(a=1)) == {"a": 1, "b": 1}

    @dataclasses.dataclass(frozen=True, slots=True)
    class Child(Solid):
        w: int = 8

    assert Child(1).w == 8
    assert Child(1).x == 1


def test_replace_checks_names() -> None:
    """A name that is no field is refused"""
    with pytest.raises(TypeError, match="nothing"):
        data.replace(Point(1), nothing=1)  # type: ignore[call-arg]


def test_costs_no_dataclasses() -> None:
    """Defining and using one imports neither `dataclasses` nor `inspect`"""
    script = (
        "import sys; from vcache.kit.data import dataclass, replace\n"
        "@dataclass(frozen=True, slots=True)\nclass A:\n    a: int = 1\n"
        "assert replace(A(), a=2) == A(2) and hash(A(2)) and repr(A()) == 'A(a=1)'\n"
        "print([name for name in ('dataclasses', 'inspect', 'typing') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_mapping_defaults_are_typed() -> None:
    """A generic annotation is a field like any other"""

    @data.dataclass(frozen=True)
    class Plain:
        rows: Mapping[str, int] = data.field(default_factory=dict)

    assert Plain({"a": 1}).rows == {"a": 1}
    assert Plain.__match_args__ == ("rows",)


class Pair(data.NamedTuple):
    """A pair."""

    key: str
    count: int = 1  # type: ignore[assignment]  # instead of the method of a tuple

    @property
    def twice(self) -> int:
        return 2 * self.count


class TwinPair(NamedTuple):
    key: str
    count: int = 1  # type: ignore[assignment]  # instead of the method of a tuple


class One(data.NamedTuple):
    only: str


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(("a",), {}), (("a", 2), {}), ((), {"count": 3, "key": "b"})],
    ids=["default", "all", "names"],
)
def test_named_tuples_are_those_of_typing(args: tuple[str, int], kwargs: dict[str, int]) -> None:
    """Made, shown, taken apart and compared alike"""
    ours, theirs = Pair(*args, **kwargs), TwinPair(*args, **kwargs)  # type: ignore[arg-type]
    assert tuple(ours) == tuple(theirs) == ours
    assert hash(ours) == hash(theirs)
    assert repr(ours) == repr(theirs).removeprefix("Twin")
    assert ours._asdict() == theirs._asdict()
    assert tuple(ours._replace(key="z")) == tuple(theirs._replace(key="z"))
    assert (Pair._fields, Pair._field_defaults) == (TwinPair._fields, TwinPair._field_defaults)
    assert (ours.key, ours.twice) == (theirs.key, 2 * theirs.count)
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert type(copy.deepcopy(ours)) is Pair
    assert Pair._make(["q", 7]) == ("q", 7)
    assert not hasattr(ours, "__dict__")
    match ours:
        case Pair(key, count):
            assert (key, count) == tuple(ours)


def test_named_tuples_refuse_alike() -> None:
    """Wrong fields are errors in the same words; assignment is refused"""
    for wrong in ({}, {"key": "a", "other": 1}):
        with pytest.raises(TypeError) as ours:
            Pair(**wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError) as theirs:
            TwinPair(**wrong)  # type: ignore[arg-type]
        assert str(ours.value) == str(theirs.value).replace("TwinPair", "Pair")
    with pytest.raises(ValueError, match="other"):
        Pair("a")._replace(other=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Pair("a").key = "b"  # type: ignore[misc]


def test_named_tuple_of_one() -> None:
    """A single field is still a tuple"""
    assert One("x") == ("x",)
    assert One("x").only == "x"
    assert type(One) is type


def test_named_tuple_subclass() -> None:
    """A subclass makes instances of itself"""

    class Child(Pair):
        """With a dictionary."""

    child = Child("a")
    assert type(child) is Child
    assert type(child._replace(count=3)) is Child


def test_signatures_are_seen_before_an_instance_is_made() -> None:
    """What `help` and the reference show names the fields, and a subclass's own `__init__` counts"""

    def both(made: type, twin: type) -> None:
        assert str(inspect.signature(made)) == str(inspect.signature(twin))

    body = {"__annotations__": {"x": int, "y": str}, "y": "z"}
    both(
        data.dataclass(frozen=True, slots=True)(type("Late", (), dict(body))),
        dataclasses.dataclass(frozen=True, slots=True)(type("Late", (), dict(body))),
    )

    class Pair(data.NamedTuple):
        left: int
        right: str = "r"

    assert str(inspect.signature(Pair)) == "(left: int, right: str = 'r')"
    assert Pair(1) == (1, "r")

    class Own(Point):
        def __init__(self, only: int) -> None:
            super().__init__(only)

    assert str(inspect.signature(Own)) == "(only: int) -> None"
    assert not hasattr(Own(3), "__signature__")
