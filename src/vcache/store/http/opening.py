"""The address of an HTTP tier, read: `https://[user:password@]host[:port]/base?option=value&…`.

It must not know what the store does.
"""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import quote, urlsplit

from vcache.errors import ConfigError, UsageError
from vcache.kit.units import size_bytes
from vcache.store.address import Options, StoreUrl
from vcache.store.base import Store
from vcache.store.credentials import credentials_of
from vcache.store.http.client import HttpClient
from vcache.store.http.site import Site
from vcache.store.objects import MAX_HEAD_BYTES, PREFIX_BYTES

__all__ = ["open_url", "server_of"]

_LIMIT_BYTES: Final = 1 << 30
_TIMEOUT_S: Final = 900.0  # where no guard sets a deadline; no transfer of the guard's takes longer
_LAYOUTS: Final = ("auto", "bazel")


def open_url(url: StoreUrl, options: Options) -> Store:
    """The store at an address of HTTP. Nothing is sent before the first operation.

    Options: `token` (the variable with a bearer token, else VCACHE_TOKEN if it is set), `user` and
    `password_env` (the variable with the password), `ca`, `cert` and `key` (PEM files), `proxy`,
    `layout` (`auto`, or `bazel` for Bazel's HTTP cache), `limit`.

    Raises:
        ConfigError: the address or an option makes no sense, or the extra is not installed.
    """
    layout = options.take("layout", _layout) or "auto"
    limit_bytes = options.take("limit", size_bytes) or _LIMIT_BYTES
    client, path, remedy = server_of(
        url,
        options,
        what="store",
        timeout_s=_TIMEOUT_S,
        limit_bytes=limit_bytes + MAX_HEAD_BYTES + PREFIX_BYTES,
    )
    base = client.base
    if layout == "bazel":
        from vcache.store.http.bazel import BazelStore

        return BazelStore(Site(client, path + "/", remedy=remedy), url=f"{base}{path}?layout=bazel")
    from vcache.store.http.store import HttpStore

    return HttpStore(Site(client, path + "/vcache/", remedy=remedy), url=base + path)


def server_of(
    url: StoreUrl, options: Options, *, what: str, timeout_s: float, limit_bytes: int
) -> tuple[HttpClient, str, str]:
    """A client of the server at an address, the path below it, and what to do where it wants to know who asks.

    Takes who asks, `ca`, `cert`, `key` and `proxy`, the last of the options.

    Args:
        what: stands at the address, for who reads an error.
        timeout_s: the longest that a call may take.
        limit_bytes: the longest answer.

    Raises:
        ConfigError: the address or an option makes no sense, or the extra is not installed.
    """
    base, path = _place_of(url)
    authorization, remedy = credentials_of(url, options, os.environ)
    try:
        client = HttpClient(
            base,
            headers=[("Authorization", authorization)] if authorization else [],
            timeout_s=timeout_s,
            limit_bytes=limit_bytes,
            ca=options.take("ca", str),
            cert=options.take("cert", str),
            key=options.take("key", str),
            proxy=options.take("proxy", str),
        )
    except UsageError as error:
        raise ConfigError(f"{what} {base + path!r}: {error}") from error
    options.finish()
    return client, path, remedy


def _place_of(url: StoreUrl) -> tuple[str, str]:
    """The server and the path below it, percent-encoded, without a slash at its end."""
    try:
        parts = urlsplit(url.text.partition("?")[0])
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"the address is not one of HTTP: {error}") from None
    scheme = parts.scheme.lower()
    if not host or scheme not in {"http", "https"} or parts.fragment:
        shown = f"{scheme}://{(parts.netloc.rpartition('@')[2])}{parts.path}"
        raise ConfigError(f"{shown!r:.200}: write http(s)://host[:port]/path?options")
    host = f"[{host}]" if ":" in host else host
    base = f"{scheme}://{host}" + (f":{port}" if port is not None else "")
    return base, quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=-._~")


def _layout(text: str) -> str:
    if text not in _LAYOUTS:
        raise UsageError(f"known are {' and '.join(_LAYOUTS)}")
    return text
