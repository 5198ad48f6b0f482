"""A guard by the options of a tier's address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vcache.config import state_dir
from vcache.kit.clock import Clock
from vcache.store.base import Store
from vcache.store.guard.guard import GuardedStore
from vcache.store.guard.limits import folder_name, read_limits, spool_name

if TYPE_CHECKING:
    from vcache.store.address import Options, StoreUrl

__all__ = ["guarded"]

_SEALING: Final = ("sign", "trust", "encrypt", "producer", "encrypt_old", "cipher")
"""Options of `vcache.store.sealed`, which is loaded for them only."""


def guarded(url: StoreUrl, options: Options, open_inner: Callable[[], Store], clock: Clock) -> Store:
    """A network store behind its guard, sealed where the address says so.

    Args:
        options: this takes its own and those of sealing, and leaves the rest to `open_inner`.
        open_inner: connects to nothing, so that a remote that is down does not hold up an opening.

    Raises:
        ConfigError: an option that does not fit, an address that is none, or an extra that is missing.
    """
    limits, state = read_limits(options)
    seal = None
    if any(name in url.options for name in _SEALING):
        from vcache.store.sealed import sealing

        seal = sealing(url, options)
    inner = open_inner()
    if seal is not None:
        inner = seal(inner)
    directory = f"{state or state_dir() / 'remotes'}/{folder_name(url)}"
    return GuardedStore(inner, limits, directory, spool=spool_name(url), clock=clock)
