"""The formats by their names. Imports of parsers are late: each brings what only it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from vcache.errors import UsageError
from vcache.kit.names import did_you_mean
from vcache.logs.receive.base import Format

__all__ = ["NAMES", "by_name"]


def _json() -> Format:
    from vcache.logs.receive.jsonlines import JsonLines

    return JsonLines()


def _lines() -> Format:
    from vcache.logs.receive.lines import Lines

    return Lines()


def _syslog() -> Format:
    from vcache.logs.receive.syslog import Syslog

    return Syslog()


def _otlp() -> Format:
    from vcache.logs.receive.otlp import Otlp

    return Otlp()


def _loki() -> Format:
    from vcache.logs.receive.loki import Loki

    return Loki()


def _elastic() -> Format:
    from vcache.logs.receive.elastic import Elastic

    return Elastic()


def _journal() -> Format:
    from vcache.logs.receive.journal import Journal

    return Journal()


def _logfmt() -> Format:
    from vcache.logs.receive.logfmt import Logfmt

    return Logfmt()


def _auto() -> Format:
    from vcache.logs.receive.auto import Auto

    return Auto(by_name)


_FORMATS: Final[Mapping[str, Callable[[], Format]]] = {
    "auto": _auto, "json": _json, "lines": _lines, "syslog": _syslog, "journal": _journal, "logfmt": _logfmt,
    "otlp": _otlp, "loki": _loki, "elastic": _elastic,
}  # fmt: skip
NAMES: Final = tuple(_FORMATS)
"""What `by_name` takes."""


def by_name(name: str) -> Format:
    """The format of that name.

    Raises:
        UsageError: there is none.
        ConfigError: what it needs is not installed.
    """
    make = _FORMATS.get(name)
    if make is None:
        raise UsageError(f"no format {name!r}{did_you_mean(name, NAMES)}: there are {', '.join(NAMES)}")
    return make()
