"""The address of an HTTP tier, read: `https://[user:password@]host[:port]/base?option=value&…`.

It must not know what the store does.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from vcache.errors import ConfigError, UsageError
from vcache.kit.units import size_bytes
from vcache.store.address import Options, StoreUrl
from vcache.store.base import Store
from vcache.store.http.client import HttpClient
from vcache.store.http.site import Site
from vcache.store.objects import MAX_HEAD_BYTES, PREFIX_BYTES

__all__ = ["open_url"]

_TOKEN: Final = "VCACHE_TOKEN"  # noqa: S105 - the name of a variable
_LIMIT_BYTES: Final = 1 << 30
_TIMEOUT_S: Final = 900.0  # where no guard sets a deadline; no transfer of the guard's takes longer
_LAYOUTS: Final = ("auto", "bazel")
_BEARER: Final = re.compile(r"[!-~]+")


def open_url(url: StoreUrl, options: Options) -> Store:
    """The store at an address of HTTP. Nothing is sent before the first operation.

    Options: `token` (the variable with a bearer token, else VCACHE_TOKEN if it is set), `user` and
    `password_env` (the variable with the password), `ca`, `cert` and `key` (PEM files), `proxy`,
    `layout` (`auto`, or `bazel` for Bazel's HTTP cache), `limit`.

    Raises:
        ConfigError: the address or an option makes no sense, or the extra is not installed.
    """
    base, path = _place(url)
    headers, remedy = _credentials(url, options, os.environ)
    layout = options.take("layout", _layout) or "auto"
    limit_bytes = options.take("limit", size_bytes) or _LIMIT_BYTES
    try:
        client = HttpClient(
            base,
            headers=headers,
            timeout_s=_TIMEOUT_S,
            limit_bytes=limit_bytes + MAX_HEAD_BYTES + PREFIX_BYTES,
            ca=options.take("ca", str),
            cert=options.take("cert", str),
            key=options.take("key", str),
            proxy=options.take("proxy", str),
        )
    except UsageError as error:
        raise ConfigError(f"store {base + path!r}: {error}") from error
    options.finish()
    if layout == "bazel":
        from vcache.store.http.bazel import BazelStore

        return BazelStore(Site(client, path + "/", remedy=remedy), url=f"{base}{path}?layout=bazel")
    from vcache.store.http.store import HttpStore

    return HttpStore(Site(client, path + "/vcache/", remedy=remedy), url=base + path)


def _place(url: StoreUrl) -> tuple[str, str]:
    """The server and the path below it, percent-encoded, without a slash at its end."""
    try:
        parts = urlsplit(url.text.partition("?")[0])
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"the address of a store is not one of HTTP: {error}") from None
    scheme = parts.scheme.lower()
    if not host or scheme not in {"http", "https"} or parts.fragment:
        shown = f"{scheme}://{(parts.netloc.rpartition('@')[2])}{parts.path}"
        raise ConfigError(f"store {shown!r:.200}: write http(s)://host[:port]/path?options")
    host = f"[{host}]" if ":" in host else host
    base = f"{scheme}://{host}" + (f":{port}" if port is not None else "")
    return base, quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=-._~")


def _credentials(
    url: StoreUrl, options: Options, environ: Mapping[str, str]
) -> tuple[list[tuple[str, str]], str]:
    """The headers that say who asks, and what to do where that is not enough."""
    token_name = options.take("token", str)
    user = options.take("user", str)
    password_name = options.take("password_env", str)
    userinfo, at, _ = urlsplit(url.text.partition("?")[0]).netloc.rpartition("@")
    if sum((token_name is not None, user is not None or password_name is not None, bool(at))) > 1:
        raise ConfigError(
            f"a store of {_host(url)} has several ways to say who asks: keep one of user:password@, "
            "token=VARIABLE, and user=NAME with password_env=VARIABLE"
        )
    if at:
        name, _, password = userinfo.partition(":")
        return [
            _basic(unquote(name), unquote(password))
        ], "user and password of the store's address are refused"
    if user is not None or password_name is not None:
        if user is None or password_name is None:
            raise ConfigError(f"a store of {_host(url)}: user=NAME and password_env=VARIABLE go together")
        password = _variable(url, "password_env", password_name, environ)
        return [_basic(user, password)], f"the user {user!r} with the password in {password_name} is refused"
    if token_name is not None:
        token = _variable(url, "token", token_name, environ)
    else:
        token_name, token = _TOKEN, environ.get(_TOKEN, "")
        if not token:
            return (
                [],
                f"set {_TOKEN} to a token of the server, or add token=VARIABLE or user=… to the address",
            )
    if not _BEARER.fullmatch(token):
        raise ConfigError(
            f"the variable {token_name} holds characters that no token has: {len(token)} characters"
        )
    return [("Authorization", f"Bearer {token}")], f"the token in {token_name} is refused"


def _basic(user: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _variable(url: StoreUrl, option: str, name: str, environ: Mapping[str, str]) -> str:
    found = environ.get(name)
    if not found:
        raise ConfigError(
            f"a store of {_host(url)}: option {option} names a variable that is not set: "
            "give the name of a variable, not the secret itself"
        )
    return found


def _host(url: StoreUrl) -> str:
    return repr(urlsplit(url.text.partition("?")[0]).netloc.rpartition("@")[2])


def _layout(text: str) -> str:
    if text not in _LAYOUTS:
        raise UsageError(f"known are {' and '.join(_LAYOUTS)}")
    return text
