"""Where to listen, as a URL says it. Pure.

    syslog+udp://HOST:PORT          one message a datagram, RFC 3164 or 5424
    syslog+tcp://HOST:PORT          octet-counted or a line each
    syslog+tls://HOST:PORT?cert=FILE&key=FILE[&ca=FILE]     the same; `ca` asks clients for certificates
    unix:///PATH                    a stream of lines
    unixgram:///PATH                datagrams, as /dev/log has them

Options of all: `format` (auto, syslog, json, logfmt, lines, journal) and `source`, for records that name
none; of unix sockets also `mode` (600); of `unix` also `acks=1`: after each batch that was kept, how many records of the
connection are kept by then is written back, in decimal, on a line.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from vcache.errors import ConfigError
from vcache.kit.data import dataclass
from vcache.kit.names import did_you_mean

__all__ = ["ListenAddress", "parse_address"]

_FORMATS: Final = ("auto", "syslog", "json", "logfmt", "lines", "journal")
_NETWORK: Final = ("syslog+udp", "syslog+tcp", "syslog+tls")
_LOCAL: Final = ("unix", "unixgram")
_LONGEST_PATH: Final = 107  # sockaddr_un has 108 bytes and ends with a zero
_OPTIONS: Final = {
    "syslog+udp": {"format", "source"},
    "syslog+tcp": {"format", "source"},
    "syslog+tls": {"format", "source", "cert", "key", "ca"},
    "unix": {"format", "source", "mode", "acks"},
    "unixgram": {"format", "source", "mode"},
}


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen, and for what.

    Attributes:
        spec: as it was given.
        scheme: one of those above.
        host, port: of a network's; port 0 for any that is free.
        path: of a unix socket.
        format: what comes; of `syslog+…` it is syslog unless it is said, of others found out.
        mode: its permissions.
        has_acks: what was kept is said to the sender.
        cert, key, ca: PEM files.
    """

    spec: str
    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    format: str = "auto"
    source: str = ""
    mode: int = 0o600
    has_acks: bool = False
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.scheme in _LOCAL or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name: whoever answers for it may say anything

    def check(self, *, is_exposed: bool) -> None:
        """Refuse what would be reachable by more people than was meant.

        Raises:
            ConfigError: beyond loopback, and nobody asked for that.
        """
        if not self.is_local and not is_exposed:
            raise ConfigError(
                f"{self.spec}: other machines can reach it, and whoever does can write records: listen at "
                "127.0.0.1, or allow it (--exposed; with syslog+tls, `ca` lets only known clients in)"
            )


def parse_address(spec: str) -> ListenAddress:
    """What a URL says.

    Raises:
        ConfigError: it is none, or an option of it means nothing.
    """
    try:
        parts = urlsplit(spec)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise ConfigError(f"{spec!r} is no address to listen at: {error}") from None
    allowed = _OPTIONS.get(parts.scheme)
    if allowed is None:
        raise ConfigError(
            f"{spec!r}: nobody listens at {parts.scheme or 'nothing'}://{did_you_mean(parts.scheme, _OPTIONS)}: "
            f"give one of {', '.join(_OPTIONS)}"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in allowed:
            raise ConfigError(f"{spec}: no option {name!r} here{did_you_mean(name, allowed)}")
    if parts.scheme in _NETWORK:
        place = _network_place(spec, host, port, parts.path)
    else:
        place = _local_place(spec, host, unquote(parts.path), options)
    address = ListenAddress(spec, parts.scheme, **place, **_shared(spec, parts.scheme, options))  # type: ignore[arg-type]
    if address.scheme == "syslog+tls" and (address.cert is None or address.key is None):
        raise ConfigError(f"{spec}: TLS needs a certificate and its key: add ?cert=FILE&key=FILE")
    return address


def _network_place(spec: str, host: str, port: int | None, path: str) -> dict[str, object]:
    if not host or port is None or path not in {"", "/"}:
        raise ConfigError(f"{spec}: give a host and a port, such as syslog+tcp://127.0.0.1:5514")
    return {"host": host, "port": port}


def _local_place(spec: str, host: str, path: str, options: dict[str, str]) -> dict[str, object]:
    if host or not path.startswith("/"):
        raise ConfigError(f"{spec}: give the whole path, after three slashes, such as unix:///run/vcache/log")
    if len(path.encode()) > _LONGEST_PATH:
        raise ConfigError(f"{spec}: the path of a socket has {_LONGEST_PATH} bytes at most")
    try:
        mode = int(options.get("mode", "600"), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ConfigError(f"{spec}: mode={options['mode']!r}: give an octal number, such as 660")
    acks = options.get("acks", "0")
    if acks not in {"0", "1"}:
        raise ConfigError(f"{spec}: acks={acks!r}: give 0 or 1")
    return {"path": path, "mode": mode, "has_acks": acks == "1"}


def _shared(spec: str, scheme: str, options: dict[str, str]) -> dict[str, object]:
    chosen = options.get("format", "syslog" if scheme in _NETWORK else "auto")
    if chosen not in _FORMATS:
        raise ConfigError(
            f"{spec}: format={chosen!r}{did_you_mean(chosen, _FORMATS)}: one of {', '.join(_FORMATS)}"
        )
    files = {name: Path(options[name]) for name in ("cert", "key", "ca") if options.get(name)}
    return {"format": chosen, "source": options.get("source", ""), **files}
