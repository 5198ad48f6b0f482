"""YAML and INI: an answer as a document that settings' parsers read. For small answers, by people's wish.

In both, what acts on a terminal is shown as escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.kit.ansi import acts, safe_string
from vcache.kit.tables import ini_section, yaml_document
from vcache.logs.base import Gap
from vcache.logs.show.base import Column, Look, Row, Sink, put
from vcache.logs.show.lines import gap_facts, namer

if TYPE_CHECKING:
    from vcache.logs.show.values import Plain

__all__ = ["IniWriter", "YamlWriter"]

_NO_NAME: Final = re.compile(r"[\s=:\[\]#;]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


class YamlWriter:
    """A list of mappings. PyYAML comes with the extra `yaml`."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        self._stream, self._look = stream, look
        self._name = namer(columns, look)
        self._is_empty = True

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._is_empty = False
            value = [_encodable(self._name(row))]
            text = yaml_document(value)
            put(self._stream, [yaml_document(value, is_ascii=True) if acts(text) else text])

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        said = [{"@gap": gap_facts(gap)} for gap in gaps] if self._look.shows_gaps else []
        if said or self._is_empty:
            put(self._stream, [yaml_document(said)])


class IniWriter:
    """A section for each row, called 1, 2, 3; line breaks within a value are escapes."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        self._stream, self._look = stream, look
        self._name = namer(columns, look)
        self._count = 0

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._count += 1
            values = {_ini_name(name): _ini_text(value) for name, value in self._name(row).items()}
            put(self._stream, [ini_section(str(self._count), values)])

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        for number, gap in enumerate(gaps if self._look.shows_gaps else (), 1):
            values = {name: _ini_text(value) for name, value in gap_facts(gap).items()}
            put(self._stream, [ini_section(f"gap {number}", values)])


def _encodable(row: Plain) -> dict[str, object]:
    """The row without lone surrogates, which YAML has no way to say."""
    return {
        _SURROGATE.sub(_escaped, name): _SURROGATE.sub(_escaped, value) if isinstance(value, str) else value
        for name, value in row.items()
    }


def _escaped(match: re.Match[str]) -> str:
    return safe_string(match[0])


def _ini_name(name: str) -> str:
    return _NO_NAME.sub("_", safe_string(name)) or "_"


def _ini_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = " ".join(value) if isinstance(value, list) else str(value)
    return safe_string(text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n"))
