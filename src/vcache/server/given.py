"""What the settings of `vcache serve` may be: values as they are written, and what they become.

It must not know where they are written, and what they do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType

from vcache.config import source_bounds
from vcache.errors import UsageError
from vcache.kit.data import NamedTuple, dataclass
from vcache.kit.units import seconds, size_bytes, yes_or_no
from vcache.logs.settings import rules_of
from vcache.server.callers import NAMESPACE

__all__ = [
    "Address",
    "NamespaceRule",
    "Place",
    "as_address",
    "as_bounds",
    "as_bytes",
    "as_count",
    "as_duration",
    "as_flag",
    "as_namespaces",
    "as_path",
    "as_text",
    "one_of",
    "optional",
]


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name: whoever answers for it may say anything

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """What holds in one namespace.

    Attributes:
        quota_bytes: what it may hold; None for no limit.
        results_by_builders: only builders say what an action's result is.
    """

    quota_bytes: int | None = None
    results_by_builders: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is written: paths are relative to `base`."""

    origin: str
    base: Path
    text: str = ""


def as_address(value: object, _place: Place) -> Address:
    """HOST:PORT."""
    text = str(value)
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or not host:
        raise UsageError('give HOST:PORT, such as "127.0.0.1:8080" or "[::]:8080"; port 0 for a free one')
    return Address(host, int(port))


def as_flag(value: object, _place: Place) -> bool:
    """Whether something is to be."""
    if isinstance(value, bool):
        return value
    is_set = yes_or_no(str(value))
    if is_set is None:
        raise UsageError("give true or false")
    return is_set


def as_text(value: object, _place: Place) -> str:
    """Text as it is."""
    if not isinstance(value, str) or not value:
        raise UsageError("give text")
    return value


def as_path(value: object, place: Place) -> Path:
    """A path; relative to where it is written."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UsageError("give a path")
    return Path(os.path.normpath(place.base / Path(value).expanduser()))


def as_bytes(value: object, _place: Place) -> int:
    """A size: 20GB."""
    return size_bytes(value)  # type: ignore[arg-type]  # it refuses what it does not take


def as_duration(value: object, _place: Place) -> float:
    """Seconds: 30d."""
    return seconds(value)  # type: ignore[arg-type]  # it refuses what it does not take


def as_count(value: object, _place: Place) -> int:
    """A whole number above 0."""
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or not int(text):
        raise UsageError("give a whole number above 0")
    return int(text)


def optional(read: Callable[[object, Place], object]) -> Callable[[object, Place], object]:
    """The same, or `none` for None."""
    return lambda value, place: None if str(value).strip().lower() == "none" else read(value, place)


def one_of(*words: str) -> Callable[[object, Place], str]:
    """One of some words."""

    def read(value: object, _place: Place) -> str:
        if value not in words:
            raise UsageError(f"give one of {', '.join(words)}")
        return str(value)

    return read


def as_namespaces(value: object, place: Place) -> Mapping[str, NamespaceRule]:
    """What holds in each namespace."""
    if not isinstance(value, Mapping):
        raise UsageError('give a table by name: [namespaces.ci] with quota = "5GB", results = "builder"')
    return MappingProxyType({str(name): _rule(str(name), rule, place) for name, rule in value.items()})


def as_bounds(value: object, _place: Place) -> Mapping[str, str]:
    """Bounds by patterns of sources."""
    kept = source_bounds(value)
    rules_of(kept)  # refused here, not when they are first used
    return kept


def _rule(name: str, rule: object, place: Place) -> NamespaceRule:
    if not NAMESPACE.fullmatch(name):
        raise UsageError(f"{name!r} is no namespace: give [a-z0-9][a-z0-9._-]*, at most 64 characters")
    if not isinstance(rule, Mapping):
        raise UsageError(f'namespace {name!r}: give a table, such as {{ quota = "5GB" }}')
    unknown = rule.keys() - {"quota", "results"}
    if unknown:
        raise UsageError(f"namespace {name!r}: unknown key {min(unknown)!r} (known: quota, results)")
    if rule.get("results", "writer") not in ("writer", "builder"):
        raise UsageError(f'namespace {name!r}: results is "writer" or "builder"')
    quota = None if rule.get("quota") is None else optional(as_bytes)(rule["quota"], place)
    return NamespaceRule(quota, rule.get("results") == "builder")  # type: ignore[arg-type]
