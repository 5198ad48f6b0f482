"""What an `fs+…://` address says: which file system, with which arguments, below which path."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from vcache.errors import ConfigError
from vcache.kit.data import NamedTuple
from vcache.store.address import Options, StoreUrl, flag, variable
from vcache.store.fs.ssh import believed

__all__ = ["Mount", "mount_of"]

_FROM_ENVIRONMENT: Final = "_env"
# Addresses are shown in messages and logs.
_SECRETS: Final = frozenset(
    "access_token account_key api_key client_secret connection_string credential key passphrase password "
    "refresh_token sas_token secret".split()
)
# What gcsfs and others take for a token without it being one.
_NO_TOKENS: Final = re.compile(r"anon|browser|cache|cloud|google_default|[~/].*")
_WORDS: Final[Mapping[str, bool]] = {"true": True, "false": False}


class Mount(NamedTuple):
    """A place of a file system.

    Attributes:
        protocol: the name that fsspec has for the kind of file system.
        arguments: of its constructor. They may be secret.
        root: the path of the directory, in the form that the file system itself uses.
        text: the address, for messages and to open it again.
    """

    protocol: str
    arguments: Mapping[str, Any]
    root: str
    text: str


def mount_of(url: StoreUrl, options: Options) -> tuple[Mount, type[Any]]:
    """The place that an address names, and the class of its file system. Takes all options that are left.

    Raises:
        ConfigError: an unknown file system, one that is not installed, a secret in the address, or no path.
    """
    if "@" in url.path and re.match(r"//[^/@]*:[^/]*@", url.path):
        hidden = re.sub(r"//[^/]*@", "//…@", url.text)
        raise ConfigError(
            f"store {hidden!r}: a password does not belong into an address: write ?password_env=VARIABLE"
        )
    protocol = url.scheme.removeprefix("fs+")
    found = _class_of(url, protocol)
    address = f"{protocol}:{url.path}"
    are_unknown_believed = options.take("unknown_hosts", flag) or False
    arguments = {
        **found._get_kwargs_from_urls(address),
        **believed(found, are_unknown_believed=are_unknown_believed),
    }
    for name, text in options.rest().items():
        arguments.update(_argument(url, name, text))
    root = str(found._strip_protocol(address)).rstrip("/")
    if not root and protocol != "memory":
        raise ConfigError(f"store {url.text!r} names no directory: write {url.scheme}://…/PATH")
    return Mount(protocol, arguments, root, url.text), found


def _class_of(url: StoreUrl, protocol: str) -> type[Any]:
    try:
        import fsspec
    except ImportError:
        raise ConfigError(f"store {url.text!r} needs the package fsspec: pip install 'vcache[fs]'") from None
    try:
        found: type[Any] = fsspec.get_filesystem_class(protocol)
    except ImportError as error:  # fsspec says which package to install
        raise ConfigError(f"store {url.text!r}: {error}") from error
    except ValueError:
        from vcache.kit.names import nearest

        near = nearest(protocol, fsspec.available_protocols())
        hint = f": did you mean fs+{near[0]}?" if near else ""
        raise ConfigError(f"store {url.text!r}: fsspec knows no file system {protocol!r}{hint}") from None
    return found


def _argument(url: StoreUrl, name: str, text: str) -> dict[str, Any]:
    if name.endswith(_FROM_ENVIRONMENT):
        return {name.removesuffix(_FROM_ENVIRONMENT): _of_environment(url, name, text)}
    if name in _SECRETS or (name == "token" and not _NO_TOKENS.fullmatch(text)):
        # By its name: the address has it percent-encoded, or spelt as nobody can foresee.
        hidden = re.sub(rf"([?&]{re.escape(name)}=)[^&]*", r"\1…", url.text)
        raise ConfigError(
            f"store {hidden!r}: a secret does not belong into an address: write {name}_env=VARIABLE"
        )
    if re.fullmatch(r"-?[0-9]+", text):
        return {name: int(text)}
    return {name: _WORDS.get(text.lower(), text)}


def _of_environment(url: StoreUrl, name: str, variable_name: str) -> Any:
    """The value of a variable: as it is, or what its JSON says if it is an object or a list."""
    where = f"store {url.text.partition('?')[0]!r}"
    text = variable(where, name, variable_name, os.environ)
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{where}: option {name}: {variable_name} is not JSON: {error}") from None
