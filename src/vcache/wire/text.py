"""Messages as JSON, the way protobuf maps them: names in camelCase, numbers of 64 bits as text."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message import DecodeError, Message

__all__ = ["from_bytes", "from_json", "to_json"]

T = TypeVar("T", bound=Message)


def to_json(message: Message) -> bytes:
    """The JSON of a message, in one line."""
    return MessageToJson(message, indent=None).encode()


def from_json(kind: type[T], data: bytes) -> T:
    """The message that JSON describes; what the kind does not know is passed over.

    Raises:
        ValueError: no JSON, or not of that kind.
    """
    if data.lstrip()[:1] != b"{":  # an empty list would pass for a message without fields
        raise ValueError(f"{data[:40]!r} is no JSON object")
    try:
        return Parse(data, kind(), ignore_unknown_fields=True)
    except ParseError as error:
        raise ValueError(str(error)) from error


def from_bytes(kind: type[T], data: bytes) -> T:
    """The message that bytes encode.

    Raises:
        ValueError: they are none.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ValueError(f"{len(data)} bytes are no {kind.__name__}: {error}") from error
