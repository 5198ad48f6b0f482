from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import sys
import threading
from typing import ClassVar, Generic, NamedTuple, TypeVar

import msgpack
import pytest

from vcache.errors import DecodeError, EncodeError
from vcache.serialize import dump, load
from vcache.serialize.wire import TYPED, Code

T = TypeVar("T")
ran: list[str] = []


@dataclasses.dataclass
class Plain:
    a: int
    b: object = None
    shared: ClassVar[int] = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int
    b: tuple[object, ...] = ()


@dataclasses.dataclass
class Base:
    a: int


@dataclasses.dataclass
class Derived(Base):
    b: int = 2


class Undecorated(Base):
    """Inherits the fields, and keeps attributes of its own."""


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Loud:
    a: int
    doubled: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        ran.append("post_init")
        self.doubled = self.a * 2
        self.undeclared = self.a * 3

    def __setattr__(self, name: str, value: object) -> None:
        ran.append("setattr")
        super().__setattr__(name, value)

    @functools.cached_property
    def tripled(self) -> int:
        return self.a * 3


@dataclasses.dataclass(frozen=True)
class HalfSlots(Frozen):
    c: int = 0


class Slotted:
    __slots__ = ("hidden",)


@dataclasses.dataclass
class HidesSlot(Slotted):
    a: int


@dataclasses.dataclass
class IsDict(dict):  # type: ignore[type-arg]
    a: int = 0


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796  # an alias comes back as its member
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Mode(enum.Flag):
    R = 1
    W = 2


Old = collections.namedtuple("Old", "x y")


class New(NamedTuple):
    x: int
    y: object = None


class Subclassed(Old):
    """A named tuple with a dict for attributes."""


class Holder:
    class Inner(enum.Enum):
        A = 1

    @dataclasses.dataclass
    class Data:
        a: int


def content_of(value: object) -> bytes:
    return b"".join(dump(value, codec="msgpack").parts)


def back(value: object) -> object:
    return load("msgpack", content_of(value))


@pytest.mark.parametrize(
    "value",
    [
        Plain(1, [Plain(2), {"k": Plain(3)}]),
        Plain(1, Frozen(2, (Frozen(3), Plain(4)))),
        Frozen(1, ({1, 2}, "x")),
        Derived(1, 3),
        Undecorated(1),
        Box[int](5),
        HalfSlots(1, (2,), 3),
        Holder.Data(1),
        Holder.Inner.A,
        Colour.CRIMSON,
        Colour.BLUE,
        Level.LOW,
        Word.YES,
        Mode.R,
        Mode.R | Mode.W,
        Mode(0),
        Old(1, [2]),
        New(1, Old(2, 3)),
        Subclassed(1, 2),
        {Colour.RED: Old(1, 2), Frozen(1): Frozen(2)},
        [Plain(n, Frozen(n)) for n in range(300)],
    ],
)
def test_instances_come_back(value):
    """Dataclasses, enums and named tuples come back equal and of their own class."""
    found = back(value)
    assert found == value
    assert type(found) is type(value)


def test_enum_members_are_the_members():
    """A member that comes back is the member."""
    assert back(Colour.RED) is Colour.RED


def test_no_code_of_a_dataclass_runs():
    """Neither __init__ nor __post_init__ nor __setattr__ runs, and yet nothing is missing."""
    value = Loud(4)
    assert value.tripled == 12
    content = content_of(value)
    ran.clear()
    found = load("msgpack", content)
    assert ran == []
    assert isinstance(found, Loud)
    assert vars(found) == {"a": 4, "doubled": 8, "undeclared": 12, "tripled": 12}


def test_a_class_is_named_once():
    """However many instances there are, the class is described once."""
    content = content_of([Plain(n) for n in range(100)])
    assert content.count(b"Plain") == 1
    assert len(content) < 100 * 6 + 120


def test_further_attributes_must_be_storable():
    """An attribute beside the fields that cannot be stored gives an error with its path."""
    value = Plain(1)
    value.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match=r"^value\[0\]\.lock: a .*lock"):
        dump([value])


def test_a_field_without_value_is_refused():
    """A dataclass instance that lacks a field is refused with the field's name."""
    value = Plain(1)
    del value.a
    with pytest.raises(EncodeError, match="'a'"):
        dump(value)


@pytest.mark.parametrize("value", [HidesSlot(1), IsDict()])
def test_classes_with_hidden_state_are_refused(value):
    """A dataclass that keeps something where its fields do not tell is refused."""
    with pytest.raises(EncodeError, match="cannot be stored"):
        dump(value, codec="msgpack")


def test_a_named_tuple_with_attributes_is_refused():
    """A named tuple that carries more than its items is refused."""
    value = Subclassed(1, 2)
    value.more = 3  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match="attributes"):
        dump(value)


