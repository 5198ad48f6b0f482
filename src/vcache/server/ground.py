"""What a server asks of its process and of the system: sockets, certificates, memory, a log."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError
from vcache.server.settings import Address, ServeSettings

if TYPE_CHECKING:
    import ssl

__all__ = ["BACKLOG", "allow_connections", "keep_memory", "listener", "require_extra", "speak_up", "tls"]

BACKLOG: Final = 2048
_FILES: Final = 1024
# mallopt(3): M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_MALLOC: Final = ((-1, 128 << 20), (-2, 4 << 20), (-3, 32 << 20), (-8, 2))


def require_extra() -> None:
    """See that the libraries of a server are there.

    Raises:
        ConfigError: one is not; the message names the extra.
    """
    for module in ("httptools", "uvicorn", "uvloop", "starlette", "prometheus_client"):
        try:
            __import__(module)
        except ImportError:
            raise ConfigError(f"a server needs {module}: python -m pip install 'vcache[serve]'") from None


def keep_memory() -> None:
    """Have the C library keep what was freed, within bounds.

    It gives each large buffer back at once, and the kernel clears the pages of the next one: that is
    more than a third of the time of a PUT of 1 MB.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library: it does as it likes
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOC:
            mallopt(parameter, value)


def allow_connections(count: int) -> None:
    """Have room for so many descriptors, and some for files, as far as the system lets us."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def speak_up(settings: ServeSettings) -> None:
    """Have what is logged read like the command's own words, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("vcache: %(levelname)s: %(message)s"))
    for name, level in (("vcache", settings.log_level.upper()), ("uvicorn", "ERROR")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def listener(address: Address) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((address.host, address.port))
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise OSError(error.errno, f"cannot listen at {address}: {error.strerror}") from error
    found.setblocking(False)
    return found


def tls(settings: ServeSettings) -> ssl.SSLContext | None:
    """What connections are wrapped in; None for nothing.

    Raises:
        ConfigError: the certificate or its key cannot be loaded.
    """
    if settings.tls_cert is None:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.tls_cert), str(settings.tls_key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls_cert {settings.tls_cert}, tls_key {settings.tls_key}: cannot be loaded: {error}"
        ) from error
    return context
