"""Objects of JSON as records: which of their names is the time, the message, the level, the source. Pure.

The hot path of bulk ingest: objects of one shape come together, so what a set of names means is found out
once, and what is left of an object after taking those four is its fields, without a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from vcache.logs.receive.own import is_own, own_record
from vcache.logs.receive.times import iso_ns, number_ns, time_ns
from vcache.logs.record import MOST_FIELDS, NAME_CHARS, Mark, Record, flat
from vcache.query.levels import CRITICAL, DEBUG, ERROR, INFO, TRACE, WARNING, level_of
from vcache.query.syntax import Value

__all__ = ["ALIASES", "fields_of", "record_of", "records_of"]

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "time": ("@timestamp", "_time", "@time", "at_ns", "time", "timestamp", "ts", "at", "datetime", "asctime",
             "record.time.timestamp", "date"),  # `date` is what Fluent Bit calls it
    "message": ("message", "msg", "_msg", "MESSAGE", "body", "log", "event", "record.message",
                "fields.message"),
    "level": ("level", "severity_text", "severity", "log.level", "levelname", "lvl", "loglevel", "log_level",
              "severity_number", "levelno", "record.level.name"),
    "source": ("source", "service.name", "logger", "log.logger", "app", "service", "record.name"),
}  # fmt: skip
"""Of several names that are there, the first counts; the others stay fields."""

_Plan: TypeAlias = tuple[str | None, str | None, str | None, str | None]
_PLANS_KEPT: Final = 1024
_PLAIN: Final = frozenset((str, int, float, bool))
_KNOWN: Final = frozenset(name for names in ALIASES.values() for name in names)
_INT_BOUND: Final = 1 << 63
_OWN: Final = ("level", "source", "message")
_plans: Final[dict[tuple[str, ...], _Plan]] = {}
_levels: Final[dict[object, int]] = {"": 0}
_NUMBERS: Final[Mapping[str, Mapping[int, int]]] = {
    "severity_number": {number: number for number in range(1, 25)},
    "levelno": {5: TRACE, 10: DEBUG, 20: INFO, 30: WARNING, 40: ERROR, 50: CRITICAL},
    # What pino and bunyan write, known by the names that both write beside it.
    "level": {10: TRACE, 20: DEBUG, 30: INFO, 40: WARNING, 50: ERROR, 60: CRITICAL},
}


def records_of(
    objects: Iterable[dict[str, object]], now_ns: int, source: str, *, is_plain: bool
) -> list[Record]:
    """A record of each object. The objects are used up.

    Args:
        is_plain: every value is known to be text, a number of 64 bits or a bool.
    """
    found: list[Record] = []
    add, make, new = found.append, Record, tuple.__new__
    plans, levels = _plans, _levels
    for each in objects:
        plan = plans.get(tuple(each)) or _plan_of(tuple(each))
        if plan is None or not (is_plain or _is_plain(each)):
            add(record_of(each, now_ns, source))
            continue
        time_name, message_name, level_name, source_name = plan
        pop = each.pop
        at = pop(time_name, None)  # type: ignore[arg-type]  # None is a key of none
        level = pop(level_name, "")  # type: ignore[arg-type]
        message = pop(message_name, "")  # type: ignore[arg-type]
        said_by = pop(source_name, source)  # type: ignore[arg-type]
        if type(at) is str:
            at_ns = iso_ns(at)
        else:
            is_number = (type(at) is int or type(at) is float) and time_name != "at_ns"
            at_ns = number_ns(at) if is_number else None  # type: ignore[arg-type]
        number = levels.get(level)
        if at_ns is None or number is None or type(message) is not str or type(said_by) is not str:
            _put_back(each, plan, (at, message, level, said_by))
            add(record_of(each, now_ns, source))
        else:
            add(new(make, (at_ns, number, said_by, message, each, 0, 1, 0, "")))
    return found


def _put_back(each: dict[str, object], plan: _Plan, taken: tuple[object, ...]) -> None:
    each.update({name: value for name, value in zip(plan, taken, strict=True) if name is not None})


def _is_plain(fields: Mapping[str, object]) -> bool:
    kinds = set(map(type, fields.values()))
    if not kinds <= _PLAIN:
        return False
    return int not in kinds or all(
        type(value) is not int or -_INT_BOUND <= value < _INT_BOUND for value in fields.values()
    )


def _plan_of(names: tuple[str, ...]) -> _Plan | None:
    """Which name is what; None for names that have to be looked at one by one."""
    known = set(names)
    time, message, level, source = (
        next((name for name in aliases if name in known), None) for aliases in ALIASES.values()
    )
    if len(names) > MOST_FIELDS or any(len(name) > NAME_CHARS for name in names) or is_own(known):
        return None
    if len(_plans) >= _PLANS_KEPT:
        _plans.clear()
    _plans[names] = plan = (time, message, level, source)
    return plan


def record_of(fields: Mapping[str, object], now_ns: int, source: str, *, marks: int = 0) -> Record:
    """The record of one object, whatever it holds."""
    if is_own(fields):
        return own_record(fields, now_ns, source)
    left, is_cut = _flattened(fields)
    at_ns = _take_time(left)
    message = _take_message(left)
    level = _take_level(left)
    said_by = _take_source(left)
    if at_ns is None:
        marks |= Mark.NO_TIME
    if is_cut:
        marks |= Mark.CUT
    return Record(now_ns if at_ns is None else at_ns, level, said_by or source, message, left, int(marks))


def _flattened(fields: Mapping[str, object]) -> tuple[dict[str, Value], bool]:
    # What has a meaning goes first: the last of too many fields are left out.
    first = (
        {name: fields[name] for name in _KNOWN if name in fields} if len(fields) > MOST_FIELDS // 2 else {}
    )
    return _flat({**first, **fields})


def fields_of(fields: Mapping[str, object]) -> tuple[dict[str, Value], bool]:
    """As `flat`, under names that are no record's own: "level" is "field.level" here.

    Values within values within values, beyond all reason, are left out.
    """
    found, is_cut = _flat(fields)
    for name in _OWN:
        if name in found:
            found[f"field.{name}"] = found.pop(name)
    return found, is_cut


def _flat(fields: Mapping[str, object]) -> tuple[dict[str, Value], bool]:
    try:
        return flat(fields)
    except RecursionError:
        return flat({name: value for name, value in fields.items() if type(value) in _PLAIN})[0], True


def _take_time(left: dict[str, Value]) -> int | None:
    for name in ALIASES["time"]:
        if name in left:
            value = left[name]
            is_ns = name == "at_ns" and type(value) is int
            at_ns: int | None = value if is_ns else time_ns(value)  # type: ignore[assignment]
            if at_ns is not None:
                del left[name]
                return at_ns
    return None


def _take_message(left: dict[str, Value]) -> str:
    for name in ALIASES["message"]:
        if type(left.get(name)) is str:
            return str(left.pop(name))
    return json.dumps(left.pop("message")) if "message" in left else ""


def _take_level(left: dict[str, Value]) -> int:
    found = 0
    for name in ALIASES["level"]:
        value = left.get(name)
        if value is None:
            continue
        number = _level(name, value, left)
        if number is not None:
            del left[name]
            found = number
            break
    if "level" in left:  # no level: another name, as that one is a record's own
        left["severity_text" if "severity_text" not in left else "level_text"] = left.pop("level")
    return found


def _level(name: str, value: object, left: Mapping[str, Value]) -> int | None:
    if type(value) is str:
        number = level_of(value)
        if number is None and name in _NUMBERS and value.isdecimal() and len(value) < 3:
            return _NUMBERS[name].get(int(value)) if name != "level" else None
        if number is not None and len(_levels) < _PLANS_KEPT:
            _levels[value] = number
        return number
    if (
        type(value) is int
        and name in _NUMBERS
        and (name != "level" or ("pid" in left and "hostname" in left))
    ):
        return _NUMBERS[name].get(value)
    return None


def _take_source(left: dict[str, Value]) -> str:
    found = ""
    for name in ALIASES["source"]:
        if type(left.get(name)) is str and left[name]:
            found = str(left.pop(name))
            break
    if "source" in left:
        value = left.pop("source")
        return found or ("" if value == "" else str(value))
    return found
