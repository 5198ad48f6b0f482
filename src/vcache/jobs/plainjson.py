"""Payloads and results ⇄ what JSON can say: bytes are `{"$bytes": "BASE64"}`. Pure.

An object of one member whose name is `bytes` behind one or more `$` is written with one `$` more, and read with one
less, so that nothing is lost. It must not know where either goes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Final, NoReturn

from vcache.errors import UsageError
from vcache.jobs.models import Plain

__all__ = ["jsonable", "parse_json", "plain_of"]

_MARK: Final = re.compile(r"\$+bytes")
_BYTES: Final = "$bytes"


def jsonable(value: object) -> object:
    """A plain value with nothing that JSON has no form for. Names that are no text become text."""
    if isinstance(value, Mapping):
        members = {
            name if isinstance(name, str) else str(name): jsonable(each) for name, each in value.items()
        }
        if len(members) == 1:
            ((name, each),) = members.items()
            if _MARK.fullmatch(name):
                return {f"${name}": each}
        return members
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {_BYTES: base64.b64encode(value).decode()}
    return value


def plain_of(value: object) -> Plain:
    """The plain value that JSON says.

    Raises:
        UsageError: `$bytes` of something that is no base64.
    """
    if isinstance(value, dict):
        if len(value) == 1:
            ((name, each),) = value.items()
            if name == _BYTES:
                return _bytes_of(each)
            if _MARK.fullmatch(name):
                return {name[1:]: plain_of(each)}
        return {name: plain_of(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain_of(each) for each in value]
    return value  # type: ignore[return-value]  # what json.loads gives beside the two above


def parse_json(text: str | bytes) -> object:
    """What JSON says; unlike the standard library's, no NaN and no infinity.

    Raises:
        UsageError: it is none.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"no JSON: {error}") from None


def _bytes_of(text: object) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise UsageError(f'{{"{_BYTES}": {text!r:.80}}}: write base64; an object that has just that member is written '
                     f'{{"${_BYTES}": …}}') from None  # fmt: skip


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
