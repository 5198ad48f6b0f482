"""Settings of `vcache serve`: defaults ▷ a file ▷ environment (VCACHE_SERVE_…) ▷ flags.

Every value is checked where it was read; an error names the key and the place. It must not know
what the settings do. Keys that can change while the server runs are marked as live.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from vcache.config import default_dir
from vcache.errors import ConfigError, UsageError
from vcache.kit.data import dataclass, field
from vcache.kit.tables import parse_table
from vcache.server.given import (
    Address,
    NamespaceRule,
    Place,
    as_address,
    as_bounds,
    as_bytes,
    as_count,
    as_duration,
    as_flag,
    as_namespaces,
    as_path,
    as_text,
    one_of,
    optional,
)
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
    logs_max_bytes: int | None = None
    logs_max_age_s: float | None = None
    logs_keep: Mapping[str, str] = field(default_factory=dict)
    queue: str | None = None
    has_schedules: bool = True
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
class _Spec:
    attribute: str
    read: Callable[[object, Place], object]
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
    layers: list[tuple[Place, Mapping[str, object]]] = []
    if path is not None:
        layers.append(_file_layer(here / path))
    layers.append((Place("environment", here), _variables(variables)))
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    layers.append((Place("command line", here), given))
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


def _file_layer(path: Path) -> tuple[Place, Mapping[str, object]]:
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
    return Place(str(path), path.parent, text), table


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


KEYS: Final[Mapping[str, _Spec]] = MappingProxyType(
    {
        "listen": _Spec("listen", as_address, "HOST:PORT of all HTTP dialects; port 0 for a free one"),
        "grpc": _Spec("grpc", optional(as_address), "HOST:PORT of Bazel's remote execution cache"),
        "dir": _Spec("dir", as_path, "the directory of the store"),
        "store": _Spec("store", as_text, "addresses of the tiers, fastest first, in place of `dir`"),
        "max": _Spec("max_bytes", optional(as_bytes), "what the directory may take"),
        "max_age": _Spec("max_age_s", optional(as_duration), "what was not used for so long goes"),
        "max_entries": _Spec("max_entries", optional(as_count), "how many entries may be kept"),
        "tokens": _Spec(
            "tokens",
            as_path,
            "file of the tokens; else `server/tokens.json` in `dir`, if it is there",
            is_live=True,
        ),
        "open": _Spec("is_open", as_flag, "nobody needs a token, also beyond loopback"),
        "insecure": _Spec("is_insecure", as_flag, "without TLS, also beyond loopback"),
        "tls_cert": _Spec("tls_cert", as_path, "PEM file of the certificate chain", is_live=True),
        "tls_key": _Spec("tls_key", as_path, "PEM file of the private key", is_live=True),
        "limit": _Spec("limit_bytes", as_bytes, "the longest body that is taken", is_live=True),
        "quota": _Spec(
            "quota_bytes", optional(as_bytes), "what a namespace may hold, without its own", is_live=True
        ),
        "namespaces": _Spec(
            "namespaces", as_namespaces, "by namespace: `quota`, `results` (writer or builder)", is_live=True
        ),
        "logs_max_bytes": _Spec(
            "logs_max_bytes", optional(as_bytes), "what the logs of a namespace may take", is_live=True
        ),
        "logs_max_age": _Spec(
            "logs_max_age_s", optional(as_duration), "records older than this go", is_live=True
        ),
        "logs_keep": _Spec(
            "logs_keep", as_bounds, "bounds by patterns of sources: `gcc=30d debug-*=1d,100MB`", is_live=True
        ),
        "queue": _Spec("queue", as_text, "the address of the queue of jobs, else `jobs` in `dir`"),
        "schedules": _Spec("has_schedules", as_flag, "fire the schedules of jobs"),
        "lease": _Spec("lease_s", as_duration, "what was used so recently is not collected"),
        "threads": _Spec("threads", as_count, "how many store operations run at once"),
        "deadline": _Spec(
            "deadline_s", as_duration, "the longest that a tier may take to answer", is_live=True
        ),
        "grace": _Spec(
            "grace_s", as_duration, "how long stopping waits for requests under way", is_live=True
        ),
        "connections": _Spec(
            "connections", as_count, "the most connections; the longest idle go", is_live=True
        ),
        "idle": _Spec("idle_s", as_duration, "a connection without a request is closed then", is_live=True),
        "head": _Spec("head_s", as_duration, "how long a request's head may take to come", is_live=True),
        "rate": _Spec(
            "rate_bytes", as_bytes, "the slowest body that is waited for, per second", is_live=True
        ),
        "stall": _Spec("stall_s", as_duration, "over how long that rate is measured", is_live=True),
        "access_log": _Spec(
            "access_log", one_of("off", "sampled", "all"), "JSON lines of requests on stderr", is_live=True
        ),
        "log_level": _Spec("log_level", one_of(*_LEVELS), "what is worth a line on stderr", is_live=True),
        "audit": _Spec("is_audited", as_flag, "keep the log of changes, `server/audit.jsonl` in `dir`"),
        "turbo_key": _Spec(
            "turbo_key", as_path, "file of the key with which Turborepo's artifacts have to be signed"
        ),
    }
)
"""Every setting by its name in files and flags; VCACHE_SERVE_ and upper case in the environment."""


def _where(place: Place, key: str) -> str:
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
