"""Which hosts are believed over SSH: those of the user's known_hosts, unless the address says else.

Both libraries that fsspec may take for SFTP believe any host, and would tell it the password.
"""

from __future__ import annotations

import os
from typing import Any, Final

from vcache.errors import ConfigError

__all__ = ["believed"]

_KNOWN_HOSTS: Final = "~/.ssh/known_hosts"


def believed(kind: type[Any], *, are_unknown_believed: bool) -> dict[str, Any]:
    """The arguments that make a file system over SSH refuse a host that is not known.

    Args:
        kind: the class of a file system; for one without SSH there are none.

    Raises:
        ConfigError: a release of fsspec that cannot be told.
    """
    if are_unknown_believed:
        return {}
    if kind.__module__.partition(".")[0] == "sshfs":
        return {"known_hosts": ()}  # asyncssh's word for the user's own file
    if kind.__module__ != "fsspec.implementations.sftp":
        return {}
    if "host_key_policy" not in (kind.__init__.__doc__ or ""):
        raise ConfigError(
            "this release of fsspec believes any host over SSH: install a newer one, or sshfs, or write "
            "?unknown_hosts=1"
        )
    return {"host_key_policy": _policy()}


def _policy() -> Any:
    import paramiko  # only where fsspec itself uses it

    class Known(paramiko.MissingHostKeyPolicy):  # type: ignore[misc, unused-ignore]
        """Asked about each host, as paramiko is given no list of its own."""

        def missing_host_key(self, client: object, hostname: str, key: Any) -> None:
            known = paramiko.HostKeys()
            path = os.path.expanduser(_KNOWN_HOSTS)
            if os.path.exists(path):
                known.load(path)
            if not known.check(hostname, key):
                raise paramiko.BadHostKeyException(hostname, key, key)

    return Known()
