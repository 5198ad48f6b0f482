"""Canonical bytes of Python values: typed, length-prefixed, sorted where order means nothing.

Two values have equal bytes if they are of one type and equal in content, whatever the hash
seed, the machine or the order in which a dict was filled. Knows nothing of parameters,
steps or stores; what has no canonical form is reported as `Unfit`, never guessed.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Mapping
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    EllipsisType,
    FunctionType,
    GenericAlias,
    MappingProxyType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    NoneType,
    NotImplementedType,
    SimpleNamespace,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any, Final

from vcache.fingerprint.terms import Unfit, class_name, frame, join, module_name, state

__all__ = ["LEAVES", "TABLE", "Encoder", "Walk", "pairs"]

_DOUBLE: Final = struct.Struct(">d")
_NAN: Final = _DOUBLE.pack(float("nan"))
# Classes can be made in a loop; what was learned about them must not grow for ever.
_LEARNED_MAX: Final = 4096


class Walk:
    """One encoding of one value: the encoders in use, and the open containers by id, outermost first.

    A subclass changes the table or overrides `unknown` and `cycle`. Not for sharing
    between threads.
    """

    __slots__ = ("open", "table")

    def __init__(self, table: dict[type, Encoder] | None = None) -> None:
        self.table = TABLE if table is None else table
        self.open: dict[int, int] = {}

    def encode(self, value: object) -> bytes:
        """The canonical bytes of a value.

        Raises:
            Unfit: it, or a part of it, has none.
        """
        cls = type(value)
        encoder = self.table.get(cls)
        if encoder is None:
            encoder = _learned(cls)
            if encoder is None:
                return self.unknown(value)
        return encoder(value, self)

    def inside(self, value: object, encode: Callable[[Any, Walk], bytes]) -> bytes:
        """Encode a container's content, noticing when it contains itself."""
        if id(value) in self.open:
            return self.cycle(value, len(self.open) - self.open[id(value)])
        self.open[id(value)] = len(self.open)
        try:
            return encode(value, self)
        finally:
            del self.open[id(value)]

    def unknown(self, value: object) -> bytes:
        """What stands for a value of a type without an encoder."""
        raise Unfit(value, "has no fingerprint")

    def cycle(self, value: object, levels: int) -> bytes:
        """What stands for a container met again inside itself, so many levels up."""
        if isinstance(value, FunctionType):  # a local function that calls itself
            return b"^%d;" % levels
        raise Unfit(value, "contains itself")


Encoder = Callable[[Any, Walk], bytes]


def _text(value: str, walk: Walk) -> bytes:
    return frame(b"s", value.encode("utf-8", "surrogatepass"))


def _float(value: float, walk: Walk) -> bytes:
    return b"f" + (_DOUBLE.pack(value) if value == value else _NAN)


def _complex(value: complex, walk: Walk) -> bytes:
    return b"c" + _float(value.real, walk) + _float(value.imag, walk)


def _bytes(tag: bytes) -> Encoder:
    return lambda value, walk: frame(tag, bytes(value))


def _view(value: memoryview, walk: Walk) -> bytes:
    return frame(b"v", _text(value.format, walk) + repr(value.shape).encode() + value.tobytes())


def _items(tag: bytes) -> Encoder:
    def content(value: Iterable[object], walk: Walk) -> bytes:
        parts: list[bytes] = []
        try:
            for item in value:
                parts.append(walk.encode(item))  # noqa: PERF401  the count so far says where it failed
        except Unfit as error:
            raise error.below(f"[{len(parts)}]") from None
        return join(tag, parts)

    return lambda value, walk: walk.inside(value, content)


def _set(tag: bytes) -> Encoder:
    def content(value: Iterable[object], walk: Walk) -> bytes:
        try:
            return join(tag, sorted(map(walk.encode, tuple(value))))
        except Unfit as error:
            raise error.below("{…}") from None

    return lambda value, walk: walk.inside(value, content)


def pairs(value: Mapping[Any, object], walk: Walk) -> list[bytes]:
    """Each key with its value, in the order of the mapping."""
    parts = []
    for key, item in list(value.items()):  # another thread may be adding to it
        try:
            parts.append(walk.encode(key) + walk.encode(item))
        except Unfit as error:
            raise error.below(f"[{key!r:.60}]") from None
    return parts


def _dict(tag: bytes) -> Encoder:
    # In the order of its items: code can see it, so a result may depend on it.
    def content(value: Mapping[object, object], walk: Walk) -> bytes:
        return join(tag, pairs(value, walk))

    return lambda value, walk: walk.inside(value, content)


