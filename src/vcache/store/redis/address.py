"""Where a Redis server is and who asks it: the parts of `redis://…`, `rediss://…` and `redis+unix://…`. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError
from vcache.kit.data import NamedTuple
from vcache.store.address import variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcache.store.address import Options, StoreUrl

__all__ = ["Address", "address_of"]

_PORT: Final = 6379
_FORMS: Final = "write redis://[[user]:password@]host[:port][/db] or redis+unix:///path[?db=0]"


class Address(NamedTuple):
    """A server's place, and as whom to ask it.

    Attributes:
        host, port: of a server on the network; the host is empty for a unix socket.
        path: of a unix socket.
        shown: the address without its password, for messages and reports.
    """

    host: str
    port: int
    path: str
    db: int
    user: str | None
    password: str | None
    is_tls: bool
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.shown})"  # never the password


def address_of(url: StoreUrl, options: Options, environment: Mapping[str, str]) -> Address:
    """The server of an address. Takes the options `db` and `password_env`.

    Raises:
        ConfigError: it names no server, port or database, or a variable that is not set.
    """
    # Of what was decoded: a password may hold an @, a place behind it none.
    user_part, _, place = url.path.removeprefix("//").rpartition("@")
    shown = f"{url.scheme}://{place}"
    if not url.path.startswith("//"):
        raise ConfigError(f"store {url.scheme + ':'!r}: {_FORMS}")
    user, colon, password = user_part.partition(":")
    if url.scheme == "redis+unix":
        host, port, path, db = "", 0, place, None
        if not path.startswith("/"):
            raise ConfigError(f"store {shown!r}: names no socket: {_FORMS}")
    else:
        host, port, db_text = _split(place, shown)
        path, db = "", _db(db_text, shown) if db_text else None
    option = options.take("db", str)
    if option is not None:
        db = _db(option, shown)
    name = options.take("password_env", str)
    if name is not None:
        password, colon = variable(f"store {shown!r}", "password_env", name, environment), ":"
    who = f"{user}@" if user else ""
    return Address(
        host, port, path, db or 0, user or None, password if colon else None, url.scheme == "rediss",
        f"{url.scheme}://{who}{place}",
    )  # fmt: skip


def _split(place: str, shown: str) -> tuple[str, int, str]:
    """Host, port and what follows the slash."""
    server, _, db = place.partition("/")
    host, colon, port = server.rpartition(":") if not server.endswith("]") else (server, "", "")
    if not colon:
        host, port = server, ""
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ConfigError(f"store {shown!r}: names no host: {_FORMS}")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"store {shown!r}: {port!r} is no port: {_FORMS}")
    return host, int(port) if port else _PORT, db.strip("/")


def _db(text: str, shown: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(f"store {shown!r}: {text!r} is no number of a database: {_FORMS}")
    return int(text)
