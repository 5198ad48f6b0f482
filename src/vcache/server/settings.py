"""Settings of `vcache serve`: defaults ▷ a file ▷ environment (VCACHE_SERVE_…) ▷ flags.

Every value is checked where it was read; an error names the key and the place. It must not know
what the settings do. Keys that can change while the server runs are marked as live.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from vcache.config import default_dir
from vcache.errors import ConfigError, UsageError
from vcache.kit.data import NamedTuple, dataclass, field
from vcache.kit.tables import parse_table
from vcache.kit.units import seconds, size_bytes, yes_or_no
from vcache.server.callers import NAMESPACE
from vcache.server.office import tokens_in

__all__ = [
    "KEYS",
    "Address",
    "NamespaceRule",
    "ServeSettings",
    "describe",
    "load_serve",
    "without_live",
]

_PREFIX: Final = "VCACHE_SERVE_"
_LEVELS: Final = ("debug", "info", "warning", "error")
AccessLog = Literal["off", "sampled", "all"]


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
class ServeSettings:
    """What a server is started with. Each attribute's meaning: `KEYS`."""

    listen: Address = Address("127.0.0.1", 8080)
    grpc: Address | None = None
    dir: Path = field(default_factory=default_dir)
    store: str | None = None
    max_bytes: int | None = 20_000_000_000
    max_age_s: float | None = None
    max_entries: int | None = None
    tokens: Path | None = None
    is_open: bool = False
    is_insecure: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limit_bytes: int = 2_000_000_000
    quota_bytes: int | None = None
    namespaces: Mapping[str, NamespaceRule] = field(default_factory=dict)
    lease_s: float = 600.0
    threads: int = 8
    deadline_s: float = 10.0
    grace_s: float = 30.0
    connections: int = 10_000
    idle_s: float = 120.0
    head_s: float = 10.0
    rate_bytes: int = 1_000
    stall_s: float = 20.0
    access_log: AccessLog = "off"
    log_level: str = "warning"
    is_audited: bool = True
    turbo_key: Path | None = None

    def token_file(self) -> Path | None:
        """The file of the tokens; None where nobody needs one."""
        if self.tokens is not None:
            return self.tokens
        usual = tokens_in(self.dir)
        return usual if not self.is_open and self.store is None and usual.exists() else None

    def check(self) -> None:
        """Refuse what would be reachable by more people than was meant.

        Raises:
            ConfigError: beyond loopback without TLS or tokens, half a key pair, or tokens that
                nobody would need.
        """
        if self.tokens is not None and self.is_open:
            raise ConfigError(f"tokens = {str(self.tokens)!r} and open = true: nobody would need one")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both a certificate and its key: give tls_cert and tls_key")
        for address in (self.listen, self.grpc):
            if address is None or address.is_loopback:
                continue
            if self.tls_cert is None and not self.is_insecure:
                raise ConfigError(
                    f"{address} can be reached from other machines, and tokens would cross the network in "
                    "the clear: give tls_cert and tls_key, or insecure = true (--insecure) behind a proxy"
                )
            if self.token_file() is None and not self.is_open:
                raise ConfigError(
                    f"{address} can be reached from other machines, and nobody needs a token: make one with "
                    "`vcache token new`, or open = true (--open) to let anybody read and write"
                )


@dataclass(frozen=True, slots=True)
class _Place:
    origin: str
    base: Path
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Spec:
    attribute: str
    read: Callable[[object, _Place], object]
    meaning: str
    is_live: bool = False


