"""The store at an address of Redis, with its options."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError, UsageError
from vcache.kit.units import seconds
from vcache.store.redis.address import address_of
from vcache.store.redis.store import RedisStore, info_of

if TYPE_CHECKING:
    import ssl

    from vcache.store.address import Options, StoreUrl
    from vcache.store.base import Store, StoreInfo
    from vcache.store.redis.wire import Client

__all__ = ["open_url", "prepare", "server_of"]

_OWN: Final = ("db", "password_env", "prefix", "ttl", "ca")


def open_url(url: StoreUrl, options: Options) -> Store:
    """The store at an address of Redis. Nothing is sent before the first operation.

    Options: `prefix` (keeps caches in one database apart), `ttl` (after which the server forgets a
    record), `password_env` (the variable with the password), `ca` (a PEM file, for `rediss:`), `db`.

    Raises:
        ConfigError: the address or an option makes no sense, or the extra is not installed.
    """
    _, make = prepare(url, options)
    return make()


def prepare(url: StoreUrl, options: Options) -> tuple[StoreInfo, Callable[[], RedisStore]]:
    """What the store at an address will say of itself, and what makes it: redis-py takes 100 ms to load.

    Options and errors are those of `open_url`.
    """
    ttl_s = options.take("ttl", _ttl_s)
    shown, prefix, client = server_of(url, options)
    return info_of(shown), lambda: RedisStore(client(), prefix=prefix, ttl_s=ttl_s, url=shown)


def server_of(url: StoreUrl, options: Options) -> tuple[str, str, Callable[[], Client]]:
    """The server at an address: how it is shown, the prefix of its keys, and what makes who talks to it.

    Takes the options `prefix`, `password_env`, `ca` and `db`, and bears no others than were taken before.
    Errors are those of `open_url`.
    """
    address = address_of(url, options, os.environ)
    prefix = options.take("prefix", _prefix) or ""
    ca = options.take("ca", str)
    options.finish()
    if ca is not None and not address.is_tls:
        raise ConfigError(f"store {address.shown!r}: option ca is for rediss: only")
    if find_spec("redis") is None:
        raise ConfigError(f"store {address.shown!r} needs the extra: python -m pip install 'vcache[redis]'")
    try:
        context = _tls_context(None if ca is None else os.path.expanduser(ca)) if address.is_tls else None
    except OSError as error:
        raise ConfigError(f"store {address.shown!r}: option ca={ca!r}: {error.strerror or error}") from None
    own = "&".join(f"{name}={url.options[name]}" for name in _OWN if name in url.options)

    def make() -> Client:
        from vcache.store.redis.wire import Client

        return Client(address, context)

    return f"{address.shown}?{own}" if own else address.shown, prefix, make


def _tls_context(ca: str | None) -> ssl.SSLContext:
    """Verifies the server's name and certificate.

    Args:
        ca: a file of certificates to trust, instead of the system's.
    """
    import ssl  # 10 ms, for who speaks TLS

    return ssl.create_default_context(cafile=ca)


def _prefix(text: str) -> str:
    # With a colon, one cache's prefix could be another one's and the beginning of its keys.
    if not text.isprintable() or ":" in text or " " in text:
        raise UsageError("write a word without colons and spaces")
    return text


def _ttl_s(text: str) -> float:
    ttl_s = seconds(text)
    if ttl_s < 0.001:
        raise UsageError("keeps nothing: write a millisecond or more")
    return ttl_s
