"""Where a server keeps its own things within the directory that it serves. Paths only, no I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["audit_in", "tokens_in", "uploads_in"]

_OFFICE: Final = "server"


def tokens_in(directory: Path) -> Path:
    """The file of the tokens of whoever serves a directory."""
    return directory / _OFFICE / "tokens.json"


def audit_in(directory: Path) -> Path:
    """The audit log, as far as it was not rotated."""
    return directory / _OFFICE / "audit.jsonl"


def uploads_in(directory: Path) -> Path:
    """Where long bodies wait to be published."""
    return directory / _OFFICE / "uploads"
