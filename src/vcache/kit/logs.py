"""Loggers, made when there is something to log: `logging` takes 4 ms to load, which a build of one file lacks.

A program that wants the library's warnings in its own words says so here, before or after the first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["logger", "prepare"]

_preparations: list[Callable[[], None]] = []


def logger(name: str) -> Logger:
    """The logger of a name, prepared as the program wishes."""
    import logging  # see above

    while _preparations:
        _preparations.pop()()
    return logging.getLogger(name)


def prepare(how: Callable[[], None]) -> None:
    """Have something done before the first record is logged; at once where `logging` is in use."""
    if "logging" in sys.modules:
        how()
    else:
        _preparations[:] = [how]