def _fields(tag: bytes, *names: str) -> Encoder:
    """An encoder for an object that is the sum of these attributes."""

    def content(value: object, walk: Walk) -> bytes:
        parts = []
        for name in names:
            try:
                parts.append(walk.encode(getattr(value, name)) if hasattr(value, name) else b"-")
            except Unfit as error:
                raise error.below(f".{name}") from None
        return join(tag, parts)

    return lambda value, walk: walk.inside(value, content)


def _class(value: type, walk: Walk) -> bytes:
    return frame(b"C", class_name(value).encode())


def _module(value: ModuleType, walk: Walk) -> bytes:
    return frame(b"M", module_name(value.__name__).encode())


def _function(value: FunctionType, walk: Walk) -> bytes:
    """By name, and what it runs: two lambdas of one line, or a helper edited, must differ."""
    from vcache.fingerprint.normal import normal_form  # opcode tables: only for who passes functions
    from vcache.fingerprint.origin import is_users

    module = value.__globals__.get("__name__", "")
    name = frame(b"s", f"{module_name(str(module))}:{value.__code__.co_qualname}".encode())
    if not is_users(value.__globals__):
        return join(b"L", [name])
    return walk.inside(value, lambda f, w: join(b"L", [name, normal_form(f.__code__), *_bound_parts(f, w)]))


def _bound_parts(func: FunctionType, walk: Walk) -> Iterable[bytes]:
    """The defaults and closure cells of a function."""
    yield walk.encode(func.__defaults__)
    yield walk.encode(func.__kwdefaults__)
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        try:
            yield walk.encode(cell.cell_contents)
        except Unfit as error:
            raise error.below(f" closing over {name!r}") from None
        except ValueError:  # a cell that is not filled yet
            yield b"-"


def _builtin(value: BuiltinFunctionType, walk: Walk) -> bytes:
    owner = value.__self__
    name = frame(b"s", f"{value.__module__ or ''}:{value.__qualname__}".encode())
    if owner is None or isinstance(owner, ModuleType | type):
        return join(b"B", [name])
    return join(b"B", [name, walk.encode(owner)])


def _constant(raw: bytes) -> Encoder:
    return lambda value, walk: raw


# Leaves contain nothing: they are encoded without a walk.
LEAVES: Final[dict[type, Encoder]] = {
    NoneType: _constant(b"N"),
    bool: lambda value, walk: b"T" if value else b"F",
    int: lambda value, walk: b"i%x;" % value,
    float: _float,
    complex: _complex,
    str: _text,
    bytes: _bytes(b"b"),
}

TABLE: Final[dict[type, Encoder]] = {
    **LEAVES,
    EllipsisType: _constant(b"E"),
    NotImplementedType: _constant(b"!"),
    bytearray: _bytes(b"a"),
    memoryview: _view,
    list: _items(b"l"),
    tuple: _items(b"t"),
    set: _set(b"S"),
    frozenset: _set(b"Z"),
    dict: _dict(b"d"),
    MappingProxyType: _dict(b"m"),
    range: _fields(b"r", "start", "stop", "step"),
    slice: _fields(b":", "start", "stop", "step"),
    type: _class,
    ModuleType: _module,
    FunctionType: _function,
    BuiltinFunctionType: _builtin,
    MethodType: _fields(b"o", "__func__", "__self__"),
    SimpleNamespace: lambda value, walk: b"n" + walk.encode(vars(value)),
    GenericAlias: _fields(b"g", "__origin__", "__args__"),
    UnionType: lambda value, walk: b"u" + walk.encode(frozenset(value.__args__)),
    functools.partial: _fields(b"p", "func", "args", "keywords"),
    **dict.fromkeys(
        (MethodDescriptorType, WrapperDescriptorType, ClassMethodDescriptorType),
        _fields(b"q", "__objclass__", "__name__"),
    ),
    MethodWrapperType: _fields(b"Q", "__self__", "__name__"),
}


def _named(encode: Encoder) -> Encoder:
    """An encoder for a library's class: its name, then what the class says of the value."""
    return lambda value, walk: join(b"k", [_class(type(value), walk), encode(value, walk)])


def _shown(show: Callable[[Any], str]) -> Encoder:
    return lambda value, walk: _text(show(value), walk)


def _zone(value: Any, walk: Walk) -> bytes:
    return walk.encode((value.utcoffset(None), value.tzname(None)))


def _moment(value: Any, walk: Walk) -> bytes:
    # Two zones may agree on the instant and differ in everything computed from it.
    return walk.encode((value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo))


