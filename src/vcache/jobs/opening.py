"""Queues by address: `redis://HOST:PORT/DB`, `sqlite:DIR`, `https://HOST` of a server, `mem:`, or a directory.

The one place that picks a queue; each is imported when its address is used.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from vcache.errors import ConfigError
from vcache.kit.names import did_you_mean
from vcache.kit.redact import without_secrets

if TYPE_CHECKING:
    from vcache.config import Settings
    from vcache.jobs.base import Queue

__all__ = ["default_address", "open_queue"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_REDIS: Final = ("redis", "rediss", "unix", "redis+unix")
_HTTP: Final = ("http", "https")
_KNOWN: Final = ("mem", "sqlite", *_REDIS, *_HTTP)
_EXTRAS: Final = {"apsw": "jobs", "hiredis": "redis", "redis": "redis"}
_NAMESPACE: Final = re.compile(r"[\w.-]{0,100}", re.ASCII)


def default_address(settings: Settings | None = None) -> str:
    """The address of the queue that is set, else of the one in the cache's directory.

    Raises:
        ConfigError: a setting that does not fit.
    """
    if settings is None:
        from vcache.config import load

        settings = load()
    return settings.queue_address


def open_queue(address: str | os.PathLike[str], *, namespace: str = "") -> Queue:
    """The queue at an address.

    Args:
        address: see the module. A directory that is not there is made.
        namespace: whose jobs: those of one never meet those of another.

    Raises:
        ConfigError: an unknown scheme or option, or a library that is not installed.
        StoreError: it cannot be opened.
    """
    if not _NAMESPACE.fullmatch(namespace) or namespace.strip(".") != namespace:
        raise ConfigError(
            f"not a namespace of jobs: {namespace!r:.120}; give up to 100 letters, digits, _, . and -, no dot at an end"
        )
    text = os.fspath(address)
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    rest = text[match.end() :] if match else text
    try:
        if scheme in _REDIS:
            from vcache.jobs.redis import RedisQueue

            return RedisQueue.at(text, namespace=namespace)
        if scheme in _HTTP:
            from vcache.jobs.remote.line import open_line
            from vcache.jobs.remote.queue import RemoteQueue

            return RemoteQueue(open_line(text), namespace=namespace)
        if scheme == "mem":
            return _memory(text, rest, namespace)
        if scheme in ("", "sqlite"):
            return _sqlite(text, unquote(rest) if scheme else rest, rest if scheme else "", namespace)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ConfigError(
            f"queue {without_secrets(text)!r} needs {error.name}: python -m pip install 'vcache[{extra}]'"
        ) from None
    raise ConfigError(
        f"queue {without_secrets(text)!r}: unknown scheme {scheme!r}{did_you_mean(scheme, _KNOWN)} "
        f"(known: {', '.join(_KNOWN)}; a path with a colon is written 'sqlite:{without_secrets(text)}')"
    )


def _memory(text: str, rest: str, namespace: str) -> Queue:
    from vcache.jobs.memory import MemoryQueue

    if rest:
        raise ConfigError(f"queue {text!r}: a queue in memory has neither path nor options: write mem:")
    return MemoryQueue(namespace=namespace)


def _sqlite(text: str, path: str, escaped: str, namespace: str) -> Queue:
    from vcache.jobs.sqlite import SqliteQueue

    if "?" in escaped:
        raise ConfigError(f"queue {text!r}: sqlite: takes no options; a ? in a path is written %3F")
    if not path:
        raise ConfigError(f"queue {text!r} names no directory: write sqlite:DIR")
    directory = os.path.abspath(os.path.expanduser(path))
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise ConfigError(
            f"queue {text!r}: {directory} is a file, and a queue is a directory: name one, such as {directory}.jobs"
        )
    return SqliteQueue(directory, namespace=namespace)
