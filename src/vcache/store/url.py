"""Stores by address: `mem:64MB`, `disk:target/.vcache?max=20GB&max_age=30d`, `https://host/base`, or a bare path.

The one place that picks a store; each is imported when its address is used. Other
distributions add schemes by entry points of the group `vcache.stores`: the name is the scheme,
the object a callable that takes a `StoreUrl` and returns a store.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from vcache.errors import ConfigError, StoreError, UsageError
from vcache.kit.clock import Clock, system_clock
from vcache.kit.units import seconds, size_bytes
from vcache.store.address import SCHEME, Options, StoreUrl, flag, hint, parse_url
from vcache.store.base import Store, satisfies

__all__ = ["is_network", "open_store", "schemes"]


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

    return tuple(sorted({*_OPENERS, "fs+…", *plugin.names(plugin.STORES)}))


def is_network(scheme: str) -> bool:
    """Whether the stores of a scheme of this package are other machines', and so behind a guard."""
    opener = _OPENERS.get(scheme)
    return scheme.startswith("fs+") or getattr(opener, "func", None) is _open_network


def _addresses(url: str | Path) -> list[str | Path]:
    """The addresses in a text. A space separates two only where each has a scheme: paths have spaces."""
    if isinstance(url, str):
        parts = url.split()
        if len(parts) > 1 and all(re.match(SCHEME, part) for part in parts):
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
            f"store {str(url)!r}: unknown scheme {url.scheme!r}{hint(url.scheme, schemes())} "
            f"(known: {', '.join(schemes())}; a path with a colon is written 'disk:{url}')"
        )
    if not callable(found):
        raise ConfigError(f"store {str(url)!r}: the plug-in {url.scheme!r} is {found!r:.80}, not a callable")
    store = found(url)
    if not satisfies(store, Store):
        raise ConfigError(
            f"store {str(url)!r}: the plug-in {url.scheme!r} opened {store!r:.80}, which lacks operations of "
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
        raise ConfigError(f"store {str(url)!r}: {error}") from error


def _open_disk(url: StoreUrl, clock: Clock) -> Store:
    from vcache.store.disk import DiskStore

    options = Options(url)
    max_bytes = options.take("max", size_bytes)
    max_age_s = options.take("max_age", seconds)
    max_entries = options.take("max_entries", int)
    read_only = options.take("read_only", flag) or False
    options.finish()
    if not url.path:
        raise ConfigError(f"store {str(url)!r} names no directory: write disk:PATH")
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

    Each module of a network store has `open_url(url, options) -> Store`, which takes its own options. One
    whose library takes long to load has `prepare`, too, which gives what `LateStore` is made of.
    """
    from importlib import import_module

    from vcache.store.guard import guarded

    found = import_module(f"vcache.store.{module}")
    options = Options(url)
    if not hasattr(found, "prepare"):
        return guarded(url, options, partial(found.open_url, url, options), clock)
    from vcache.store.guard.late import LateStore

    return guarded(url, options, lambda: LateStore(*found.prepare(url, options)), clock)


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
