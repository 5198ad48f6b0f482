"""What is asked for: payloads and batches as people write them, and when a job may run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.jobs.plainjson import parse_json, plain_of
from vcache.kit.ansi import safe_string

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from vcache.jobs.models import Payload, Plain

__all__ = ["batch_lines", "json_of", "moment_ahead", "payload_of"]

_WORDS: Final[Mapping[str, Plain]] = {"true": True, "false": False, "null": None}
_SHOWN: Final = 60  # characters of a line with a slip in it


def payload_of(payload: str | None, fields: Sequence[str]) -> Payload:
    """The payload that options and words say together; a word replaces a field of the same name.

    Args:
        payload: a JSON object, `@FILE` that holds one, or `-` for standard input; None for none.
        fields: `name=value` or `name:=JSON`.

    Raises:
        UsageError: JSON that is none, or no object; the message shows the place.
        OSError: the file cannot be read.
    """
    found: dict[str, Plain] = {}
    if payload is not None:
        text, name = _text_of(payload)
        found |= _object_of(json_of(text, name), name)
    for word in fields:
        field, value = _field_of(word)
        found[field] = value
    return found


def batch_lines(path: str) -> Iterator[tuple[str, Mapping[str, Plain]]]:
    """The objects of a file of JSON lines, each with where it stands. Blank lines are left out.

    Raises:
        UsageError: a line is no JSON object.
        OSError: the file cannot be read.
    """
    text, name = _text_of("-" if path == "-" else f"@{path}")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{name}:{number}"
            yield where, _object_of(json_of(line, where), where)


def json_of(text: str, name: str) -> Plain:
    """What JSON says.

    Raises:
        UsageError: it is none; the message shows the place.
    """
    try:
        return plain_of(parse_json(text))
    except UsageError as error:
        raise UsageError(f"{name}: {_with_place(error)}") from None


def moment_ahead(text: str, option: str) -> datetime:
    """The time that an option says; a duration alone lies ahead.

    Raises:
        UsageError: it says none.
    """
    from datetime import UTC, datetime

    from vcache.query.literals import time_of

    now_ns = time.time_ns()
    found = time_of(f"+{text}", now_ns=now_ns) if text[:1].isdigit() else None
    if found is None:
        found = time_of(text, now_ns=now_ns)
    if found is None:
        raise UsageError(
            f"{option} {text!r} is no time: give 90m, 2h, 7d (from now), tomorrow, 2026-11-21 or 2026-11-21T10:00:00Z"
        )
    try:
        return datetime.fromtimestamp(found / 1e9, UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r} is too far away") from None


def _text_of(word: str) -> tuple[str, str]:
    """The text that an option means, and what to call it."""
    if word == "-":
        data, name = sys.stdin.buffer.read(), "standard input"
    elif word.startswith("@"):
        name = word[1:]
        with open(name, "rb") as file:
            data = file.read()
    else:
        return word, "--payload"
    try:
        return data.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: no JSON: byte {error.start} is not of UTF-8") from None


def _object_of(value: Plain, name: str) -> Mapping[str, Plain]:
    if not isinstance(value, dict):
        kind = {list: "a list", str: "text", type(None): "null"}.get(type(value), type(value).__name__)
        raise UsageError(f'{name}: a payload is an object of fields, such as {{"to": "a@b"}}, not {kind}')
    return value


def _field_of(word: str) -> tuple[str, Plain]:
    name, equals, text = word.partition("=")
    is_json = name.endswith(":")
    name = name.removesuffix(":")
    if not (equals and name):
        raise UsageError(f"{word!r:.80} is no field: write name=value, or name:=JSON")
    return name, json_of(text, f"field {name}") if is_json else _bare(text)


def _bare(text: str) -> Plain:
    """A number where the text is how that number is written, true, false, null, or the text.

    "007", "1.50" and "12e3" stay text: as numbers they could not be written back.
    """
    from vcache.query.literals import number_in

    if text in _WORDS:
        return _WORDS[text]
    number = number_in(text)
    return number if number is not None and str(number) == text else text


def _with_place(error: UsageError) -> str:
    """The error's message; for a slip the line, and a caret under the place."""
    from json import JSONDecodeError

    slip = error.__context__
    if not isinstance(slip, JSONDecodeError):
        return str(error)
    lines = slip.doc.split("\n")
    line, column = lines[slip.lineno - 1], slip.colno - 1
    begin = max(0, column - _SHOWN // 2)
    seen = safe_string(line[begin : begin + _SHOWN].replace("\t", " "))
    where = f"line {slip.lineno}, column {slip.colno}" if len(lines) > 1 else f"column {slip.colno}"
    return f"no JSON: {slip.msg} in {where}\n    {seen}\n    {' ' * (column - begin)}^"
