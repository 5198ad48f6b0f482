"""Settings in layers: defaults ▷ the user's file ▷ the project's file ▷ environment ▷ overrides.

Every value is checked where it was read, and keeps its origin, so that `vcache doctor` can say
who decided what. It must not know what the settings do. Reading the user's directories and
settings files happens here and nowhere else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from vcache.errors import ConfigError, UsageError
from vcache.kit.data import NamedTuple, dataclass, field, names_of
from vcache.kit.flags import Flags
from vcache.kit.redact import without_secrets
from vcache.kit.units import seconds, size_bytes, yes_or_no

__all__ = [
    "KEYS",
    "PROJECT_FILES",
    "Described",
    "Settings",
    "default_dir",
    "load",
    "source_bounds",
    "state_dir",
]

DEFAULT: Final = "default"
_PREFIX: Final = "VCACHE_"
# Read by `load` itself, before there are settings.
_CONFIG_VARIABLE: Final = "VCACHE_CONFIG"
_OF_A_SERVER: Final = "VCACHE_SERVE_"
# Known, but no settings of a cache: looking for near names takes `difflib`, 1 ms.
_ELSEWHERE: Final = ("VCACHE_ROOT", "VCACHE_CC_LOG", "VCACHE_CC_SHORT")
PROJECT_FILES: Final = ("vcache.toml", "vcache.json", "vcache.ini", "vcache.yaml", "vcache.yml")
_COMPRESS: Final = ("auto", "never", "none", "lz4", "zstd")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a cache is opened with when its caller does not say.

    Attributes:
        dir: where the disk tier lives.
        is_disabled: every lookup misses and nothing is kept.
        namespace: put before every key.
        memory_bytes: budget of the memory tier; 0 for none.
        max_bytes, max_age_s, max_entries: budgets of the disk tier; None for none.
        compress: "auto", "never" (or "none"), "lz4" or "zstd".
        is_read_only: nothing is written.
        tiers: addresses of the tiers, fastest first; empty for memory over disk.
        remotes: addresses of the tiers below all others, by name; one without a name by itself.
        flags: what is tried on a part of the machines.
        logs: "on", "off", or the directory of the log store, or the address of a server of logs.
        logs_max_bytes, logs_max_age_s: budgets of the log store; None for none.
        logs_keep: bounds by patterns of sources, the first that fits counts: see `vcache.logs.settings`.
        queue: the address of the queue of jobs; "" for the one in `dir`.
        origins: by key, who decided: "default", a file, a variable, or "override".
        ignored: variables that look like ours and are none.
    """

    dir: Path
    is_disabled: bool = False
    namespace: str = ""
    memory_bytes: int = 64_000_000
    max_bytes: int | None = 20_000_000_000
    max_age_s: float | None = None
    max_entries: int | None = None
    compress: str = "auto"
    is_read_only: bool = False
    tiers: tuple[str, ...] = ()
    remotes: Mapping[str, str] = field(default_factory=dict)
    flags: Flags = field(default_factory=lambda: Flags({}))
    logs: str = "on"
    logs_max_bytes: int | None = None
    logs_max_age_s: float | None = None
    logs_keep: Mapping[str, str] = field(default_factory=dict)
    queue: str = ""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    ignored: tuple[str, ...] = field(default=(), compare=False)

    @property
    def logs_place(self) -> str:
        """The directory of the log store, or a server's http(s)://…; "" where there is none."""
        if self.logs == "on":
            return (
                ""
                if self.is_disabled or self.is_read_only
                else os.path.join(self.dir, "logs", self.namespace or "default")
            )
        return "" if self.logs == "off" else self.logs

    @property
    def queue_address(self) -> str:
        """The address of the queue of jobs: the one that is set, else one in `dir`."""
        return self.queue or f"sqlite:{_escaped(os.path.join(self.dir, 'jobs'))}"

    def describe(self) -> tuple[Described, ...]:
        """Every setting with its value, its origin and its meaning, for `vcache doctor`."""
        return tuple(
            Described(
                key, _shown(getattr(self, spec.attribute)), self.origins.get(key, DEFAULT), spec.meaning
            )
            for key, spec in KEYS.items()
        )


