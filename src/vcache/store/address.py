"""What an address of a store says, in its parts: `scheme:path?option=value&…`.

It opens nothing, and knows no store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from vcache.errors import ConfigError, UsageError
from vcache.kit.data import NamedTuple
from vcache.kit.names import nearest
from vcache.kit.redact import without_secrets
from vcache.kit.units import yes_or_no

__all__ = ["SCHEME", "Options", "StoreUrl", "flag", "hint", "parse_url", "variable"]

_T = TypeVar("_T")

SCHEME: Final = r"([A-Za-z][A-Za-z0-9+.-]*):"
"""What an address begins with; a path alone has none."""


class StoreUrl(NamedTuple):
    """An address in its parts.

    Attributes:
        scheme: which kind of store: "mem", "disk", or a plug-in's.
        path: what follows the colon, percent-decoded; a bare path is taken as it is.
        options: what follows the question mark, percent-decoded.
        text: the address as it was written. It may hold a password: messages use `str`.
    """

    scheme: str
    path: str
    options: Mapping[str, str] = MappingProxyType({})
    text: str = ""

    def __str__(self) -> str:
        return without_secrets(self.text)


class Options:
    """The options of an address, taken one by one; what is left over is a mistake.

    Example:
        options = Options(url)
        max_bytes = options.take("max", size_bytes)
        options.finish()
    """

    def __init__(self, url: StoreUrl) -> None:
        self._url = url
        self._known: list[str] = []

    def take(self, name: str, read: Callable[[str], _T]) -> _T | None:
        """What a reader makes of an option's text; None where the address does not have it.

        Raises:
            ConfigError: the reader refused the text with a ValueError.
        """
        self._known.append(name)
        text = self._url.options.get(name)
        if text is None:
            return None
        try:
            return read(text)
        except ValueError as error:
            raise ConfigError(f"store {str(self._url)!r}: option {name}={text!r}: {error}") from error

    def rest(self) -> dict[str, str]:
        """The options that nobody has asked for, for whoever passes them on."""
        left = {name: text for name, text in self._url.options.items() if name not in self._known}
        self._known += left
        return left

    def finish(self) -> None:
        """Say that all options have been asked for.

        Raises:
            ConfigError: the address has others.
        """
        for name in self._url.options:
            if name not in self._known:
                known = ", ".join(sorted(set(self._known))) or "none"
                raise ConfigError(
                    f"store {str(self._url)!r}: unknown option {name!r}{hint(name, self._known)} "
                    f"({self._url.scheme} stores know: {known})"
                )


def parse_url(url: str | Path) -> StoreUrl:
    """The parts of an address. A Path, or text without a scheme, is the path of a disk store.

    Raises:
        ConfigError: an option has no value or comes twice.
    """
    if isinstance(url, Path):
        return StoreUrl("disk", str(url), text=str(url))
    match = re.match(SCHEME, url)
    scheme = match[1].lower() if match else "disk"
    path, _, query = url[match.end() if match else 0 :].partition("?")
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ConfigError(
                f"store {without_secrets(url)!r}: option {part!r} has no value: write name=value, joined by '&'"
            )
        if name in options:
            raise ConfigError(f"store {without_secrets(url)!r}: option {name!r} comes twice: keep one")
        options[name] = _decoded(value)
    return StoreUrl(scheme, _decoded(path) if match else path, options, url)


def flag(text: str) -> bool:
    """What a yes-or-no option says.

    Raises:
        UsageError: neither.
    """
    is_set = yes_or_no(text)
    if is_set is None:
        raise UsageError(f"{text!r} is neither yes nor no: write 1 or 0")
    return is_set


def variable(where: str, option: str, name: str, environment: Mapping[str, str]) -> str:
    """What a variable holds that an option names.

    Args:
        where: whose option it is, for the message, without secrets: neither is the name in it, for it may
            be the secret itself that somebody wrote there.

    Raises:
        ConfigError: it is not set, or empty.
    """
    found = environment.get(name)
    if not found:
        raise ConfigError(
            f"{where}: option {option} names a variable that is not set: "
            "give the name of a variable, not the secret itself"
        )
    return found


def hint(word: str, choices: Iterable[str]) -> str:
    """The nearest names in words, or nothing."""
    found = nearest(word, choices)
    return f": did you mean {' or '.join(map(repr, found))}?" if found else ""


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # 3 ms of imports for an address that hardly ever needs it

    return unquote(text)
