"""The page of formats says what the parsers do."""

from __future__ import annotations

from pathlib import Path

from vcache.logs.receive import NAMES
from vcache.logs.receive.mapping import ALIASES

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "reference" / "log-formats.md").read_text()


def test_every_format_and_name_is_on_the_page() -> None:
    """In the tables."""
    for name in NAMES:
        assert f"| `{name}` |" in PAGE
    for aliases in ALIASES.values():
        for alias in aliases:
            assert f"`{alias}`" in PAGE