class Described(NamedTuple):
    """A row of `Settings.describe`."""

    key: str
    value: object
    origin: str
    meaning: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value was read, and what relative paths in it are relative to."""

    origin: str
    base: Path
    text: str = ""  # of the file, to find the line of a key when it is wrong


@dataclass(frozen=True, slots=True)
class _Spec:
    attribute: str
    read: Callable[[object, _Place], object]
    meaning: str


def load(
    overrides: Mapping[str, object] | None = None,
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that hold here.

    Files are `config.toml` in the user's configuration directory, then the nearest
    `vcache.toml` (.json, .ini, .yaml) or `[tool.vcache]` in `pyproject.toml` from the working
    directory upwards. The variable VCACHE_CONFIG names one file to be read in place of both.

    Args:
        overrides: by key, such as {"max_bytes": "20GB"}; they decide last. None values count
            as not given.
        cwd, environ: the process's own when left out.

    Raises:
        ConfigError: an unknown key, a value that does not fit, or a file that cannot be read.
            The message names the key and where it stands.
    """
    here = (cwd or Path.cwd()).absolute()
    variables = os.environ if environ is None else environ
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    ignored: list[str] = []
    layers = [*_file_layers(here, variables), _environment_layer(here, variables, ignored)]
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    for place, raw in [*layers, (_Place("override", here), given)]:
        for key, value in raw.items():
            spec = KEYS.get(key)
            if spec is None:
                from vcache.kit.names import did_you_mean  # 0.4 ms, for who made a slip

                raise ConfigError(f"unknown setting {key!r} ({_where(place, key)}){did_you_mean(key, KEYS)}")
            values[spec.attribute] = _read(spec, key, value, place)
            origins[key] = _variable(key) if place.origin == "environment" else place.origin
    values.setdefault("dir", default_dir())
    return Settings(**values, origins=MappingProxyType(origins), ignored=tuple(ignored))  # type: ignore[arg-type]


def default_dir() -> Path:
    """The user's own cache directory for vcache, as the platform has it."""
    return _user_dir("cache")


def state_dir() -> Path:
    """Where what concerns no single cache is kept, without reading settings files.

    The directory of VCACHE_DIR, or the user's own.
    """
    named = os.environ.get(_variable("dir"))
    return Path(named).expanduser().absolute() if named else default_dir()


def _user_dir(kind: Literal["cache", "config"]) -> Path:
    """The user's directory of a kind, as `platformdirs` has it."""
    home = os.environ.get("HOME", "")
    variables = (f"XDG_{kind.upper()}_HOME", "ANDROID_ROOT")
    if sys.platform == "linux" and os.path.isabs(home) and not any(map(os.environ.get, variables)):
        return Path(home, f".{kind}", "vcache")
    import platformdirs  # 5 ms, for who has moved them

    found = {"cache": platformdirs.user_cache_dir, "config": platformdirs.user_config_dir}[kind]
    return Path(found("vcache", appauthor=False))


# --- where layers come from ------------------------------------------------------------------


def _file_layers(here: Path, variables: Mapping[str, str]) -> Iterator[tuple[_Place, Mapping[str, object]]]:
    if named := variables.get(_CONFIG_VARIABLE):
        path = here / Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"{_CONFIG_VARIABLE}={named!r}: there is no such file")
        yield _file_layer(path)
        return
    user = _user_dir("config") / "config.toml"
    if user.is_file():
        yield _file_layer(user)
    for directory in (here, *here.parents):
        found = [path for name in PROJECT_FILES if (path := directory / name).is_file()]
        if len(found) > 1:
            raise ConfigError(f"both {found[0]} and {found[1].name} hold settings: keep one of them")
        if found:
            yield _file_layer(found[0])
            return
        pyproject = directory / "pyproject.toml"
        if pyproject.is_file():
            place, raw = _file_layer(pyproject)
            if raw:
                yield place, raw
                return