def load_serve(
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> ServeSettings:
    """The settings of a server.

    Args:
        path: a settings file (.toml, .json, .yaml, .ini); VCACHE_SERVE_CONFIG where it is None.
        overrides: by key; they decide last. None values count as not given.
        environ, cwd: the process's own when left out.

    Raises:
        ConfigError: an unknown key, a value that does not fit, or a file that cannot be read.
    """
    here = (cwd or Path.cwd()).absolute()
    variables = os.environ if environ is None else environ
    if path is None and (named := variables.get(_PREFIX + "CONFIG")):
        path = here / named
    layers: list[tuple[_Place, Mapping[str, object]]] = []
    if path is not None:
        layers.append(_file_layer(here / path))
    layers.append((_Place("environment", here), _variables(variables)))
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    layers.append((_Place("command line", here), given))
    values: dict[str, Any] = {}
    for place, raw in layers:
        for key, value in raw.items():
            spec = KEYS.get(key)
            if spec is None:
                from vcache.kit.names import did_you_mean

                raise ConfigError(f"unknown setting {key!r} ({_where(place, key)}){did_you_mean(key, KEYS)}")
            try:
                values[spec.attribute] = spec.read(value, place)
            except UsageError as error:
                raise ConfigError(f"setting {key} = {value!r:.80} ({_where(place, key)}): {error}") from error
    return ServeSettings(**values)


def describe() -> tuple[tuple[str, str, str], ...]:
    """Each key with its default and its meaning, for the reference."""
    defaults = ServeSettings(dir=Path())
    return tuple((key, _shown(getattr(defaults, spec.attribute)), spec.meaning) for key, spec in KEYS.items())


def without_live(settings: ServeSettings) -> ServeSettings:
    """Settings with the defaults for all that can change while a server runs, to compare the rest."""
    from vcache.kit.data import replace

    defaults = ServeSettings(dir=settings.dir)
    return replace(
        settings,
        **{spec.attribute: getattr(defaults, spec.attribute) for spec in KEYS.values() if spec.is_live},
    )


# --- where layers come from ------------------------------------------------------------------


def _file_layer(path: Path) -> tuple[_Place, Mapping[str, object]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        table = parse_table(text, path.suffix)
    except UsageError as error:
        raise ConfigError(f"{path}: {error}") from error
    if path.suffix == ".ini":
        table = _of_ini(table)
    return _Place(str(path), path.parent, text), table


def _of_ini(table: Mapping[str, object]) -> Mapping[str, object]:
    """An INI file has no top level and no nesting: [serve], and [namespaces.NAME] for each."""
    found: dict[str, object] = {}
    namespaces: dict[str, object] = {}
    for section, values in table.items():
        if section == "serve" and isinstance(values, Mapping):
            found.update(values)
        elif section.startswith("namespaces."):
            namespaces[section.removeprefix("namespaces.")] = values
        else:
            found[section] = values
    return {**found, "namespaces": namespaces} if namespaces else found


def _variables(variables: Mapping[str, str]) -> Mapping[str, object]:
    return {
        name.removeprefix(_PREFIX).lower(): text
        for name, text in variables.items()
        if name.startswith(_PREFIX) and text and name != _PREFIX + "CONFIG"
    }


# --- what a value may be ---------------------------------------------------------------------


def _address(value: object, _place: _Place) -> Address:
    text = str(value)
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or not host:
        raise UsageError('give HOST:PORT, such as "127.0.0.1:8080" or "[::]:8080"; port 0 for a free one')
    return Address(host, int(port))


def _bool(value: object, _place: _Place) -> bool:
    if isinstance(value, bool):
        return value
    is_set = yes_or_no(str(value))
    if is_set is None:
        raise UsageError("give true or false")
    return is_set


def _text(value: object, _place: _Place) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("give text")
    return value


def _path(value: object, place: _Place) -> Path:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UsageError("give a path")
    return Path(os.path.normpath(place.base / Path(value).expanduser()))


def _bytes(value: object, _place: _Place) -> int:
    return size_bytes(value)  # type: ignore[arg-type]  # it refuses what it does not take


def _duration(value: object, _place: _Place) -> float:
    return seconds(value)  # type: ignore[arg-type]  # it refuses what it does not take


def _count(value: object, _place: _Place) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or not int(text):
        raise UsageError("give a whole number above 0")
    return int(text)


def _optional(read: Callable[[object, _Place], object]) -> Callable[[object, _Place], object]:
    return lambda value, place: None if str(value).strip().lower() == "none" else read(value, place)


def _one_of(*words: str) -> Callable[[object, _Place], str]:
    def read(value: object, _place: _Place) -> str:
        if value not in words:
            raise UsageError(f"give one of {', '.join(words)}")
        return str(value)

    return read


def _namespaces(value: object, place: _Place) -> Mapping[str, NamespaceRule]:
    if not isinstance(value, Mapping):
        raise UsageError('give a table by name: [namespaces.ci] with quota = "5GB", results = "builder"')
    return MappingProxyType({str(name): _rule(str(name), rule, place) for name, rule in value.items()})


def _rule(name: str, rule: object, place: _Place) -> NamespaceRule:
    if not NAMESPACE.fullmatch(name):
        raise UsageError(f"{name!r} is no namespace: give [a-z0-9][a-z0-9._-]*, at most 64 characters")
    if not isinstance(rule, Mapping):
        raise UsageError(f'namespace {name!r}: give a table, such as {{ quota = "5GB" }}')
    unknown = rule.keys() - {"quota", "results"}
    if unknown:
        raise UsageError(f"namespace {name!r}: unknown key {min(unknown)!r} (known: quota, results)")
    if rule.get("results", "writer") not in ("writer", "builder"):
        raise UsageError(f'namespace {name!r}: results is "writer" or "builder"')
    quota = None if rule.get("quota") is None else _optional(_bytes)(rule["quota"], place)
    return NamespaceRule(quota, rule.get("results") == "builder")  # type: ignore[arg-type]


KEYS: Final[Mapping[str, _Spec]] = MappingProxyType(
    {
        "listen": _Spec("listen", _address, "HOST:PORT of all HTTP dialects; port 0 for a free one"),
        "grpc": _Spec("grpc", _optional(_address), "HOST:PORT of Bazel's remote execution cache"),
        "dir": _Spec("dir", _path, "the directory of the store"),
        "store": _Spec("store", _text, "addresses of the tiers, fastest first, in place of `dir`"),
        "max": _Spec("max_bytes", _optional(_bytes), "what the directory may take"),
        "max_age": _Spec("max_age_s", _optional(_duration), "what was not used for so long goes"),
        "max_entries": _Spec("max_entries", _optional(_count), "how many entries may be kept"),
        "tokens": _Spec(
            "tokens",
            _path,
            "file of the tokens; else `server/tokens.json` in `dir`, if it is there",
            is_live=True,
        ),
        "open": _Spec("is_open", _bool, "nobody needs a token, also beyond loopback"),
        "insecure": _Spec("is_insecure", _bool, "without TLS, also beyond loopback"),
        "tls_cert": _Spec("tls_cert", _path, "PEM file of the certificate chain", is_live=True),
        "tls_key": _Spec("tls_key", _path, "PEM file of the private key", is_live=True),
        "limit": _Spec("limit_bytes", _bytes, "the longest body that is taken", is_live=True),
        "quota": _Spec(
            "quota_bytes", _optional(_bytes), "what a namespace may hold, without its own", is_live=True
        ),
        "namespaces": _Spec(
            "namespaces", _namespaces, "by namespace: `quota`, `results` (writer or builder)", is_live=True
        ),
        "lease": _Spec("lease_s", _duration, "what was used so recently is not collected"),
        "threads": _Spec("threads", _count, "how many store operations run at once"),
        "deadline": _Spec(
            "deadline_s", _duration, "the longest that a tier may take to answer", is_live=True
        ),
        "grace": _Spec("grace_s", _duration, "how long stopping waits for requests under way", is_live=True),
        "connections": _Spec(
            "connections", _count, "the most connections; the longest idle go", is_live=True
        ),
        "idle": _Spec("idle_s", _duration, "a connection without a request is closed then", is_live=True),
        "head": _Spec("head_s", _duration, "how long a request's head may take to come", is_live=True),
        "rate": _Spec("rate_bytes", _bytes, "the slowest body that is waited for, per second", is_live=True),
        "stall": _Spec("stall_s", _duration, "over how long that rate is measured", is_live=True),
        "access_log": _Spec(
            "access_log", _one_of("off", "sampled", "all"), "JSON lines of requests on stderr", is_live=True
        ),
        "log_level": _Spec("log_level", _one_of(*_LEVELS), "what is worth a line on stderr", is_live=True),
        "audit": _Spec("is_audited", _bool, "keep the log of changes, `server/audit.jsonl` in `dir`"),
        "turbo_key": _Spec(
            "turbo_key", _path, "file of the key with which Turborepo's artifacts have to be signed"
        ),
    }
)
"""Every setting by its name in files and flags; VCACHE_SERVE_ and upper case in the environment."""


def _where(place: _Place, key: str) -> str:
    if place.origin == "environment":
        return _PREFIX + key.upper()
    for number, line in enumerate(place.text.splitlines(), 1):
        if line.lstrip(' "[').startswith(key):
            return f"{place.origin}, line {number}"
    return place.origin


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if isinstance(value, Path | dict) else str(value)
