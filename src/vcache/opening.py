"""What a cache stands on: tiers by address, or what the settings say.

It knows addresses and settings, and nothing of values, keys or steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, cast

from vcache.errors import ConfigError, UsageError
from vcache.kit.data import dataclass
from vcache.kit.units import yes_or_no
from vcache.store.base import Store, satisfies

if TYPE_CHECKING:
    from vcache.config import Settings
    from vcache.serialize import Compression

__all__ = ["Ground", "Place", "ground", "remotes_of", "tried"]

Place = str | os.PathLike[str] | Store

# What `Cache("DIR")` stands for, spelled out: mem:64MB over disk:DIR?max=20GB.
_MEMORY: Final = "mem:64MB"
_DISK_MAX: Final = "20GB"
_NOTHING: Final = "mem:1MB"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a cache is opened with, each thing from its caller, else from the settings."""

    store: Store
    namespace: str
    compress: Compression
    is_disabled: bool


def ground(
    where: tuple[Place, ...],
    *,
    namespace: str | None,
    compress: Compression | Literal["none"] | None,
    disabled: bool | None,
    clock: Callable[[], int],
) -> Ground:
    """The tiers of a cache, opened.

    Settings are read only where no place is given: who names one has decided.

    Raises:
        UsageError: a place that is none.
        ConfigError: an address or a setting that means nothing.
        StoreError: a tier that cannot be opened; those opened before are closed again.
    """
    for place in where:
        if not (satisfies(place, Store) or isinstance(place, str | os.PathLike)):
            raise UsageError(
                f"{place!r:.80} is no place for a cache: give a directory, an address such as "
                '"mem:64MB" or "disk:DIR?max=20GB", or a Store'
            )
    if where or disabled:
        if disabled is None:
            disabled = yes_or_no(os.environ.get("VCACHE_DISABLE", "")) is True
        store = _at(_NOTHING, clock) if disabled else _tiered(_spelled_out(where), clock)
        return Ground(store, namespace or "", _packing(compress or "auto"), disabled)
    from vcache import config  # 15 ms with what it reads: not for who names a place

    settings = config.load()
    is_disabled = settings.is_disabled if disabled is None else disabled
    store = _at(_NOTHING, clock) if is_disabled else _tiered(_configured(settings), clock)
    return Ground(
        store,
        settings.namespace if namespace is None else namespace,
        _packing(compress or settings.compress),
        is_disabled,
    )


def _packing(compress: str) -> Compression:
    return "never" if compress == "none" else cast("Compression", compress)


def remotes_of(settings: Settings) -> list[Place]:
    """The addresses of the tiers on other machines that this one is to use, nearest first."""
    return [url for url in map(partial(tried, settings), settings.remotes.values()) if url is not None]


def _configured(settings: Settings) -> list[Place]:
    return [*_near(settings), *remotes_of(settings)]


def _near(settings: Settings) -> list[Place]:
    if settings.tiers:
        tiers: list[Place] = [
            tier for tier in map(partial(tried, settings), settings.tiers) if tier is not None
        ]
        if not tiers:
            raise ConfigError(
                f"all tiers of {settings.tiers} are behind flags that are off here: add one without"
            )
        return tiers
    options = {
        "max": settings.max_bytes,
        "max_age": settings.max_age_s,
        "max_entries": settings.max_entries,
        "read_only": 1 if settings.is_read_only else None,
    }
    disk = _address(os.fspath(settings.dir), {name: str(v) for name, v in options.items() if v is not None})
    return [f"mem:{settings.memory_bytes}", disk] if settings.memory_bytes else [disk]


def tried(settings: Settings, address: str) -> str | None:
    """A tier's address; None where its option `flag` names one that is off on this machine."""
    from vcache.store.address import parse_url

    url = parse_url(address)
    if "flag" not in url.options:
        return address
    options = {name: value for name, value in url.options.items() if name != "flag"}
    if not settings.flags.is_on(url.options["flag"]):
        return None
    return f"{url.scheme}:{_address(url.path, options).removeprefix('disk:')}"


def _spelled_out(where: tuple[Place, ...]) -> list[Place]:
    """The tiers that are meant: a plain path alone stands for memory over disk."""
    place = where[0]
    if len(where) > 1 or (satisfies(place, Store) and not isinstance(place, os.PathLike)):
        return list(where)
    path = os.fspath(cast("str | os.PathLike[str]", place))
    if isinstance(place, str):
        if ":" in path and path.partition(":")[0].isidentifier():
            return [path]
        from vcache.store.address import parse_url

        url = parse_url(path)
        return [_MEMORY, _address(url.path, {"max": _DISK_MAX, **url.options})]
    return [_MEMORY, _address(path, {"max": _DISK_MAX})]


def _address(path: str, options: Mapping[str, str]) -> str:
    """The address of a disk tier at a path, whatever characters it has."""
    query = "&".join(f"{name}={_quoted(value)}" for name, value in options.items())
    return f"disk:{_quoted(path)}?{query}" if query else f"disk:{_quoted(path)}"


def _quoted(text: str) -> str:
    """Without what an address would take for its own: `urllib.parse.quote` costs 3 ms of imports."""
    if not any(char in "%?&" or char.isspace() for char in text):
        return text
    return "".join(
        "".join(f"%{byte:02X}" for byte in os.fsencode(char)) if char in "%?&" or char.isspace() else char
        for char in text
    )


def _tiered(places: Iterable[Place], clock: Callable[[], int]) -> Store:
    tiers: list[Store] = []
    try:
        for place in places:
            is_store = satisfies(place, Store)
            tiers.append(place if is_store else _at(os.fspath(place), clock))  # type: ignore[arg-type]
        if len(tiers) == 1:
            return tiers[0]
        from vcache.store.tiered import TieredStore

        return TieredStore(tiers)
    except BaseException:
        for tier in tiers:
            tier.close()
        raise


def _at(address: str, clock: Callable[[], int]) -> Store:
    """The store at an address. Who gives stores has no use for addresses: 1 ms."""
    from vcache.store.url import open_store

    return open_store(address, clock=clock)