def test_local_classes_are_refused():
    """A class that no other process could find is refused, with what to do."""

    @dataclasses.dataclass
    class Local:
        a: int

    with pytest.raises(EncodeError, match="top level"):
        dump([Local(1)])


def changed(monkeypatch, name: str, replacement: object) -> None:
    monkeypatch.setattr(sys.modules[__name__], name, replacement)


def test_a_changed_class_is_a_miss(monkeypatch):
    """Content of another version of a class is a DecodeError, never a half-built object."""
    content = content_of(Plain(1))
    newer = dataclasses.make_dataclass("Plain", ["a", "c"])
    newer.__module__, newer.__qualname__ = __name__, "Plain"
    changed(monkeypatch, "Plain", newer)
    with pytest.raises(DecodeError, match="other fields"):
        load("msgpack", content)


@pytest.mark.parametrize("replacement", [Colour, int, 5, print, Holder])
def test_a_class_of_another_kind_is_a_miss(monkeypatch, replacement):
    """A name that stands for something else is a DecodeError."""
    content = content_of(Plain(1))
    changed(monkeypatch, "Plain", replacement)
    with pytest.raises(DecodeError):
        load("msgpack", content)


def test_a_member_that_is_gone_is_a_miss(monkeypatch):
    """An enum member that no longer exists is a DecodeError."""
    content = content_of(Colour.BLUE)
    changed(monkeypatch, "Colour", enum.Enum("Colour", {"RED": 1}, module=__name__, qualname="Colour"))
    with pytest.raises(DecodeError, match="BLUE"):
        load("msgpack", content)


def forged(description: bytes, *parts: object) -> bytes:
    packed: bytes = msgpack.packb([msgpack.ExtType(Code.CLASS, description), *parts])
    return TYPED + packed


@pytest.mark.parametrize(
    "reference",
    [
        "subprocess:Popen",
        "os:system",
        "builtins:eval",
        f"{__name__}:Holder.Inner.A",
        f"{__name__}:ran",
        f"{__name__}:Plain.__init__",
        "enum:Enum",
        "no_such_module:Thing",
        "",
        ":",
        "os:",
    ],
)
@pytest.mark.parametrize("kind", ["dataclass", "namedtuple", "enum", "flag", "other"])
def test_forged_names_reach_nothing(kind, reference):
    """A blob that names anything but a class of the kind it claims is refused."""
    with pytest.raises(DecodeError):
        load("msgpack", forged(f"{kind}\0{reference}".encode(), "x"))


def test_forged_parts_are_refused():
    """Too few or too many parts, or attributes that hide fields, are refused."""
    description = content_of(Plain(1))[6:-2]
    assert description.startswith(b"dataclass\0")
    assert load("msgpack", forged(description, 1, 2)) == Plain(1, 2)
    cases: tuple[tuple[object, ...], ...] = (
        (),
        (1,),
        (1, 2, 3),
        (1, 2, {}, 4),
        (1, 2, {"a": 5}),
        (1, 2, {7: 8}),
    )
    for parts in cases:
        with pytest.raises(DecodeError):
            load("msgpack", forged(description, *parts))


MODULE = """
from dataclasses import dataclass
import pathlib
pathlib.Path({mark!r}).touch()

@dataclass
class Thing:
    a: int
"""


@pytest.fixture
def thing(tmp_path, monkeypatch):
    """Content that needs a class of a module which is not imported, and the module's mark."""
    mark = tmp_path / "imported"
    (tmp_path / "module_of_thing.py").write_text(MODULE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    import module_of_thing  # type: ignore[import-not-found]

    content = content_of(module_of_thing.Thing(3))
    del sys.modules["module_of_thing"]
    mark.unlink()
    yield content, mark
    sys.modules.pop("module_of_thing", None)


def test_no_module_is_imported_unasked(thing):
    """A blob cannot make a process import a module."""
    content, mark = thing
    with pytest.raises(DecodeError, match="not imported"):
        load("msgpack", content)
    assert not mark.exists()


def test_modules_are_imported_for_trusted_bytes(thing):
    """Where the caller vouches for the bytes, the module of a class is imported."""
    content, mark = thing
    found = load("msgpack", content, allow_imports=True)
    assert found.a == 3  # type: ignore[attr-defined]
    assert mark.exists()


@pytest.mark.parametrize("text", ["raise SystemExit(1)", "1 / 0", "import nothing_of_this_name"])
def test_an_import_that_fails_is_a_miss(tmp_path, monkeypatch, text):
    """A module that cannot be imported is a DecodeError, even if it wants to exit."""
    (tmp_path / "module_that_fails.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DecodeError, match="module_that_fails"):
        load("msgpack", forged(b"dataclass\0module_that_fails:X\0a", 1), allow_imports=True)
