"""The table of the forge's modules is true: every row names modules that are there, and runs."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "forge.md"

# The toolbox had these. uuid is counted with idgen, of which it is a form. The table may hold more.
FORGE = {
    "log", "tracing", "metrics", "config", "validate", "feature_flags", "cache", "kvstore", "serialize", "rle",
    "checksum", "http_client", "retry", "rate_limiter", "pool", "taskpool", "channel", "prioq", "graph", "eventbus",
    "scheduler", "supervisor", "idgen", "random", "fs_atomic", "plugin", "migrate", "cli", "pagination", "csv", "ini",
    "yaml_lite", "result_ext", "stringx", "mathx",
}  # fmt: skip
PROMISED = FORGE | {"uuid", "tracing correlation"}


class Row(NamedTuple):
    names: str
    rooms: str
    library: str
    example: str


def rows() -> list[Row]:
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("|")]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines[2:]]


def test_every_promised_module_has_a_row() -> None:
    """each module that was promised stands in the table, once"""
    named = [name for row in rows() for name in row.names.split(", ")]
    assert set(named) >= PROMISED
    assert len(named) == len(set(named))
    assert len(FORGE) == 35


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.names)
def test_a_row_is_true(row: Row, tmp_path: Path) -> None:
    """the modules of a row can be imported, and its example holds"""
    rooms = re.findall(r"`([\w.]+)`", row.rooms)
    assert rooms
    assert row.library
    for room in rooms:
        importlib.import_module(room)
    source = row.example.strip("`")
    assert "assert " in source
    exec(compile(source, f"{TABLE.name}: {row.names}", "exec"), {"tmp": tmp_path})
