"""APSW, and which SQLite is in it. It must not know what it is used for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LEAST", "apsw", "refuse_older"]

LEAST: Final = (3, 51, 3)
"""Before it, a checkpoint that meets the reset of a log by another process can damage the file."""


@cache
def apsw() -> Any:
    """The module.

    Raises:
        ConfigError: it is not installed, or its SQLite is too old.
    """
    try:
        import apsw  # 15 ms and several MB, for who has an embedded queue
    except ImportError as error:
        raise ConfigError(
            f"an embedded queue needs apsw, which cannot be imported ({error}): pip install 'vcache[jobs]'"
        ) from None
    refuse_older(apsw.sqlite_lib_version())
    return apsw


def refuse_older(version: str) -> None:
    """See to it that SQLite is one that keeps jobs safe.

    Raises:
        ConfigError: it is not.
    """
    if numbers(version.split(".")) < LEAST:
        least = ".".join(map(str, LEAST))
        raise ConfigError(
            f"apsw brings SQLite {version}, which may damage a queue that several processes use (the WAL-reset bug, "
            f"mended in {least}): pip install -U 'apsw>={least}'"
        )


def numbers(words: Sequence[str]) -> tuple[int, ...]:
    """The numbers of a version."""
    return tuple(int(word) for word in words if word.isdecimal())
