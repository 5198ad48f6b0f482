"""Settings as text ▷ nested mappings: TOML, JSON, INI, YAML; and back to INI and YAML. It must not know what they set.

Each parser is loaded when a text of its format comes along: together they cost 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from vcache.errors import UsageError

__all__ = ["SUFFIXES", "ini_section", "parse_table", "yaml_document"]

Table = Mapping[str, object]


def parse_table(text: str, suffix: str) -> Table:
    """The mapping that a text holds, in the format that a file name's suffix stands for.

    The sections of an INI file are mappings of text.

    Raises:
        UsageError: unknown suffix, text of another format, something else than a mapping, or
            YAML without its extra.
    """
    parser = _PARSERS.get(suffix)
    if parser is None:
        raise UsageError(f"no settings format has the suffix {suffix!r}; there is {', '.join(SUFFIXES)}")
    try:
        table = parser(text)
    except UsageError:
        raise
    except Exception as error:  # every parser has an error class of its own, and they share no base
        raise UsageError(f"not {suffix[1:].upper()}: {error}") from error
    if table is None:
        return {}  # an empty YAML file
    if not isinstance(table, Mapping):
        raise UsageError(f"holds a {type(table).__name__}, not settings by name")
    return table


def ini_section(title: str, values: Mapping[str, str]) -> str:
    """One section of an INI file, which `parse_table` reads back.

    Args:
        values: names have neither "=" nor ":" and do not begin with "[", "#" or ";", texts no line breaks.
    """
    from configparser import ConfigParser
    from io import StringIO

    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # names keep their case
    parser[title] = values
    text = StringIO()
    parser.write(text, space_around_delimiters=True)
    return text.getvalue()


def yaml_document(value: object, *, is_ascii: bool = False) -> str:
    """A value of plain types as block-style YAML.

    Args:
        is_ascii: everything else is escaped.

    Raises:
        UsageError: without its extra.
    """
    yaml = _yaml_library()
    return yaml.safe_dump(value, allow_unicode=not is_ascii, sort_keys=False, width=1 << 30)  # type: ignore[attr-defined,no-any-return]


def _toml(text: str) -> object:
    import tomllib

    return tomllib.loads(text)


def _json(text: str) -> object:
    import json

    return json.loads(text)


def _ini(text: str) -> object:
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return {section: dict(parser[section]) for section in parser.sections()}


def _yaml(text: str) -> object:
    return _yaml_library().safe_load(text)  # type: ignore[attr-defined]


def _yaml_library() -> object:
    try:
        import yaml
    except ImportError:
        raise UsageError('YAML needs the extra: python -m pip install "vcache[yaml]"') from None
    return yaml


_PARSERS: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType(
    {".toml": _toml, ".json": _json, ".ini": _ini, ".yaml": _yaml, ".yml": _yaml}
)

SUFFIXES: Final = tuple(_PARSERS)
"""Every suffix that `parse_table` takes."""
