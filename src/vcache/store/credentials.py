"""Who asks, by the address of a server that takes HTTP's `Authorization`: HTTP's own tier, and REAPI's over gRPC.

It must not know what is asked for. No message of it has a secret.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from vcache.errors import ConfigError
from vcache.kit.data import NamedTuple
from vcache.store.address import Options, StoreUrl, variable

__all__ = ["Credentials", "credentials_of", "server_of"]

_TOKEN: Final = "VCACHE_TOKEN"  # noqa: S105 - the name of a variable
_BEARER: Final = re.compile(r"[!-~]+")


class Credentials(NamedTuple):
    """What a server is told of who asks.

    Attributes:
        authorization: the value of the header; empty for nobody in particular.
        remedy: what to do where that is not enough, for messages.
    """

    authorization: str
    remedy: str

    def __repr__(self) -> str:
        return f"Credentials({self.remedy})"  # never the secret


def credentials_of(url: StoreUrl, options: Options, environment: Mapping[str, str]) -> Credentials:
    """Who asks, by an address and the environment.

    Takes the options `token` (the variable with a bearer token, else VCACHE_TOKEN if it is set), `user`
    and `password_env` (the variable with the password).

    Raises:
        ConfigError: several ways to say it, half of one, or a variable that is not set or holds no token.
    """
    token_name = options.take("token", str)
    user = options.take("user", str)
    password_name = options.take("password_env", str)
    userinfo, at, _ = _split(url)
    if sum((token_name is not None, user is not None or password_name is not None, bool(at))) > 1:
        raise ConfigError(
            f"a store of {server_of(url)!r} has several ways to say who asks: keep one of user:password@, "
            "token=VARIABLE, and user=NAME with password_env=VARIABLE"
        )
    if at:
        name, _, password = userinfo.partition(":")
        return Credentials(
            _basic(unquote(name), unquote(password)), "user and password of the store's address are refused"
        )
    if user is not None or password_name is not None:
        if user is None or password_name is None:
            raise ConfigError(
                f"a store of {server_of(url)!r}: user=NAME and password_env=VARIABLE go together"
            )
        password = variable(f"a store of {server_of(url)!r}", "password_env", password_name, environment)
        return Credentials(
            _basic(user, password), f"the user {user!r} with the password in {password_name} is refused"
        )
    return _bearer(url, token_name, environment)


def server_of(url: StoreUrl) -> str:
    """Host and port as an address has them, without the user: for messages."""
    return _split(url)[2]


def _split(url: StoreUrl) -> tuple[str, str, str]:
    """User and password, "@" if there are any, and the server."""
    return urlsplit(url.text.partition("?")[0]).netloc.rpartition("@")


def _bearer(url: StoreUrl, name: str | None, environment: Mapping[str, str]) -> Credentials:
    if name is not None:
        token = variable(f"a store of {server_of(url)!r}", "token", name, environment)
    else:
        name, token = _TOKEN, environment.get(_TOKEN, "")
        if not token:
            return Credentials(
                "", f"set {_TOKEN} to a token of the server, or add token=VARIABLE or user=… to the address"
            )
    if not _BEARER.fullmatch(token):
        raise ConfigError(f"the variable {name} holds characters that no token has: {len(token)} characters")
    return Credentials(f"Bearer {token}", f"the token in {name} is refused")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
