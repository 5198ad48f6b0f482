"""Stores by address: `mem:64MB`, `disk:target/.vcache?max=20GB&max_age=30d`, `https://host/base`, or a bare path.

The one place that picks a store; each is imported when its address is used. Other
distributions add schemes by entry points of the group `vcache.stores`: the name is the scheme,
the object a callable that takes a `StoreUrl` and returns a store.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from vcache.errors import ConfigError, StoreError, UsageError
from vcache.kit.clock import Clock, system_clock
from vcache.kit.data import NamedTuple
from vcache.kit.names import nearest
from vcache.kit.units import seconds, size_bytes
from vcache.store.base import Store, satisfies

__all__ = ["Options", "StoreUrl", "flag", "open_store", "parse_url", "schemes"]

_T = TypeVar("_T")

_SCHEME: Final = r"([A-Za-z][A-Za-z0-9+.-]*):"
_FLAGS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class StoreUrl(NamedTuple):
    """An address in its parts.

    Attributes:
        scheme: which kind of store: "mem", "disk", or a plug-in's.
        path: what follows the colon, percent-decoded; a bare path is taken as it is.
        options: what follows the question mark, percent-decoded.
        text: the address as it was written, for messages.
    """

    scheme: str
    path: str
    options: Mapping[str, str] = MappingProxyType({})
    text: str = ""

    def __str__(self) -> str:
        return self.text


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
            raise ConfigError(f"store {self._url.text!r}: option {name}={text!r}: {error}") from error

    def finish(self) -> None:
        """Say that all options have been asked for.

        Raises:
            ConfigError: the address has others.
        """
        for name in self._url.options:
            if name not in self._known:
                known = ", ".join(sorted(self._known)) or "none"
                raise ConfigError(
                    f"store {self._url.text!r}: unknown option {name!r}{_hint(name, self._known)} "
                    f"({self._url.scheme} stores know: {known})"
                )


def parse_url(url: str | Path) -> StoreUrl:
    """The parts of an address. A Path, or text without a scheme, is the path of a disk store.

    Raises:
        ConfigError: an option has no value or comes twice.
    """
    if isinstance(url, Path):
        return StoreUrl("disk", str(url), text=str(url))
    match = re.match(_SCHEME, url)
    scheme = match[1].lower() if match else "disk"
    path, _, query = url[match.end() if match else 0 :].partition("?")
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ConfigError(f"store {url!r}: option {part!r} has no value: write name=value, joined by '&'")
        if name in options:
            raise ConfigError(f"store {url!r}: option {name!r} comes twice: keep one")
        options[name] = _decoded(value)
    return StoreUrl(scheme, _decoded(path) if match else path, options, url)


def open_store(url: str | Path, *, clock: Clock = system_clock) -> Store:
    """The store at an address; several addresses, separated by spaces, make a tiered store.

    Args:
        url: see the module.
        clock: for the stores of this package; a plug-in has its own.

    Raises:
        ConfigError: an unknown scheme or option, a value that does not fit, or a plug-in that
            cannot be loaded or opens something else than a store.
        StoreError: the store cannot be opened.
    """
    addresses = _addresses(url)
    if len(addresses) == 1:
        return _open_one(parse_url(addresses[0]), clock)
    from vcache.store.tiered import TieredStore

    tiers: list[Store] = []
    try:
        for address in addresses:
            tiers.append(_open_one(parse_url(address), clock))  # noqa: PERF401 - closed below if the next fails
        return TieredStore(tiers)
    except (StoreError, UsageError):
        for tier in tiers:
            tier.close()
        raise


def schemes() -> tuple[str, ...]:
    """The schemes that `open_store` takes here, plug-ins included, sorted."""
    from vcache.kit import plugin  # 2 ms that only a foreign scheme needs

    return tuple(sorted({*_OPENERS, *plugin.names(plugin.STORES)}))


def flag(text: str) -> bool:
    """What a yes-or-no option says.

    Raises:
        UsageError: neither.
    """
    is_set = _FLAGS.get(text.lower())
    if is_set is None:
        raise UsageError(f"{text!r} is neither yes nor no: write 1 or 0")
    return is_set


def _addresses(url: str | Path) -> list[str | Path]:
    """The addresses in a text. A space separates two only where each has a scheme: paths have spaces."""
    if isinstance(url, str):
        parts = url.split()
        if len(parts) > 1 and all(re.match(_SCHEME, part) for part in parts):
            return list(parts)
    return [url]


def _open_one(url: StoreUrl, clock: Clock) -> Store:
    opener = _OPENERS.get(url.scheme)
    if opener is None and url.scheme.startswith("fs+"):
        return _open_network("fs", url, clock)
    return _open_plugin(url) if opener is None else opener(url, clock)


def _open_plugin(url: StoreUrl) -> Store:
    from vcache.kit import plugin

    found = plugin.find(plugin.STORES, url.scheme)
    if found is None:
        raise ConfigError(
            f"store {url.text!r}: unknown scheme {url.scheme!r}{_hint(url.scheme, schemes())} "
            f"(known: {', '.join(schemes())}; a path with a colon is written 'disk:{url.text}')"
        )
    if not callable(found):
        raise ConfigError(f"store {url.text!r}: the plug-in {url.scheme!r} is {found!r:.80}, not a callable")
    store = found(url)
    if not satisfies(store, Store):
        raise ConfigError(
            f"store {url.text!r}: the plug-in {url.scheme!r} opened {store!r:.80}, which lacks operations of "
            "vcache.store.base.Store"
        )
    return store


def _open_memory(url: StoreUrl, clock: Clock) -> Store:
    from vcache.store.memory import DEFAULT_BYTES, MemoryStore

    options = Options(url)
    max_entries = options.take("max_entries", int)
    options.finish()
    try:
        max_bytes = size_bytes(url.path) if url.path else DEFAULT_BYTES
        return MemoryStore(max_bytes, max_entries=max_entries, clock=clock)
    except UsageError as error:
        raise ConfigError(f"store {url.text!r}: {error}") from error


def _open_disk(url: StoreUrl, clock: Clock) -> Store:
    from vcache.store.disk import DiskStore

    options = Options(url)
    max_bytes = options.take("max", size_bytes)
    max_age_s = options.take("max_age", seconds)
    max_entries = options.take("max_entries", int)
    read_only = options.take("read_only", flag) or False
    options.finish()
    if not url.path:
        raise ConfigError(f"store {url.text!r} names no directory: write disk:PATH")
    return DiskStore(
        os.path.expanduser(url.path),
        max_bytes=max_bytes,
        max_entries=max_entries,
        max_age_s=max_age_s,
        read_only=read_only,
        clock=clock,
    )


def _open_network(module: str, url: StoreUrl, clock: Clock) -> Store:
    """A store of another machine behind its guard.

    Each module of a network store has `open_url(url, options) -> Store`, which takes its own options.
    """
    from importlib import import_module

    from vcache.store.guard import guarded

    options = Options(url)
    return guarded(
        url, options, partial(import_module(f"vcache.store.{module}").open_url, url, options), clock
    )


def _hint(word: str, choices: Iterable[str]) -> str:
    """The nearest names in words, or nothing."""
    found = nearest(word, choices)
    return f": did you mean {' or '.join(map(repr, found))}?" if found else ""


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # 3 ms of imports for an address that hardly ever needs it

    return unquote(text)


_OPENERS: Final[Mapping[str, Callable[[StoreUrl, Clock], Store]]] = {
    "disk": _open_disk,
    "mem": _open_memory,
    # Each of these is another machine's word: guarded, and sealed where its address says so.
    "http": partial(_open_network, "http"),
    "https": partial(_open_network, "http"),
    "reapi": partial(_open_network, "reapi"),
    "reapis": partial(_open_network, "reapi"),
    "redis": partial(_open_network, "redis"),
    "rediss": partial(_open_network, "redis"),
    "redis+unix": partial(_open_network, "redis"),
    "s3": partial(_open_network, "s3"),
}
