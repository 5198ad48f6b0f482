"""Names and numbers that clients choose: what may be one."""

from __future__ import annotations

from typing import Final

from vcache.server.refused import Refusal, Refused

__all__ = ["clean_name", "flat_name", "whole_number"]

_MOST_BYTES: Final = 1024  # as S3 has it
_MOST_DIGITS: Final = 18  # Python refuses to read thousands


def clean_name(name: str) -> str:
    """A name of one or more parts between slashes, as it came.

    Raises:
        Refused: an empty or relative part, a control character, or too long.
    """
    flat_name(name)
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise Refused(Refusal.MALFORMED, f"{name!r:.200} is no name: a part of it is empty, '.' or '..'")
    return name


def flat_name(name: str) -> str:
    """A name in which slashes mean nothing, as it came.

    Raises:
        Refused: empty, too long, or with what cannot be shown or told in XML.
    """
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= _MOST_BYTES:
        raise Refused(Refusal.MALFORMED, f"a name of {size} bytes; 1 to {_MOST_BYTES} are taken")
    if not name.isprintable():
        raise Refused(Refusal.MALFORMED, f"{name!r:.200} is no name: it has characters that do not print")
    return name


def whole_number(text: str) -> int | None:
    """A number of up to 18 decimal digits; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
