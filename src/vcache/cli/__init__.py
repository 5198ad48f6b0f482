"""The command `vcache`: the one room that reads argv and prints. It must not hold a cache's logic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcache.cli.app import cli, main

__all__ = ["cli", "main"]


def __getattr__(name: str) -> object:
    # `vcache-ninja` lives in this room and needs no click, which takes 24 ms to load.
    if name not in __all__:
        raise AttributeError(f"module 'vcache.cli' has no attribute {name!r}")
    from vcache.cli import app

    return getattr(app, name)
