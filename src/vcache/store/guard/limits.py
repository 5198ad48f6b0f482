"""What a guard keeps to, as numbers, and the options of an address that say so. No I/O."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.errors import UsageError
from vcache.hash import digest
from vcache.kit.data import dataclass
from vcache.kit.units import seconds, size_bytes
from vcache.store.address import flag

if TYPE_CHECKING:
    from vcache.store.address import Options, StoreUrl

__all__ = ["OPTIONS", "Limits", "bare_address", "folder_name", "read_limits", "spool_name"]

_T = TypeVar("_T")

OPTIONS: Final = (
    "bandwidth", "concurrency", "deadline", "flush", "hedge", "limit", "negative", "rate", "read_only",
    "retries", "spool", "state", "write",
)  # fmt: skip
_MOST_RETRIES: Final = 100
_GIVING_UP_S: Final = 0.25
_MOST_CONCURRENT: Final = 1000
_OFF: Final = ("off", "none", "no", "0")


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one remote. The table in docs/design/network.md says what each means."""

    deadline_s: float = 5.0
    rate_bytes: int = 1_000_000
    retries: int = 2
    hedge_s: float | None = None
    is_behind: bool = True
    spool_bytes: int = 1_000_000_000
    flush_s: float = 5.0
    concurrency: int = 16
    bandwidth_bytes: int | None = None
    limit_bytes: int = 1_000_000_000
    is_read_only: bool = False
    negative_s: float = 60.0

    @property
    def patience_s(self) -> float:
        """How long an answer is waited for: the deadline holds for loading a client and giving up as well."""
        return self.deadline_s - min(_GIVING_UP_S, self.deadline_s / 10)


_DEFAULTS: Final = Limits()


def read_limits(options: Options) -> tuple[Limits, str | None]:
    """What an address says, and the directory of `state` if it names one.

    Raises:
        ConfigError: a value that does not fit.
    """

    def take(name: str, read: Callable[[str], _T], default: _T) -> _T:
        found = options.take(name, read)
        return default if found is None else found

    limits = Limits(
        deadline_s=take("deadline", _above_zero(seconds), _DEFAULTS.deadline_s),
        rate_bytes=take("rate", _above_zero(size_bytes), _DEFAULTS.rate_bytes),
        retries=take("retries", _between(0, _MOST_RETRIES), _DEFAULTS.retries),
        hedge_s=take("hedge", _or_off(_above_zero(seconds)), _DEFAULTS.hedge_s),
        is_behind=take("write", _is_behind, _DEFAULTS.is_behind),
        spool_bytes=take("spool", size_bytes, _DEFAULTS.spool_bytes),
        flush_s=take("flush", seconds, _DEFAULTS.flush_s),
        concurrency=take("concurrency", _between(1, _MOST_CONCURRENT), _DEFAULTS.concurrency),
        bandwidth_bytes=take("bandwidth", _or_off(_above_zero(size_bytes)), _DEFAULTS.bandwidth_bytes),
        limit_bytes=take("limit", _above_zero(size_bytes), _DEFAULTS.limit_bytes),
        is_read_only=take("read_only", flag, _DEFAULTS.is_read_only),
        negative_s=take("negative", seconds, _DEFAULTS.negative_s),
    )
    return limits, options.take("state", _directory)


def bare_address(url: StoreUrl) -> str:
    """An address without its options, and without who asks."""
    return f"{url.scheme}:{re.sub('^//[^/]*@', '//', url.path)}"


def folder_name(url: StoreUrl) -> str:
    """The directory of a remote's state: the same for all that ask it, whoever they are."""
    return digest(bare_address(url).encode()).hex()[:16]


def spool_name(url: StoreUrl) -> str:
    """The directory of what waits to be sent to a remote.

    One for each way of sending: what waits to be sent with one token, or encrypted, must not be sent
    with another, or as it is.
    """
    ways: Mapping[str, str] = {name: url.options[name] for name in sorted(url.options) if name not in OPTIONS}
    who = re.match("//[^/]*@", url.path)
    if not ways and not who:
        return "spool"
    parts = [who[0] if who else "", *(part for way in ways.items() for part in way)]
    joined = b"".join(len(part.encode()).to_bytes(4, "little") + part.encode() for part in parts)
    return f"spool-{digest(joined).hex()[:8]}"


def _is_behind(text: str) -> bool:
    if text not in ("behind", "through"):
        raise UsageError("write is behind or through")
    return text == "behind"


def _above_zero(read: Callable[[str], _T]) -> Callable[[str], _T]:
    def reader(text: str) -> _T:
        value = read(text)
        if not value:
            raise UsageError(f"{text!r} leaves nothing: give more than 0")
        return value

    return reader


def _or_off(read: Callable[[str], _T]) -> Callable[[str], _T | None]:
    return lambda text: None if text.lower() in _OFF else read(text)


def _between(least: int, most: int) -> Callable[[str], int]:
    def reader(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise UsageError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return reader


def _directory(text: str) -> str:
    if not text or "\0" in text:
        raise UsageError("name a directory")
    return os.path.abspath(os.path.expanduser(text))