# By name, so that no module is imported for the sake of values that never come.
LIBRARY: Final[dict[str, Encoder]] = {
    "datetime.datetime": _moment,
    "datetime.date": _shown(lambda value: value.isoformat()),
    "datetime.time": _moment,
    "datetime.timedelta": _fields(b"t", "days", "seconds", "microseconds"),
    "datetime.timezone": _zone,
    "zoneinfo.ZoneInfo": lambda value, walk: walk.encode(value.key) if value.key else walk.unknown(value),
    "decimal.Decimal": _shown(str),
    "fractions.Fraction": _fields(b"t", "numerator", "denominator"),
    "uuid.UUID": lambda value, walk: frame(b"b", value.bytes),
    "re.Pattern": _fields(b"t", "pattern", "flags"),
    **{
        f"operator.{name}": lambda value, walk: walk.encode(value.__reduce__())
        for name in ("itemgetter", "attrgetter", "methodcaller")
    },
    "array.array": lambda value, walk: frame(b"b", value.typecode.encode() + value.tobytes()),
    "collections.OrderedDict": _dict(b"D"),
    "collections.defaultdict": lambda value, walk: (
        walk.encode(value.default_factory) + _dict(b"d")(value, walk)
    ),
    "collections.deque": lambda value, walk: walk.encode(value.maxlen) + _items(b"l")(value, walk),
    **{
        f"ipaddress.IPv{n}{what}": _shown(str) for n in (4, 6) for what in ("Address", "Network", "Interface")
    },
    **{
        f"builtins.{cls.__name__}": TABLE[cls]
        for cls in (int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, type)
    },
    "functools.partial": TABLE[functools.partial],
    "types.SimpleNamespace": TABLE[SimpleNamespace],
}

_learned_encoders: dict[type, Encoder | None] = {}


def _learned(cls: type) -> Encoder | None:
    """The encoder for a class outside the table, found once."""
    try:
        return _learned_encoders[cls]
    except KeyError:
        if len(_learned_encoders) >= _LEARNED_MAX:
            _learned_encoders.clear()
        encoder = _learned_encoders[cls] = _learn(cls)
        return encoder


def _learn(cls: type) -> Encoder | None:
    if hasattr(cls, "__vcache_key__"):
        return _named(lambda value, walk: walk.inside(value, lambda v, w: w.encode(v.__vcache_key__())))
    if issubclass(cls, type):
        return _class
    if hasattr(cls, "_member_map_"):
        return _named(_member)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _named(_fields(b"t", *cls._fields))
    if hasattr(cls, "__dataclass_fields__"):
        return _named(_fields(b"t", *_dataclass_names(cls)))
    if cls.__module__ == "typing":
        return _named(_shown(repr))
    return _learn_foreign(cls)


def _learn_foreign(cls: type) -> Encoder | None:
    """By what arrays, frames and paths have in common, then by the standard library's classes."""
    if cls.__module__.partition(".")[0] == "numpy" or hasattr(cls, "__array_interface__"):
        return _named(_array)
    if cls.__module__.partition(".")[0] == "pyarrow" or hasattr(cls, "__arrow_c_stream__"):
        return _named(_arrow)
    if hasattr(cls, "__array__"):
        return _named(_array)
    if hasattr(cls, "__fspath__"):
        return _named(lambda value, walk: walk.encode(value.__fspath__()))
    for base in cls.__mro__:
        encoder = LIBRARY.get(f"{base.__module__}.{base.__qualname__}")
        if encoder is not None:
            return _named(encoder if base is cls else _extended(encoder))
    return None


def _extended(encode: Encoder) -> Encoder:
    """For a subclass of a known class: also what its instances carry on top."""

    def content(value: object, walk: Walk) -> bytes:
        return encode(value, walk) + walk.encode(state(value))

    return content


def _dataclass_names(cls: type) -> list[str]:
    import dataclasses  # the caller has it loaded: its own class is one

    return [field.name for field in dataclasses.fields(cls)]


def _member(value: Any, walk: Walk) -> bytes:
    name = walk.encode(value._name_)
    try:
        return name + walk.encode(value._value_)
    except Unfit:  # the name alone says which member it is
        return name


def _array(value: object, walk: Walk) -> bytes:
    from vcache.fingerprint.arrays import array_bytes  # loads numpy, which the value's owner has loaded

    return array_bytes(value, walk)


def _arrow(value: object, walk: Walk) -> bytes:
    from vcache.fingerprint.arrays import arrow_bytes  # loads pyarrow, which the value's owner has loaded

    return arrow_bytes(value, walk)
