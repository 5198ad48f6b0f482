"""Which formats there are, each loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final, cast

from vcache.errors import UsageError
from vcache.logs.show.base import Column, Look, Sink, Writer

__all__ = ["FORMATS", "is_binary", "media_type", "writer"]

# Format ▷ module, class, media type.
_HOMES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType({
    "text": ("text", "TextWriter", "text/plain; charset=utf-8"),
    "json": ("lines", "JsonWriter", "application/x-ndjson"),
    "logfmt": ("lines", "LogfmtWriter", "text/plain; charset=utf-8"),
    "csv": ("delimited", "CsvWriter", "text/csv; charset=utf-8; header=present"),
    "html": ("page", "HtmlWriter", "text/html; charset=utf-8"),
    "parquet": ("parquet", "ParquetWriter", "application/vnd.apache.parquet"),
    "yaml": ("documents", "YamlWriter", "application/yaml"),
    "ini": ("documents", "IniWriter", "text/plain; charset=utf-8"),
})  # fmt: skip

FORMATS: Final = tuple(_HOMES)
"""The names of all formats."""


def writer(
    format: str, stream: Sink, columns: Sequence[Column] | None = None, *, look: Look = Look()  # noqa: A002, B008 - frozen
) -> Writer:  # fmt: skip
    """What shows an answer in a format.

    Args:
        columns: of the answer, `vcache.logs.show.base.columns_of`; None where its rows are records.

    Raises:
        UsageError: there is no such format.
        ConfigError: a library that it needs is not installed.
    """
    module, name, _ = _home(format)
    make = cast(
        "Callable[[Sink, tuple[Column, ...] | None, Look], Writer]",
        getattr(import_module(f"vcache.logs.show.{module}"), name),
    )
    return make(stream, None if columns is None else tuple(columns), look)


def media_type(format: str) -> str:  # noqa: A002
    """The media type of a format; raises as `writer`."""
    return _home(format)[2]


def is_binary(format: str) -> bool:  # noqa: A002
    """Whether a format is nothing for a terminal."""
    return format == "parquet"


def _home(format: str) -> tuple[str, str, str]:  # noqa: A002
    found = _HOMES.get(format)
    if found is None:
        from vcache.kit.names import did_you_mean

        raise UsageError(f"no format is called {format!r}{did_you_mean(format, FORMATS)}")
    return found
