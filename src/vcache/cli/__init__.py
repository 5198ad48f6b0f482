"""The command `vcache`: the one room that reads argv and prints. It must not hold a cache's logic."""

from __future__ import annotations

from vcache.cli.app import cli, main

__all__ = ["cli", "main"]