def _file_layer(path: Path) -> tuple[_Place, Mapping[str, object]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    place = _Place(str(path), path.parent, text)
    is_pyproject = path.name == "pyproject.toml"
    if is_pyproject and not _may_have_settings(text):
        return place, {}
    from vcache.kit.tables import parse_table

    try:
        table = parse_table(text, path.suffix)
    except UsageError as error:
        raise ConfigError(f"{path}: {error}") from error
    if is_pyproject:
        table = _inner(_inner(table, "tool", path), "vcache", path)
    elif path.suffix == ".ini":
        # An INI file has no top level: the section [vcache] stands for it.
        table = {**_inner(table, "vcache", path), **{key: table[key] for key in table if key != "vcache"}}
    return place, table


def _may_have_settings(text: str) -> bool:
    """Whether parsing a pyproject.toml can be worth its 2 ms; most hold nothing for us."""
    bare = text.replace(" ", "").replace("\t", "").replace('"', "").replace("'", "")
    return any(start in bare for start in ("tool.vcache", "[tool]", "tool={"))


def _inner(table: Mapping[str, object], key: str, path: Path) -> Mapping[str, object]:
    found = table.get(key, {})
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path}: {key} is a {type(found).__name__}, not a table")
    return found


def _environment_layer(
    here: Path, variables: Mapping[str, str], ignored: list[str]
) -> tuple[_Place, Mapping[str, object]]:
    known = {_variable(key): key for key in KEYS}
    raw: dict[str, object] = {}
    for name, text in variables.items():
        if name in known:
            if text:  # an empty variable is an unset one: CI systems cannot unset
                raw[known[name]] = text
        elif name.startswith(_PREFIX) and name != _CONFIG_VARIABLE and not name.startswith(_OF_A_SERVER):
            if name not in _ELSEWHERE:
                _refuse_slip(name, text)
            ignored.append(name)
    return _Place("environment", here), raw


def _refuse_slip(name: str, text: str) -> None:
    """A near name is a slip; a far one may belong to a plugin or to a newer vcache."""
    from vcache.kit.names import nearest

    if found := nearest(name.removeprefix(_PREFIX), KEYS, limit=1):
        raise ConfigError(f"unknown variable {name}={text!r:.80}; did you mean {_variable(found[0])}?")


# --- what a value may be ---------------------------------------------------------------------


def _read(spec: _Spec, key: str, value: object, place: _Place) -> object:
    try:
        return spec.read(value, place)
    except UsageError as error:
        raise ConfigError(f"setting {key} = {value!r:.80} ({_where(place, key)}): {error}") from error


def _bool(value: object, _place: _Place) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value)
    is_set = yes_or_no(text) if text.strip() else False  # a variable that is there and empty
    if is_set is None:
        raise UsageError("give true or false")
    return is_set


def _text(value: object, _place: _Place) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise UsageError("give text")
    return value


def _path(value: object, place: _Place) -> Path:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise UsageError("give a path")
    # Relative to the file that says so: a project's setting means one place from every directory.
    return Path(os.path.normpath(place.base / Path(value).expanduser()))


def _logs(value: object, place: _Place) -> str:
    text = ("on" if value else "off") if isinstance(value, bool) else value
    if not isinstance(text, str) or not text:
        raise UsageError("give on, off, the directory of a log store, or http(s)://HOST[:PORT] of a server")
    is_on = yes_or_no(text)
    if is_on is not None:
        return "on" if is_on else "off"
    if text.startswith(("http://", "https://")):
        return text
    if "://" in text:
        raise UsageError("a log store is a directory, or a server's http(s)://HOST[:PORT]")
    return str(_path(text, place))


def _queue(value: object, place: _Place) -> str:
    text = _text(value, place)
    scheme, colon, rest = text.partition(":")
    if colon and _SCHEME.fullmatch(scheme):
        if scheme.lower() != "sqlite" or not place.text:
            return text
        return f"sqlite:{_absolute(rest, place)}"
    if not text:
        raise UsageError("give an address, such as redis://HOST:6379/0, sqlite:DIR, or a directory")
    return f"sqlite:{_absolute(_escaped(text), place) if place.text else _escaped(text)}"


def _keep(value: object, _place: _Place) -> Mapping[str, str]:
    return source_bounds(value)


