"""Third-party parts by entry point: found lazily, loaded once, and never able to break each other.

It must not know what a plug-in is for. The groups in use are `vcache.codecs` and
`vcache.stores`; who asks for one checks that what it got has the right shape.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from vcache.errors import ConfigError
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

__all__ = ["CODECS", "STORES", "Loaded", "find", "forget", "load_all", "names"]

CODECS = "vcache.codecs"
STORES = "vcache.stores"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a group gave.

    Attributes:
        found: the loaded objects by entry point name, sorted by name.
        failures: one sentence for each plug-in that could not be loaded.
    """

    found: Mapping[str, object]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Failure:
    """A load that failed, remembered so that it is not tried again for every value."""

    reason: str
    cause: BaseException | None = None


_lock = threading.Lock()  # guards the two tables; never held while a plug-in is imported
_points: dict[str, dict[str, tuple[EntryPoint, ...]]] = {}
_loaded: dict[tuple[str, str], object | _Failure] = {}


def names(group: str) -> tuple[str, ...]:
    """The names that installed distributions offer in a group, sorted. Imports none of them."""
    return tuple(_offers(group))


def find(group: str, name: str) -> object | None:
    """The object a plug-in offers under a name, or None when nobody does.

    Raises:
        ConfigError: it cannot be loaded, or two distributions offer different objects; the
            message names the distributions and the entry point.
    """
    if name not in _offers(group):
        return None
    result = _load(group, name)
    if isinstance(result, _Failure):
        raise ConfigError(result.reason) from result.cause
    return result


def load_all(group: str) -> Loaded:
    """Everything a group offers. What cannot be loaded is reported, and the rest still works."""
    results = {name: _load(group, name) for name in _offers(group)}
    return Loaded(
        {name: found for name, found in results.items() if not isinstance(found, _Failure)},
        tuple(failed.reason for failed in results.values() if isinstance(failed, _Failure)),
    )


def forget() -> None:
    """Look at the installed distributions anew on the next question."""
    with _lock:
        _points.clear()
        _loaded.clear()


def _offers(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name; several for one name are a conflict."""
    known = _points.get(group)
    if known is not None:
        return known
    # 34 ms cold, and most processes never meet a value or an address that needs a plug-in.
    from importlib.metadata import entry_points

    offers: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=group):
        # One distribution can be seen twice (an editable install beside its build directory).
        offers.setdefault(point.name, {})[_distribution(point), point.value] = point
    fresh = {name: tuple(by[origin] for origin in sorted(by)) for name, by in sorted(offers.items())}
    with _lock:
        return _points.setdefault(group, fresh)


def _load(group: str, name: str) -> object | _Failure:
    """The loaded object or the failure, the same for every caller."""
    known = _loaded.get((group, name))
    if known is not None:
        return known
    result = _import(group, name, _offers(group)[name])
    with _lock:
        return _loaded.setdefault((group, name), result)


def _import(group: str, name: str, points: tuple[EntryPoint, ...]) -> object | _Failure:
    if len({point.value for point in points}) > 1:
        offers = ", ".join(f"{_distribution(point)!r} ({point.value})" for point in points)
        return _Failure(
            f"entry point {group}:{name} is offered by several distributions: {offers}; uninstall all but one"
        )
    point = points[0]
    where = f"plug-in {name!r} of distribution {_distribution(point)!r} (entry point {group}, {point.value})"
    try:
        found: object = point.load()
    except (Exception, SystemExit) as error:  # foreign code: whatever it does at import is its own failure
        reason = f"{type(error).__name__}: {error}"
        return _Failure(f"{where} failed to load: {reason}; update or uninstall it", error)
    if found is None:
        return _Failure(f"{where} is None: it must name an object; update or uninstall it")
    return found


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"
