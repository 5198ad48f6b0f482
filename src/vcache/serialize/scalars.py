"""Rules for the standard library's values: how each is written, and how it is rebuilt.

It must not know documents, classes of the user, or any foreign package. Types are named, not
imported: a rule for `decimal.Decimal` costs nothing in a process that never imported decimal.
Each rule takes exact types; a subclass could carry what the rule does not see.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Final

from msgpack import ExtType

from vcache.errors import DecodeError, EncodeError
from vcache.serialize.wire import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal
    from fractions import Fraction
    from pathlib import PurePath
    from uuid import UUID
    from zoneinfo import ZoneInfo

    from vcache.serialize.wire import Sink, Source

__all__ = ["BUILDERS", "LEAVES", "RULES", "RULES_BY_NAME"]

_COMPLEX: Final = struct.Struct("<dd")
_TIMEDELTA: Final = struct.Struct("<iii")

_TUPLE: Final = ExtType(Code.TUPLE, b"")
_SET: Final = ExtType(Code.SET, b"")
_FROZENSET: Final = ExtType(Code.FROZENSET, b"")
_DEQUE: Final = ExtType(Code.DEQUE, b"")
_ORDERED_DICT: Final = ExtType(Code.ORDERED_DICT, b"")
_COUNTER: Final = ExtType(Code.COUNTER, b"")
_DEFAULT_DICT: Final = ExtType(Code.DEFAULT_DICT, b"")
_DATETIME: Final = ExtType(Code.DATETIME, b"")
_TIME: Final = ExtType(Code.TIME, b"")
_TIMEZONE: Final = ExtType(Code.TIMEZONE, b"")
_FRACTION: Final = ExtType(Code.FRACTION, b"")
_RANGE: Final = ExtType(Code.RANGE, b"")
_UTC: Final = ExtType(Code.UTC, b"")

# A default factory is called by whoever reads a missing key: only ones without effects.
_FACTORIES: Final[Mapping[str, type]] = {
    cls.__name__: cls for cls in (bool, bytes, dict, float, frozenset, int, list, set, str, tuple)
}
# Natural order is total within each of these, and the same in every process.
_ORDERED: Final = ({str}, {int}, {bytes})


# Writing


def _put_int(value: int, _: Sink) -> ExtType:
    return ExtType(Code.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _put_complex(value: complex, _: Sink) -> ExtType:
    return ExtType(Code.COMPLEX, _COMPLEX.pack(value.real, value.imag))


def _put_tuple(value: tuple[object, ...], _: Sink) -> list[object]:
    return [_TUPLE, *value]


def _put_set(value: set[object], sink: Sink) -> list[object]:
    return [_SET, *_in_order(value, sink)]


def _put_frozenset(value: frozenset[object], sink: Sink) -> list[object]:
    return [_FROZENSET, *_in_order(value, sink)]


def _in_order(value: set[object] | frozenset[object], sink: Sink) -> list[object]:
    """The items in an order that no hash seed changes.

    Equal sets have equal bytes, so that an unchanged result cuts a build off early.
    """
    if set(map(type, value)) in _ORDERED:
        return sorted(value)  # type: ignore[type-var]  # of one ordered type, as was just seen
    return sorted(value, key=sink.sort_key)


def _put_deque(value: deque[object], _: Sink) -> list[object]:
    return [_DEQUE, value.maxlen, *value]


def _put_ordered_dict(value: OrderedDict[object, object], _: Sink) -> list[object]:
    return [_ORDERED_DICT, *_flat(value.items())]


def _put_counter(value: Counter[object], _: Sink) -> list[object]:
    return [_COUNTER, *_flat(value.items())]


def _put_default_dict(value: defaultdict[object, object], _: Sink) -> list[object]:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if factory is not None and _FACTORIES.get(str(name)) is not factory:
        raise EncodeError(
            f"a defaultdict with the factory {factory!r} cannot be stored: "
            f"use a plain dict, or one of {', '.join(_FACTORIES)} as the factory"
        )
    return [_DEFAULT_DICT, name, *_flat(value.items())]


def _flat(items: Iterable[tuple[object, object]]) -> list[object]:
    return [part for item in items for part in item]


def _put_datetime(value: datetime, _: Sink) -> list[object]:
    return [_DATETIME, value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo]


def _put_time(value: time, _: Sink) -> list[object]:
    return [_TIME, value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo]


def _put_timezone(value: timezone, _: Sink) -> list[object] | ExtType:
    if value is UTC:
        return _UTC
    offset = value.utcoffset(None)
    name = value.tzname(None)
    return [_TIMEZONE, offset, None if name == timezone(offset).tzname(None) else name]


def _put_date(value: date, _: Sink) -> ExtType:
    return ExtType(Code.DATE, value.isoformat().encode())


def _put_timedelta(value: timedelta, _: Sink) -> ExtType:
    return ExtType(Code.TIMEDELTA, _TIMEDELTA.pack(value.days, value.seconds, value.microseconds))


def _put_range(value: range, _: Sink) -> list[object]:
    return [_RANGE, value.start, value.stop, value.step]


def _put_fraction(value: Fraction, _: Sink) -> list[object]:
    return [_FRACTION, value.numerator, value.denominator]


def _put_decimal(value: Decimal, _: Sink) -> ExtType:
    return ExtType(Code.DECIMAL, str(value).encode())


def _put_uuid(value: UUID, _: Sink) -> ExtType:
    return ExtType(Code.UUID, value.bytes)


def _put_path(value: PurePath, _: Sink) -> ExtType:
    text = str(value).encode("utf-8", "surrogatepass")
    return ExtType(Code.PATH, _PATH_KINDS[type(value).__name__] + text)


def _put_zone(value: ZoneInfo, _: Sink) -> ExtType:
    if value.key is None:
        raise EncodeError("a ZoneInfo without a key cannot be stored: make it by its IANA name")
    return ExtType(Code.ZONE, value.key.encode())


RULES: Final[dict[type, Callable[..., object]]] = {
    int: _put_int,
    complex: _put_complex,
    tuple: _put_tuple,
    set: _put_set,
    frozenset: _put_frozenset,
    deque: _put_deque,
    OrderedDict: _put_ordered_dict,
    Counter: _put_counter,
    defaultdict: _put_default_dict,
    datetime: _put_datetime,
    date: _put_date,
    time: _put_time,
    timedelta: _put_timedelta,
    timezone: _put_timezone,
    range: _put_range,
}
"""How values of each exact type are written: a leaf, or a list with its head in front."""

_PATH_KINDS: Final = {
    "PurePosixPath": b"p", "PureWindowsPath": b"w", "PosixPath": b"P", "WindowsPath": b"W",
}  # fmt: skip

RULES_BY_NAME: Final[Mapping[str, tuple[str, Callable[..., object]]]] = {
    "Decimal": ("decimal", _put_decimal),
    "Fraction": ("fractions", _put_fraction),
    "UUID": ("uuid", _put_uuid),
    "ZoneInfo": ("zoneinfo", _put_zone),
    **dict.fromkeys(_PATH_KINDS, ("pathlib", _put_path)),
}
"""Rules by class name and module, for types whose modules are not imported for their sake."""


# Rebuilding


def _leaf_int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _leaf_complex(data: bytes) -> complex:
    return complex(*_COMPLEX.unpack(data))


def _leaf_date(data: bytes) -> date:
    return date.fromisoformat(data.decode())


def _leaf_timedelta(data: bytes) -> timedelta:
    return timedelta(*_TIMEDELTA.unpack(data))


# The modules below are imported by whoever reads such a value, for they cost 3 to 11 ms each.
def _leaf_decimal(data: bytes) -> Decimal:
    from decimal import Decimal

    return Decimal(data.decode("ascii"))


def _leaf_uuid(data: bytes) -> UUID:
    from uuid import UUID

    return UUID(bytes=data)


def _leaf_path(data: bytes) -> PurePath:
    import pathlib

    kinds: dict[bytes, type[PurePath]] = {
        b"p": pathlib.PurePosixPath, b"w": pathlib.PureWindowsPath,
        b"P": pathlib.PosixPath, b"W": pathlib.WindowsPath,
    }  # fmt: skip
    return kinds[data[:1]](data[1:].decode("utf-8", "surrogatepass"))


def _leaf_zone(data: bytes) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    return ZoneInfo(data.decode())


def _leaf_utc(_: bytes) -> timezone:
    return UTC


LEAVES: Final[Mapping[int, Callable[[bytes], object]]] = {
    Code.BIG_INT: _leaf_int,
    Code.COMPLEX: _leaf_complex,
    Code.BYTEARRAY: bytearray,
    Code.DATE: _leaf_date,
    Code.TIMEDELTA: _leaf_timedelta,
    Code.DECIMAL: _leaf_decimal,
    Code.UUID: _leaf_uuid,
    Code.PATH: _leaf_path,
    Code.ZONE: _leaf_zone,
    Code.UTC: _leaf_utc,
}
"""How the data of each leaf becomes a value."""


def _build_tuple(items: list[object], _: Source) -> object:
    return tuple(items)


def _build_set(items: list[object], _: Source) -> object:
    return set(items)


def _build_frozenset(items: list[object], _: Source) -> object:
    return frozenset(items)


def _build_deque(items: list[object], _: Source) -> object:
    maxlen = items[0]
    return deque(items[1:], maxlen)  # type: ignore[call-overload]  # it refuses what is no length


def _build_ordered_dict(items: list[object], _: Source) -> object:
    return OrderedDict(_pairs(items))


def _build_counter(items: list[object], _: Source) -> object:
    # Through dict: Counter(pairs) would count the pairs, and update() would add to them.
    return Counter(dict(_pairs(items)))


def _build_default_dict(items: list[object], _: Source) -> object:
    name = items[0]
    return defaultdict(None if name is None else _FACTORIES[str(name)], _pairs(items[1:]))


def _pairs(flat: list[object]) -> Iterable[tuple[object, object]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _build_datetime(items: list[object], _: Source) -> object:
    text, fold, zone = items
    moment = datetime.fromisoformat(str(text))
    if fold == 0 and zone is None:
        return moment
    return moment.replace(fold=fold, tzinfo=zone)  # type: ignore[arg-type]  # it refuses others


def _build_time(items: list[object], _: Source) -> object:
    text, fold, zone = items
    moment = time.fromisoformat(str(text))
    if fold == 0 and zone is None:
        return moment
    return moment.replace(fold=fold, tzinfo=zone)  # type: ignore[arg-type]  # it refuses others


def _build_timezone(items: list[object], _: Source) -> object:
    offset, name = items
    if not isinstance(offset, timedelta):
        raise DecodeError("a time zone without an offset")
    return timezone(offset) if name is None else timezone(offset, str(name))


def _build_fraction(items: list[object], _: Source) -> object:
    from fractions import Fraction

    return Fraction(*items)  # type: ignore[call-overload]  # it refuses what is no number


def _build_range(items: list[object], _: Source) -> object:
    return range(*items)  # type: ignore[call-overload]  # it refuses what is no number


BUILDERS: Final[Mapping[int, Callable[[list[object], Source], object]]] = {
    Code.TUPLE: _build_tuple,
    Code.SET: _build_set,
    Code.FROZENSET: _build_frozenset,
    Code.DEQUE: _build_deque,
    Code.ORDERED_DICT: _build_ordered_dict,
    Code.COUNTER: _build_counter,
    Code.DEFAULT_DICT: _build_default_dict,
    Code.DATETIME: _build_datetime,
    Code.TIME: _build_time,
    Code.TIMEZONE: _build_timezone,
    Code.FRACTION: _build_fraction,
    Code.RANGE: _build_range,
}
"""How the rest of an array becomes a value, by the code of its head."""