def source_bounds(value: object) -> Mapping[str, str]:
    """Bounds by patterns of sources: of a table, or of `PATTERN=BOUNDS` with blanks between.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(value, str):
        pairs = [word.rpartition("=") for word in value.split()]
        value = {pattern: bounds for pattern, _, bounds in pairs}
    if not isinstance(value, Mapping):
        raise UsageError(
            'give bounds by patterns of sources, such as {"gcc" = "30d", "debug-*" = "1d,100MB"}'
        )
    for pattern, bounds in value.items():
        if not (pattern and isinstance(bounds, str) and bounds):
            raise UsageError(f"{pattern!r}: give an age, a size, a number, or several: 30d,100MB,1000000")
    return MappingProxyType(dict(value))


def _bytes(value: object, _place: _Place) -> int:
    return size_bytes(value)  # type: ignore[arg-type]  # it refuses what it does not take


def _positive(value: object, _place: _Place) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal():
        raise UsageError("give a whole number")
    return int(text)


def _duration(value: object, _place: _Place) -> float:
    return seconds(value)  # type: ignore[arg-type]  # it refuses what it does not take


def _optional(read: Callable[[object, _Place], object]) -> Callable[[object, _Place], object]:
    """TOML and variables have no null: the word "none" takes a budget away."""
    return lambda value, place: None if str(value).strip().lower() == "none" else read(value, place)


def _compress(value: object, _place: _Place) -> str:
    if value not in _COMPRESS:
        from vcache.kit.names import did_you_mean

        raise UsageError(f"not a way to compress{did_you_mean(str(value), _COMPRESS)}")
    return str(value)


def _tiers(value: object, place: _Place) -> tuple[str, ...]:
    urls = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(urls, (list, tuple)) or not all(isinstance(url, str) and url for url in urls):
        raise UsageError('give addresses, such as ["mem:64MB", "disk:target/.vcache?max=20GB"]')
    return tuple(_placed(url, place) for url in urls)


def _remotes(value: object, place: _Place) -> Mapping[str, str]:
    """From a table of addresses by name, or from addresses, each perhaps behind `name=`."""
    if isinstance(value, Mapping):
        named = value
    else:
        urls = _BETWEEN.split(value.strip(", \t\n")) if isinstance(value, str) else value
        if not isinstance(urls, (list, tuple)) or not all(isinstance(url, str) for url in urls):
            raise UsageError(_REMOTE_HINT)
        split = [_NAMED.fullmatch(url) for url in urls]
        if not all(split):
            raise UsageError(_REMOTE_HINT)
        pairs = [(match["name"] or match["url"], match["url"]) for match in split if match]
        named = dict(pairs)
        if len(named) != len(pairs):
            raise UsageError("one of them comes twice")
    for name, url in named.items():
        if not (isinstance(url, str) and (match := _NAMED.fullmatch(url)) and not match["name"]):
            raise UsageError(f"{name}: {_REMOTE_HINT}")
    return MappingProxyType({name: _placed(url, place) for name, url in named.items()})


def _placed(url: str, place: _Place) -> str:
    """An address with the paths in it as its file means them: relative to itself, from every directory."""
    if not place.text:
        return url
    head, mark, query = url.partition("?")
    scheme, colon, path = head.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        return f"disk:{_absolute(_escaped(head), place)}{mark}{query}"
    scheme = scheme.lower()
    if scheme == "disk":
        head = f"disk:{_absolute(path, place)}"
    names = _PATHS.get("fs" if scheme.startswith("fs+") else scheme, frozenset())
    parts = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if name in names:
            value = ",".join(_absolute(each, place) for each in value.split(","))
        parts.append(f"{name}{equals}{value}")
    return f"{head}{mark}{'&'.join(parts)}"


def _absolute(path: str, place: _Place) -> str:
    """A path of an address; one that is empty, of the root or of a home stays."""
    return path if path[:1] in ("", "/", "~") else f"{_escaped(os.fspath(place.base))}/{path}"


def _escaped(path: str) -> str:
    """A path as it stands in an address."""
    return "".join(f"%{ord(char):02X}" if char in "%?&, " else char for char in path)


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# The options whose values are paths; a plug-in's, and a file system's own, may be anything.
_OF_GUARDS: Final = frozenset({"state", "sign", "trust", "encrypt", "encrypt_old"})
_OF_TLS: Final = _OF_GUARDS | {"ca", "cert", "key"}
_PATHS: Final = {
    **dict.fromkeys(("http", "https", "reapi", "reapis"), _OF_TLS),
    **dict.fromkeys(("redis", "rediss", "redis+unix", "s3"), _OF_GUARDS | {"ca"}),
    "fs": _OF_GUARDS,
}


_NAMED: Final = re.compile(r"(?:(?P<name>[A-Za-z][\w.-]*)=)?(?P<url>[A-Za-z][A-Za-z0-9+.-]*:\S+)")
# A comma within an option, as in encrypt_old=FILE,FILE, has no address behind it.
_BETWEEN: Final = re.compile(r"\s*,\s+|\s+,?|,(?=(?:[A-Za-z][\w.-]*=)?[A-Za-z][A-Za-z0-9+.-]*:)")
_REMOTE_HINT: Final = 'give addresses, such as ["https://cache.example.com/main", "ci=s3://bucket/ci"]'


def _flags(value: object, _place: _Place) -> Flags:
    """From a table of percentages, or from "name=25, other=100" in a variable."""
    pairs: Mapping[str, object]
    if isinstance(value, str):
        split = [part.partition("=") for part in value.replace(",", " ").split()]
        pairs = {name: percent for name, _, percent in split}
    elif isinstance(value, Mapping):
        pairs = value
    else:
        raise UsageError('give percentages by name, such as { "lz4-hc" = 25 }')
    return Flags({name: _percent(name, percent) for name, percent in pairs.items()})


def _percent(name: str, value: object) -> float:
    if isinstance(value, (bool, int, float)):
        return value
    try:
        return float(str(value).strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"flag {name!r} is {value!r}: give a percentage from 0 to 100") from None


KEYS: Final[Mapping[str, _Spec]] = MappingProxyType(
    {
        "dir": _Spec("dir", _path, "where the disk tier lives"),
        "disable": _Spec("is_disabled", _bool, "every lookup misses and nothing is kept"),
        "namespace": _Spec("namespace", _text, "put before every key"),
        "memory_bytes": _Spec("memory_bytes", _bytes, "budget of the memory tier; 0 for none"),
        "max_bytes": _Spec("max_bytes", _optional(_bytes), "budget of the disk tier in bytes"),
        "max_age": _Spec("max_age_s", _optional(_duration), "unused entries older than this go"),
        "max_entries": _Spec("max_entries", _optional(_positive), "budget of the disk tier in entries"),
        "compress": _Spec("compress", _compress, "auto, never (or none), lz4 or zstd"),
        "read_only": _Spec("is_read_only", _bool, "nothing is written"),
        "tiers": _Spec("tiers", _tiers, "addresses of the tiers, fastest first"),
        "remote": _Spec("remotes", _remotes, "addresses of tiers on other machines, nearest first"),
        "flags": _Spec(
            "flags", _flags, "percentages of machines that try something: `tiers` may say `?flag=NAME`"
        ),
        "logs": _Spec("logs", _logs, "on, off, the log store's directory, or a server's http(s)://HOST"),
        "logs_max_bytes": _Spec(
            "logs_max_bytes", _optional(_bytes), "budget of the log store, after which builds drop the oldest"
        ),
        "logs_max_age": _Spec("logs_max_age_s", _optional(_duration), "records older than this go, likewise"),
        "logs_keep": _Spec("logs_keep", _keep, "bounds by patterns of sources: `gcc=30d debug-*=1d,100MB`"),
        "queue": _Spec(
            "queue", _queue, "the queue of jobs: redis://HOST:PORT/DB, sqlite:DIR, or a directory"
        ),
    }
)
"""Every setting by the name it has in files and overrides; VCACHE_ and upper case in the environment."""

assert {spec.attribute for spec in KEYS.values()} == {*names_of(Settings)} - {"origins", "ignored"}


# --- messages --------------------------------------------------------------------------------


def _variable(key: str) -> str:
    return _PREFIX + key.upper()


def _where(place: _Place, key: str) -> str:
    """The origin for a message: a variable's name, or a file with the line of the key."""
    if place.origin == "environment":
        return f"variable {_variable(key)}"
    for number, line in enumerate(place.text.splitlines(), 1):
        # Good enough for TOML, JSON, INI and YAML alike, and wrong only about which equal key.
        if line.lstrip(" \t{[\"'").startswith(key):
            return f"{place.origin}:{number}"
    return place.origin


def _shown(value: object) -> object:
    if isinstance(value, Flags):
        return {name: f"{value.percentages[name]:g} %" for name in value.percentages}
    if isinstance(value, Mapping):  # of remotes
        words = (url if name == url else f"{name}={url}" for name, url in value.items())
        return tuple(map(without_secrets, words))
    if isinstance(value, tuple):
        return tuple(map(without_secrets, value))
    if isinstance(value, str):
        return without_secrets(value) if "://" in value else value
    return str(value) if isinstance(value, Path) else value
