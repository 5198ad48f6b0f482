"""The address of a REAPI tier, read: `reapi[s]://[user:password@]host[:port]/instance?option=value&…`.

It must not know what the store does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from vcache.errors import ConfigError
from vcache.store.address import Options, StoreUrl
from vcache.store.credentials import credentials_of
from vcache.store.reapi.telling import info_of

if TYPE_CHECKING:
    from vcache.store.base import Store, StoreInfo
    from vcache.store.reapi.store import ReapiStore

__all__ = ["open_url", "prepare"]

_PORTS: Final = {"reapi": 9092, "reapis": 443}
_DIGESTS: Final = ("sha256", "blake3")
_SEGMENTS: Final = frozenset(
    {"blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"}
)


def open_url(url: StoreUrl, options: Options) -> Store:
    """The store at an address of REAPI. Nothing is sent before the first operation.

    Options: `token` (the variable with a bearer token, else VCACHE_TOKEN if it is set), `user` and
    `password_env` (the variable with the password), `ca`, `cert` and `key` (PEM files, for `reapis`),
    `digest` (`sha256` or `blake3`).

    Raises:
        ConfigError: the address or an option makes no sense, or the extra is not installed.
    """
    _, make = prepare(url, options)
    return make()


def prepare(url: StoreUrl, options: Options) -> tuple[StoreInfo, Callable[[], ReapiStore]]:
    """What the store at an address will say of itself, and what makes it: gRPC takes 60 ms to load.

    Options and errors are those of `open_url`.
    """
    address, instance, shown = _place(url)
    authorization, remedy = credentials_of(url, options, os.environ)
    files = {name: options.take(name, _pem) for name in ("ca", "cert", "key")}
    digest = options.take("digest", _digest)
    options.finish()
    is_tls = url.scheme == "reapis"
    if not is_tls and any(files.values()):
        raise ConfigError(f"store {shown!r}: ca, cert and key are for TLS: write reapis://")
    if (files["cert"] is None) != (files["key"] is None):
        raise ConfigError(f"store {shown!r}: cert and key go together")
    if not all(map(_is_there, ("grpc", "google.protobuf"))):
        raise ConfigError(
            f"store {shown!r} needs the packages grpcio and protobuf: pip install 'vcache[reapi]'"
        )

    def make() -> ReapiStore:
        from vcache.store.reapi.client import Client, Target
        from vcache.store.reapi.store import ReapiStore

        target = Target(address, shown, is_tls=is_tls, authorization=authorization, remedy=remedy, **files)
        return ReapiStore(Client(target), url=shown, instance=instance, digest=digest)

    return info_of(shown), make


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # nor what it is in
        return False


def _place(url: StoreUrl) -> tuple[str, str, str]:
    """Host and port, instance, and the address without secrets and options."""
    parts = urlsplit(url.text.partition("?")[0])
    host = parts.hostname
    instance = unquote(parts.path.strip("/"))
    try:
        port = parts.port or _PORTS[url.scheme]
    except ValueError:
        host = None
        port = 0
    shown = f"{url.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    if not host or parts.fragment:
        raise ConfigError(f"store {shown!r:.200}: write reapi://host[:port]/instance, or reapis:// for TLS")
    if not instance.isprintable() or _SEGMENTS.intersection(instance.split("/")):
        raise ConfigError(f"store {shown!r:.200}: no instance may be called {instance!r:.100}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", instance, shown


def _pem(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ValueError(str(error)) from error


def _digest(text: str) -> str:
    if text not in _DIGESTS:
        raise ValueError(f"write one of {', '.join(_DIGESTS)}")
    return text
